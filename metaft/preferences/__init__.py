"""Learning from preferences: what is done with scores of answers."""
