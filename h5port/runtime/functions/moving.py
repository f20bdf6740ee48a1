"""Functions that move elements and compute none."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def ravel(x):
    return x.reshape(-1)


def broadcast_to(x, *, sizes):
    return x.broadcast_to(sizes)


def repeat(x, *, repeats, dim):
    return x.repeat_interleave(repeats, dim)


def pick(x, *, dim, places):
    return x.index_select(dim, torch.tensor(places, device=x.device))


def tile(x, *, repeats):
    return x.tile(repeats)


def roll(x, *, shifts, dims):
    return x.roll(shifts, dims)


def flip_over(x, *, dims):
    return x.flip(dims)


def rot90(x, *, k, dims):
    return x.rot90(k, dims)


def pad(x, *, pads, fill):
    return F.pad(x, pads, value=fill)


def pad_mirrored(x, *, dim, before, after, edge):
    """Padding with the mirror image; the border itself is repeated with edge=1."""
    n = x.shape[dim]
    place = torch.arange(-before, n + after, device=x.device)
    place = torch.maximum(place, -edge - place)
    return x.index_select(dim, torch.minimum(place, 2 * (n - 1) + edge - place))


def diff(x, *, n, dim):
    return x.diff(n, dim)


def stack(tensors, *, dim):
    return torch.stack(tensors, dim)


def split_at(x, *, at, dim):
    return x.tensor_split(at, dim)


def meshgrid(tensors, *, indexing):
    return torch.meshgrid(*tensors, indexing=indexing)
