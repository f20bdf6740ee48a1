"""Pooling of (N, C, ...) with padding "same", which torch's own modules cannot always give."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from h5port.runtime.functions.convolution import cut_same, same_padding


def max_pool(x, size, stride):
    return (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(size) - 1](x, size, stride)


def average_pool(x, size, stride):
    return (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(size) - 1](x, size, stride)


def max_pool_same_end(x, *, size, stride):
    """Max pooling with padding "same": the padding never wins."""
    padding = same_padding(x.shape[2:], size, stride)
    return max_pool(F.pad(x, padding, value=float("-inf")), size, stride)


def average_pool_same_end(x, *, size, stride):
    """Average pooling with padding "same": the mean of the real cells alone."""
    padding = same_padding(x.shape[2:], size, stride)
    count = average_pool(F.pad(torch.ones_like(x), padding), size, stride)
    return average_pool(F.pad(x, padding), size, stride) / count


def half_pool_padding(size):
    """What Theano's backend adds for padding "same", before and after each axis, the last axis first (pool2d of
    keras/backend/theano_backend.py, Keras 1.2.2)."""
    return [n - 2 if n > 2 and n % 2 == 1 else n - 1 for n in reversed(size) for _ in range(2)]


def max_pool_same_half(x, *, size, stride):
    """Max pooling with Theano's padding "same"."""
    padding = half_pool_padding(size)
    return cut_same(max_pool(F.pad(x, padding, value=float("-inf")), size, stride), x, strides=stride)


def average_pool_same_half(x, *, size, stride):
    """Average pooling with Theano's padding "same": the mean of the real cells alone."""
    padding = half_pool_padding(size)
    count = average_pool(F.pad(torch.ones_like(x), padding), size, stride)
    return cut_same(average_pool(F.pad(x, padding), size, stride) / count, x, strides=stride)


def average_pool_same_half_counted(x, *, size, stride):
    """Average pooling with Theano's padding "same", where the zeros of the padding count."""
    return cut_same(average_pool(F.pad(x, half_pool_padding(size)), size, stride), x, strides=stride)


def max_pool_valid(x, *, size, stride):
    return max_pool(x, size, stride)


def average_pool_valid(x, *, size, stride):
    return average_pool(x, size, stride)


def adaptive_max_pool(x, *, size):
    return (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[len(size) - 1](x, size)


def adaptive_average_pool(x, *, size):
    return (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(size) - 1](x, size)
