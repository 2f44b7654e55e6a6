"""models.yaml: its text, its keys, and what it may not say."""
