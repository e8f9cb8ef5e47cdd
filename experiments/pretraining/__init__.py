"""Language models of some million parameters, trained on all corpora."""
