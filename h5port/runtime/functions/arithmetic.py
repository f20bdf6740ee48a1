"""Arithmetic and reductions."""

from __future__ import annotations

import torch


def add(x, y):
    return x + y


def subtract(x, y):
    return x - y


def multiply(x, y):
    return x * y


def maximum(x, y):
    return torch.maximum(x, y)


def minimum(x, y):
    return torch.minimum(x, y)


def average(tensors):
    return sum(tensors[1:], tensors[0]) / len(tensors)


def not_equal(x, y):
    return x != y


def weighted_mean(x, weights, *, dim):
    return (x * weights).sum(dim) / weights.expand_as(x).sum(dim)


def tensordot(x, y, *, axes):
    return torch.tensordot(x, y, axes)


def einsum(x, y, *, equation):
    return torch.einsum(equation, x, y)


def l2_normalize(x, *, dim, floor):
    return x / x.square().sum(dim, keepdim=True).sqrt().clamp_min(floor)


def cosine(product, left, right, *, epsilon):
    return product / (left * right).sqrt().clamp_min(epsilon)


def max_of_blocks(x, *, blocks):
    return x.unflatten(-1, (blocks, -1)).amax(-2)


def highway(gate, changed, x):
    return gate * changed + (1 - gate) * x


def max_over(x, *, dim, keepdim):
    return x.amax(dim, keepdim=keepdim)


def mean_over(x, *, dim, keepdim):
    return x.mean(dim, keepdim=keepdim)


def product_over(x, *, dim, keepdim):
    return x.prod(dim, keepdim=keepdim)


def rounded_to_int8(x, *, dims, epsilon):
    """Rounded to the 255 steps of int8 between plus and minus the largest magnitude along `dims`."""
    scale = 127 / (x.abs().amax(dims, keepdim=True) + epsilon)
    return (x * scale).round().clamp(-127, 127) / scale
