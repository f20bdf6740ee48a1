"""Convolution, and zeros around its inputs."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def pad_zeros(x, *, widths):
    return F.pad(x, widths)


def same_padding(sizes, widths, strides):
    """Keras' padding "same" as F.pad wants it: zeros before and after each axis, the last axis first. An odd number
    has its extra zero after."""
    padding = []
    for n, width, stride in zip(reversed(sizes), reversed(widths), reversed(strides)):
        total = torch.sym_max((-(-n // stride) - 1) * stride + width - n, 0)
        padding += [total // 2, total - total // 2]
    return padding


def pad_same(x, *, widths, strides):
    """Zeros along the last axes as padding "same" wants them; `widths` are those of the (dilated) kernel."""
    return F.pad(x, same_padding(x.shape[-len(widths) :], widths, strides))


def cut_same(y, x, *, strides):
    """Theano pads both sides alike for padding "same" and cuts the ends to ceil(n / stride)."""
    for axis, stride in enumerate(strides, y.dim() - len(strides)):
        y = y.narrow(axis, 0, -(-x.shape[axis] // stride))
    return y
