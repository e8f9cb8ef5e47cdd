"""Whether every layer and function of torch gives the right meta-gradient."""
