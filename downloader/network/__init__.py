"""One ranged request to anywhere, and its reply. Only this room imports requests."""
