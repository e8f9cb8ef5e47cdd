"""Every way to use a support set of texts."""
