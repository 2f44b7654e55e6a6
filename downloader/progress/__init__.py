"""What a run tells, and who shows it. Only this room imports rich."""
