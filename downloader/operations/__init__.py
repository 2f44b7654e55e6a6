"""One verb a file: what a command does, without doit and without printing."""
