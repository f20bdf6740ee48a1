"""Functions that make tensors."""

from __future__ import annotations

import torch


def expand_as(x, like):
    return x.expand_as(like)


def size(x):
    return torch.full((), x.numel(), dtype=torch.int32, device=x.device)


def arange(start, stop, step, *, dtype):
    return torch.arange(start, stop, step, dtype=dtype)


def spaced(start, stop, *, num, endpoint, dim):
    """Numbers at equal steps along a new axis, the last of them `stop` with `endpoint`."""
    steps = torch.arange(num, dtype=start.dtype, device=start.device) / max(num - int(endpoint), 1)
    start, stop = start.unsqueeze(-1), stop.unsqueeze(-1)
    return (start + (stop - start) * steps).movedim(-1, dim)


def log10_of_size(x):
    return x.abs().log10()
