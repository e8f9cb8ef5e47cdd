"""The libraries that metaft is measured beside, and their environment."""
