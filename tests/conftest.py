"""Shared by all tests: one thread, so that test processes side by side do not fight over two cores."""

import torch

torch.set_num_threads(1)
