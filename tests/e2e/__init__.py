"""The program as a user runs it: `doit` in a project with dodo.py copied from the repository."""
