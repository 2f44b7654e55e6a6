"""models.yaml, and attacks on it."""
