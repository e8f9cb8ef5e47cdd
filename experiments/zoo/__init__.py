"""The trained learners that come with metaft."""
