"""models.yaml: its text, its keys, and what may not stand there."""
