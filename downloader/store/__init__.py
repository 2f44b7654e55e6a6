"""The shared store: verified bytes by their SHA-256, for all projects of a user."""
