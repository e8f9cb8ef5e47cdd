"""What is put into a network, from a start of its own or a meta-learned one: results/additions*.{md,json,png}."""
