"""The gradient-based methods, each a choice of scope × rule × objective × estimator."""
