"""Linear maps by an einsum equation."""

from __future__ import annotations

import torch
from torch import nn


class EinsumDense(nn.Module):
    """einsum(equation, x, weight) + bias; the bias has the shape in which it broadcasts."""

    def __init__(self, equation, weight_shape, bias_shape=None, dtype=None):
        super().__init__()
        self.equation = equation
        self.weight = nn.Parameter(torch.empty(weight_shape, dtype=dtype))
        self.bias = None if bias_shape is None else nn.Parameter(torch.empty(bias_shape, dtype=dtype))

    def forward(self, x):
        y = torch.einsum(self.equation, x, self.weight)
        return y if self.bias is None else y + self.bias
