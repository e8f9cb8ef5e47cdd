"""The meta-learners in equal time on one core each."""
