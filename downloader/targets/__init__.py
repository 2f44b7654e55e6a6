"""Plan and apply: what stands at a target, what must be done, and doing it."""
