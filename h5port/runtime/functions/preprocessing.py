"""Preprocessing of numbers: normalisation, bins, one-hot rows, counts."""

from __future__ import annotations

import torch


def normalize(x, *, mean, spread):
    return (x - x.new_tensor(mean)) / x.new_tensor(spread)


def denormalize(x, *, mean, spread):
    return x.new_tensor(mean) + x * x.new_tensor(spread)


def times(x, *, weights):
    return x * x.new_tensor(weights)


def bin_of(x, *, boundaries):
    """How many of the boundaries (in float32, as in TensorFlow) are not above x."""
    x = x if x.is_floating_point() else x.float()
    edges = torch.tensor(boundaries, dtype=torch.float32, device=x.device)
    return torch.bucketize(x, edges.to(x.dtype), right=True)


def one_hot(ids, *, depth, dtype):
    return (ids.unsqueeze(-1) == torch.arange(depth, device=ids.device)).to(dtype)


def counts(ids, weights=None, *, depth, dtype):
    """How often each of 0 ... depth-1 is in the last axis (or the sum of its weights); others are left out."""
    ids = torch.where((ids >= 0) & (ids < depth), ids, depth)
    weights = torch.ones_like(ids, dtype=dtype) if weights is None else weights
    zeros = torch.zeros(*ids.shape[:-1], depth + 1, dtype=dtype, device=ids.device)
    return zeros.scatter_add(-1, ids, weights)[..., :depth]


def multi_hot(ids, *, depth, dtype):
    return counts(ids, depth=depth, dtype=dtype).clamp_max(1)
