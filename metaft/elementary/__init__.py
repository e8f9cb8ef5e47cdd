"""Layers of torch written out in elementary operations, where torch's own cannot be differentiated as we need them."""
