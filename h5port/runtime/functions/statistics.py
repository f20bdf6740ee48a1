"""Counts, histograms, correlations, integrals."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def bincount(x, *, minlength):
    counts = F.one_hot(x.long()).sum(-2, dtype=torch.int32)
    return F.pad(counts, (0, torch.sym_max(minlength - counts.shape[-1], 0)))


def correlate(x, y, *, mode):
    m = y.shape[0]
    if mode == "valid":
        return F.conv1d(x[None, None], y[None, None])[0, 0]
    whole = F.conv1d(F.pad(x, (m - 1, m - 1))[None, None], y[None, None])[0, 0]
    if mode == "full":
        return whole
    size = torch.sym_max(x.shape[0], m)
    start = (whole.shape[0] - size) // 2
    return whole[start : start + size]


def corrcoef(x):
    """The correlations of the rows."""
    x = x - x.mean(-1, keepdim=True)
    products = x @ x.T / (x.shape[-1] - 1)
    spread = products.diagonal().sqrt()
    return (products / (spread.unsqueeze(-1) * spread)).clamp(-1, 1)


def trapezoid(y, *, widths):
    """The integral over the last axis."""
    if isinstance(widths, list):
        widths = torch.tensor(widths, dtype=y.dtype, device=y.device)
    return (0.5 * (y[..., 1:] + y[..., :-1]) * widths).sum(-1)


def powers(x, *, exponents):
    return x.unsqueeze(-1) ** torch.tensor(exponents, dtype=x.dtype, device=x.device)
