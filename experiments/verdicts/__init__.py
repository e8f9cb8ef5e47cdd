"""How often two equal methods are told apart."""
