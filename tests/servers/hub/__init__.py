"""A fake of the Hugging Face Hub: the site and its API on one origin, its CDN on another."""
