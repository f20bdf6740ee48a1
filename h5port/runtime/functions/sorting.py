"""Functions of sorted tensors."""

from __future__ import annotations

import torch


def sort(x, *, dim):
    return x.sort(dim).values


def argsort(x, *, dim):
    return x.argsort(dim=dim, stable=True).to(torch.int32)


def rows_of(x, *, dim):
    """These axes made one, the last."""
    return x.movedim(dim, list(range(-len(dim), 0))).flatten(-len(dim)) if dim else x.unsqueeze(-1)


def between(ordered, place, last, *, method):
    """The values at places that fall between the elements of sorted rows (Keras' _quantile on TensorFlow)."""
    low, high = (torch.minimum(p.long().clamp_min(0), last) for p in (place.floor(), place.ceil()))
    if method == "lower":
        return ordered.gather(-1, low)
    if method == "higher":
        return ordered.gather(-1, high)
    if method == "nearest":
        return ordered.gather(-1, torch.minimum(place.round().long().clamp_min(0), last))
    if method == "midpoint":
        return 0.5 * (ordered.gather(-1, low) + ordered.gather(-1, high))
    low = (high - 1).clamp_min(0)
    high = torch.minimum(low + 1, last)
    part = (high - place).to(ordered.dtype)
    return ordered.gather(-1, high) * (1 - part) + ordered.gather(-1, low) * part


def quantile(x, *, dim, q, keepdim, method, skips_nan):
    """The values below which parts q of the elements lie; several q make a first axis.

    NaN makes the result NaN, or is left out.
    """
    ordered = rows_of(x, dim=dim).sort(-1).values
    nan = ordered.isnan()
    count = (
        (~nan).sum(-1, keepdim=True) if skips_nan else torch.full_like(nan[..., :1], nan.shape[-1], dtype=torch.int64)
    )
    last = (count - 1).clamp_min(0)
    nothing = nan.all(-1) if skips_nan else nan.any(-1)
    values = []
    for part in q if isinstance(q, list) else [q]:
        y = between(ordered, (count - 1).double() * part, last, method=method).squeeze(-1)
        y = torch.where(nothing, float("nan"), y)
        for axis in sorted(dim) if keepdim else []:
            y = y.unsqueeze(axis)
        values.append(y)
    return torch.stack(values) if isinstance(q, list) else values[0]
