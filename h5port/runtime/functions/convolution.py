"""Convolution and pooling."""

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


def half_pool_padding(size):
    """What Theano's backend adds on both sides for a pooling window, padding "same" (pool2d of Keras 1.2.2)."""
    return size - 2 if size > 2 and size % 2 == 1 else size - 1


def max_pool_same_half(x, *, size, stride):
    """Max pooling with Theano's padding "same"."""
    pad = half_pool_padding(size)
    return cut_same(F.max_pool1d(F.pad(x, (pad, pad), value=float("-inf")), size, stride), x, strides=[stride])


def average_pool_same_half(x, *, size, stride):
    """Average pooling with Theano's padding "same": the mean of the real steps alone."""
    pad = half_pool_padding(size)
    count = F.avg_pool1d(F.pad(torch.ones_like(x), (pad, pad)), size, stride)
    return cut_same(F.avg_pool1d(F.pad(x, (pad, pad)), size, stride) / count, x, strides=[stride])


def max_pool_same_end(x, *, size, stride):
    """Max pooling with padding "same": the padding never wins."""
    return F.max_pool1d(F.pad(x, same_padding(x.shape[-1:], [size], [stride]), value=float("-inf")), size, stride)


def average_pool_same_end(x, *, size, stride):
    """Average pooling with padding "same": the mean of the real steps alone."""
    padding = same_padding(x.shape[-1:], [size], [stride])
    count = F.avg_pool1d(F.pad(torch.ones_like(x), padding), size, stride)
    return F.avg_pool1d(F.pad(x, padding), size, stride) / count
