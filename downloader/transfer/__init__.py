"""How the bytes of one file arrive."""
