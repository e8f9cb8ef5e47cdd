"""Which way to use a support set: all learners on identical tasks."""
