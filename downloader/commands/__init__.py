"""The commands beside `fetch`: a file each, with its doit task and what that does."""
