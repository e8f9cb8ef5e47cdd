"""Feedback from a model in place of people's: a judge labels pairs, and answers are criticised and written anew."""
