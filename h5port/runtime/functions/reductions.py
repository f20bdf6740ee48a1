"""Reductions over axes, running sums, places of extremes."""

from __future__ import annotations

import torch


def all_over(x, *, dim, keepdim):
    return x.all(dim, keepdim=keepdim)


def min_over(x, *, dim, keepdim):
    return x.amin(dim, keepdim=keepdim)


def range_over(x, *, dim, keepdim):
    return x.amax(dim, keepdim=keepdim) - x.amin(dim, keepdim=keepdim)


def sum_over(x, *, dim, keepdim):
    return x.sum(dim, keepdim=keepdim, dtype=x.dtype)


def prod_over(x, *, dim, keepdim):
    for axis in sorted(dim, reverse=True):
        x = x.prod(axis, keepdim=keepdim, dtype=x.dtype)
    return x


def var_over(x, *, dim, keepdim):
    return x.var(dim, correction=0, keepdim=keepdim)


def std_over(x, *, dim, keepdim):
    return x.std(dim, correction=0, keepdim=keepdim)


def at_least(x, *, bound):
    return x.clamp_min(bound)


def at_most(x, *, bound):
    return x.clamp_max(bound)


def count_nonzero(x, *, dim):
    return (x != 0).sum(dim, dtype=torch.int32)


def nanmax_over(x, *, dim, keepdim):
    """NaN where there is nothing else."""
    y = torch.where(x.isnan(), float("-inf"), x).amax(dim, keepdim=keepdim)
    return torch.where(x.isnan().all(dim, keepdim=keepdim), float("nan"), y)


def nanmin_over(x, *, dim, keepdim):
    """NaN where there is nothing else."""
    y = torch.where(x.isnan(), float("inf"), x).amin(dim, keepdim=keepdim)
    return torch.where(x.isnan().all(dim, keepdim=keepdim), float("nan"), y)


def nansum_over(x, *, dim, keepdim):
    return x.nansum(dim, keepdim=keepdim)


def nanprod_over(x, *, dim, keepdim):
    return prod_over(torch.where(x.isnan(), 1, x), dim=dim, keepdim=keepdim)


def nanmean_over(x, *, dim, keepdim):
    return x.nanmean(dim, keepdim=keepdim)


def nanvar_over(x, *, dim, keepdim):
    valid = ~x.isnan()
    squares = torch.where(valid, x - x.nanmean(dim, keepdim=True), 0).square()
    return squares.sum(dim, keepdim=keepdim) / valid.sum(dim, keepdim=keepdim)


def nanstd_over(x, *, dim, keepdim):
    return nanvar_over(x, dim=dim, keepdim=keepdim).sqrt()


def cumsum(x, *, dim, dtype):
    return x.cumsum(dim, dtype=dtype)


def cumprod(x, *, dim, dtype):
    return x.cumprod(dim, dtype=dtype)


def signed_zeros(x):
    """-0.0 made less than 0.0."""
    return torch.where((x == 0) & x.signbit(), -torch.finfo(x.dtype).tiny, x)


def argmax(x, *, dim, keepdim):
    return x.argmax(dim, keepdim=keepdim).to(torch.int32)


def argmin(x, *, dim, keepdim):
    return x.argmin(dim, keepdim=keepdim).to(torch.int32)


def nanargmax(x, *, dim, keepdim):
    """-1 where all are NaN."""
    place = torch.where(x.isnan(), float("-inf"), x).argmax(dim, keepdim=keepdim)
    none = x.isnan().all() if dim is None else x.isnan().all(dim, keepdim=keepdim)
    return torch.where(none, -1, place).to(torch.int32)


def nanargmin(x, *, dim, keepdim):
    """-1 where all are NaN."""
    place = torch.where(x.isnan(), float("inf"), x).argmin(dim, keepdim=keepdim)
    none = x.isnan().all() if dim is None else x.isnan().all(dim, keepdim=keepdim)
    return torch.where(none, -1, place).to(torch.int32)
