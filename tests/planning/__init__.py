"""What `doit plan` says, held against what a run does."""
