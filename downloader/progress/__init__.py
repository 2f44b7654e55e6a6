"""Events of a run, and the displays that show them. Only this room imports rich."""
