"""Convolution and pooling."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def pad_last(x, *, before, after):
    return F.pad(x, (before, after))


def same_padding(n, size, stride):
    """Keras' padding "same" along one axis: what to add before and after, the odd one after."""
    total = torch.sym_max((-(-n // stride) - 1) * stride + size - n, 0)
    return total // 2, total - total // 2


def pad_same(x, *, size, stride):
    """Zeros along the last axis as padding "same" wants them; `size` is the width of the (dilated) kernel."""
    return F.pad(x, same_padding(x.shape[-1], size, stride))


def cut_same(y, x, *, stride):
    """Theano pads both sides alike for padding "same" and cuts the end to ceil(n / stride) steps."""
    return y[..., : -(-x.shape[-1] // stride)]


def half_pool_padding(size):
    """What Theano's backend adds on both sides for a pooling window, padding "same" (pool2d of Keras 1.2.2)."""
    return size - 2 if size > 2 and size % 2 == 1 else size - 1


def max_pool_same_half(x, *, size, stride):
    """Max pooling with Theano's padding "same"."""
    pad = half_pool_padding(size)
    return cut_same(F.max_pool1d(F.pad(x, (pad, pad), value=float("-inf")), size, stride), x, stride=stride)


def average_pool_same_half(x, *, size, stride):
    """Average pooling with Theano's padding "same": the mean of the real steps alone."""
    pad = half_pool_padding(size)
    count = F.avg_pool1d(F.pad(torch.ones_like(x), (pad, pad)), size, stride)
    return cut_same(F.avg_pool1d(F.pad(x, (pad, pad)), size, stride) / count, x, stride=stride)


def max_pool_same_end(x, *, size, stride):
    """Max pooling with padding "same": the padding never wins."""
    return F.max_pool1d(F.pad(x, same_padding(x.shape[-1], size, stride), value=float("-inf")), size, stride)


def average_pool_same_end(x, *, size, stride):
    """Average pooling with padding "same": the mean of the real steps alone."""
    padding = same_padding(x.shape[-1], size, stride)
    count = F.avg_pool1d(F.pad(torch.ones_like(x), padding), size, stride)
    return F.avg_pool1d(F.pad(x, padding), size, stride) / count
