"""Parts of tensors: cut out, put in, added at indices."""

from __future__ import annotations

import torch


def detach(x):
    return x.detach()


def round_trip(x, *, through):
    """x as a narrower type of floats has it."""
    return x.to(through).to(torch.float32)


def slice_at(x, *, starts, sizes):
    return x[tuple(slice(s, None if n == -1 else s + n) for s, n in zip(starts, sizes))]


def slice_from(x, starts, *, sizes):
    """The part of these sizes that starts at indices which are a tensor."""
    for axis, n in enumerate(sizes):
        x = x.index_select(axis, starts[axis] + torch.arange(n, device=x.device))
    return x


def slice_update(x, starts, updates):
    """A start is moved back where the updates would not fit, as XLA does."""
    places = []
    for axis, n in enumerate(updates.shape):
        start = torch.clamp(starts[axis], 0, x.shape[axis] - n)
        places.append((start + torch.arange(n, device=x.device)).reshape([-1] + [1] * (x.dim() - axis - 1)))
    return x.index_put(places, updates)


def scatter(indices, values, *, shape):
    return values.new_zeros(shape).index_put(indices.unbind(-1), values, accumulate=True)


def scatter_replace(x, indices, updates):
    return x.index_put(indices.unbind(-1), updates)


def scatter_reduce(x, indices, updates, *, how):
    """x with updates reduced into it; the last axis of the indices says where, along the first axes of x."""
    depth = indices.shape[-1]
    place = indices[..., 0]
    for axis in range(1, depth):
        place = place * x.shape[axis] + indices[..., axis]
    rows = x.flatten(0, depth - 1)
    updates = updates.reshape(-1, *rows.shape[1:])
    place = place.reshape([-1] + [1] * (rows.dim() - 1)).expand_as(updates)
    return rows.scatter_reduce(0, place, updates, how).reshape(x.shape)


def unstack(x, *, dim):
    return x.unbind(dim)
