"""Language models: passages of a corpus, what is asked of them, the network and its training."""
