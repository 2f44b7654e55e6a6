"""models.lock: its text, and how models.yaml becomes it."""
