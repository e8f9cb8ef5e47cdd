"""Networks of images that others have trained, from the libraries that have them."""
