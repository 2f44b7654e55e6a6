"""The room progress."""
