"""``metaft compare`` over runs and learners of one's own."""
