"""Activations with weights."""

from __future__ import annotations

import torch
from torch import nn


class ShapedPReLU(nn.Module):
    """PReLU with a slope for each element, or shared along some axes."""

    def __init__(self, shape, dtype=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape, dtype=dtype))

    def forward(self, x):
        return x.clamp_min(0) + self.weight * x.clamp_max(0)


class ParametricSoftplus(nn.Module):
    """softplus(beta * x) * alpha."""

    def __init__(self, shape, dtype=None):
        super().__init__()
        self.alpha, self.beta = (
            nn.Parameter(torch.empty(shape, dtype=dtype)),
            nn.Parameter(torch.empty(shape, dtype=dtype)),
        )

    def forward(self, x):
        return nn.functional.softplus(self.beta * x) * self.alpha


class SReLU(nn.Module):
    """Linear in the middle, with other slopes below t_left and above t_left + |t_right|.

    `cap_below` is Theano's reading: what lies below t_left is capped, too.
    """

    def __init__(self, shape, cap_below=False, dtype=None):
        super().__init__()
        self.cap_below = cap_below
        for name in ("t_left", "a_left", "t_right", "a_right"):
            setattr(self, name, nn.Parameter(torch.empty(shape, dtype=dtype)))

    def forward(self, x):
        width = self.t_right.abs()
        above = x - self.t_left
        low = self.a_left * above
        if self.cap_below:
            low = torch.minimum(low, width)
        middle = torch.where(above > 0, torch.minimum(above, width), low)
        return self.t_left + middle + self.a_right * (above - width).clamp_min(0)
