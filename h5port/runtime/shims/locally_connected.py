"""Convolutions whose kernel is another at each place of the output."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class LocallyConnected(nn.Module):
    """weight (out, in, *places, *window), bias (out, *places); `padding` is added before and after each axis."""

    def __init__(self, in_channels, out_channels, places, window, stride, padding=None, bias=True, dtype=None):
        super().__init__()
        self.in_channels, self.out_channels, self.places, self.window = in_channels, out_channels, places, window
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(self.weight_shape(), dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, *places, dtype=dtype)) if bias else None

    def weight_shape(self):
        return (self.out_channels, self.in_channels, *self.places, *self.window)

    def kernel(self):
        return self.weight

    def forward(self, x):
        """(N, in, ...) -> (N, out, *places)."""
        x = x if self.padding is None else F.pad(x, self.padding)
        for axis, (size, step) in enumerate(zip(self.window, self.stride, strict=True), 2):
            x = x.unfold(axis, size, step)
        axes = "abcdef"[: 2 * len(self.window)]
        y = torch.einsum(f"ni{axes},oi{axes}->no{axes[: len(self.window)]}", x, self.kernel())
        return y if self.bias is None else y + self.bias


class SparselyConnected(LocallyConnected):
    """The same where the windows reach beyond the input and have no weights there: weight (count,) has the others, in
    the order of (*places, out, *window, in), or with channels first (out, *places, in, *window). `size` is the input's,
    `start` how far the first window lies before it."""

    def __init__(
        self, in_channels, out_channels, places, window, stride, padding, size, start, channels_first, **kwargs
    ):
        self.size, self.start, self.channels_first = size, start, channels_first
        super().__init__(in_channels, out_channels, places, window, stride, padding, **kwargs)
        self.register_buffer("inside", self.meets(), persistent=False)

    def weight_shape(self):
        return (int(self.meets().sum()),)

    def meets(self):
        n = len(self.window)
        inside = torch.ones([1] * (2 * n), dtype=torch.bool)
        for axis in range(n):
            first = torch.arange(self.places[axis]) * self.stride[axis] - self.start[axis]
            at = first.unsqueeze(1) + torch.arange(self.window[axis])
            inside = inside & table_across((at >= 0) & (at < self.size[axis]), axis, axis + n, 2 * n)
        if self.channels_first:
            return (
                inside.unsqueeze(n).unsqueeze(0).expand(self.out_channels, *self.places, self.in_channels, *self.window)
            )
        return inside.unsqueeze(n).unsqueeze(-1).expand(*self.places, self.out_channels, *self.window, self.in_channels)

    def kernel(self):
        n, inside = len(self.window), self.inside
        dense = torch.zeros(inside.shape, dtype=self.weight.dtype, device=self.weight.device)
        dense = dense.masked_scatter(inside, self.weight)
        return dense.movedim(n + 1, 1) if self.channels_first else dense.movedim((n, -1), (0, 1))


class MaskedConnected(nn.Module):
    """A kernel for all pairs of places, of which those are used that lie in a window: weight (in, ..., out, ...)."""

    def __init__(self, in_channels, size, out_channels, places, window, stride, start, bias=True, dtype=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_channels, *size, out_channels, *places, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, *places, dtype=dtype)) if bias else None
        mask, n = torch.ones([1] * self.weight.dim(), dtype=torch.bool), len(size)
        for axis in range(n):
            first = torch.arange(places[axis]) * stride[axis] - start[axis]
            at = torch.arange(size[axis]).unsqueeze(1) - first
            mask = mask & table_across((at >= 0) & (at < window[axis]), axis + 1, axis + n + 2, 2 * n + 2)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        y = torch.tensordot(x, self.weight * self.mask, x.dim() - 1)
        return y if self.bias is None else y + self.bias


def table_across(table, row, column, rank):
    """A table as a tensor of many axes, of which two are its rows and columns."""
    shape = [1] * rank
    shape[row], shape[column] = table.shape
    return table.reshape(shape)
