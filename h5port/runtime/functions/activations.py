"""Activations."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def identity(x):
    return x


def relu(x):
    return torch.relu(x)


def relu6(x):
    return F.relu6(x)


def sigmoid(x):
    return torch.sigmoid(x)


def tanh(x):
    return torch.tanh(x)


def softmax(x, *, dim):
    return torch.softmax(x, dim)


def softmax_axes(x, *, dims):
    return (x - torch.logsumexp(x, dims, keepdim=True)).exp()


def log_softmax_axes(x, *, dims):
    return x - torch.logsumexp(x, dims, keepdim=True)


def log_softmax(x, *, dim):
    return torch.log_softmax(x, dim)


def softplus(x):
    return F.softplus(x)


def softsign(x):
    return F.softsign(x)


def elu(x, *, alpha):
    return F.elu(x, alpha)


def selu(x):
    return F.selu(x)


def celu(x, *, alpha):
    return F.celu(x, alpha)


def gelu(x):
    return F.gelu(x)


def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


def silu(x):
    return F.silu(x)


def mish(x):
    return F.mish(x)


def exp(x):
    return torch.exp(x)


def leaky_relu(x, *, negative_slope):
    return F.leaky_relu(x, negative_slope)


def hard_silu(x):
    return F.hardswish(x)


def hard_tanh(x):
    return F.hardtanh(x)


def hard_shrink(x, *, lambd):
    return F.hardshrink(x, lambd)


def soft_shrink(x, *, lambd):
    return F.softshrink(x, lambd)


def tanh_shrink(x):
    return F.tanhshrink(x)


def log_sigmoid(x):
    return F.logsigmoid(x)


def squareplus(x, *, b):
    return (x + (x.square() + b).sqrt()) / 2


def glu(x, *, dim):
    return F.glu(x, dim)


def sparse_sigmoid(x):
    return ((x + 1) / 2).clamp(0, 1)


def hard_sigmoid(x):
    return F.hardsigmoid(x)


def hard_sigmoid_fifth(x):
    """hard_sigmoid as Keras before version 3 has it: slope 0.2, not 1/6."""
    return F.hardsigmoid(1.2 * x)


def threshold(x, *, theta):
    return F.threshold(x, theta, 0)


def value_below(x, *, threshold, value):
    return torch.where(x > threshold, x, value)


def threshold_magnitude(x, *, theta):
    return torch.where(x.abs() > theta, x, 0)


def sparse_plus(x):
    """0 up to -1, x from 1 on, a parabola between."""
    return torch.where(x <= -1, 0, torch.where(x < 1, (x + 1).square() / 4, x))


def sparsemax(x, *, dim):
    """As Keras computes it: the threshold is taken from the sum of running sums over the support."""
    x = x.movedim(dim, -1)
    ordered = x.sort(dim=-1, descending=True).values
    sums = ordered.cumsum(-1)
    ranks = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    support = ordered - (sums - 1) / ranks > 0
    threshold = (torch.where(support, sums, 0).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)
    return (x - threshold).clamp_min(0).movedim(-1, dim)


def keras_relu(x, *, negative_slope, max_value, threshold):
    """Keras' relu with all its options: x above the threshold up to a ceiling, a slope below it."""
    below = negative_slope * (x - threshold) if negative_slope else 0
    y = torch.where(x > threshold, x, below)
    return y if max_value is None else y.clamp_max(max_value)
