"""Outer optimisers: how a meta-update moves what is meta-trained."""
