"""Safe unpacking: what writers make, and what attackers make."""
