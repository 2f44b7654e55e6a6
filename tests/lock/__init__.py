"""models.lock, and how models.yaml becomes it."""
