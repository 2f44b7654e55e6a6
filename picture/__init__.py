"""README's picture of a terminal, made from a real run. Development only: `python -m picture`."""
