"""Functions that choose elements."""

from __future__ import annotations

import torch


def subscript(x, *, key):
    """x[key]: a place, None, or [start, stop, step] for each axis."""
    parts = [slice(*part) if isinstance(part, list) else part for part in key]
    return x[tuple(parts)]


def take(x, indices, *, dim):
    """Negative indices count from the end."""
    before = (slice(None),) * dim
    return x[before + (indices.long(),)]


def take_along(x, indices, *, dim):
    """Negative indices count from the end."""
    indices = indices.long()
    return torch.take_along_dim(x, torch.where(indices < 0, indices + x.shape[dim], indices), dim)


def digitize(x, *, bounds):
    bounds = torch.tensor(bounds, dtype=torch.float32, device=x.device)
    return torch.bucketize(x.double(), bounds.double(), right=True, out_int32=True)


def search_sorted(row, values, *, side):
    return torch.searchsorted(row, values.contiguous(), side=side, out_int32=True)


def nonzero(x):
    return x.nonzero().T.to(torch.int32)


def unravel(x, *, below, size):
    return x // below % size
