"""Layers that compute in fewer bits."""

from __future__ import annotations

import torch
from torch import nn


class Float8Linear(nn.Module):
    """A linear layer whose inputs and weights are rounded to float8 (e4m3), each by its scale."""

    def __init__(self, in_features, out_features, bias=True, dtype=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, dtype=dtype)) if bias else None
        self.register_buffer("inputs_scale", torch.ones((), dtype=dtype))
        self.register_buffer("kernel_scale", torch.ones((), dtype=dtype))

    def rounded(self, x, scale):
        return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).to(x.dtype) * scale

    def forward(self, x):
        weight = self.rounded(self.weight, self.kernel_scale)
        return nn.functional.linear(self.rounded(x, self.inputs_scale), weight, self.bias)
