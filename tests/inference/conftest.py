"""What tests of the engine share."""

import torch

torch.set_num_threads(1)  # networks for tests are so small that threads wait for each other
