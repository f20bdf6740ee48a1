"""What stands for a layer that was not converted."""

from __future__ import annotations

import torch
from torch import nn


class Stub(nn.Module):
    """Stands for a layer that was not converted: holds its arrays and its config, and names it when called."""

    def __init__(self, name, class_name, problem, config, tensors):
        super().__init__()
        self.name, self.class_name, self.problem, self.config = name, class_name, problem, config
        for tensor, (shape, dtype) in tensors.items():
            self.register_buffer(tensor, torch.empty(shape, dtype=getattr(torch, dtype)))

    def forward(self, *inputs):
        raise NotImplementedError(f"the layer {self.name!r} ({self.class_name}) was not converted: {self.problem}")
