"""Several processes or machines as ranks of one program, by torch.distributed; a process on its own never loads it."""
