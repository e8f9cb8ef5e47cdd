"""Peak memory against the number of inner steps."""
