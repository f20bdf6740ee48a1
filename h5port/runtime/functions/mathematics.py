"""Segments, greatest elements, distances, windows and Fourier transforms."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def rsqrt(x):
    return torch.rsqrt(x)


def erf(x):
    return torch.erf(x)


def erfc(x):
    return torch.erfc(x)


def erfinv(x):
    return torch.erfinv(x)


def logsumexp(x, *, dim, keepdim):
    return torch.logsumexp(x, dim, keepdim)


def segment_reduce(data, ids, *, segments, how, start):
    """Rows of one id reduced to one; where there are none, `start`. Rows of other ids are left out."""
    count = int(ids.max()) + 1 if segments is None else segments
    ids = torch.where((ids < 0) | (ids >= count), count, ids).to(torch.int64)
    rows = torch.full((count + 1, *data.shape[1:]), start, dtype=data.dtype, device=data.device)
    ids = ids.reshape([-1] + [1] * (data.dim() - 1)).expand_as(data)
    return rows.scatter_reduce(0, ids, data, how, include_self=how in ("sum", "prod"))[:count]


def top_places(x, *, k):
    """Where the k greatest of the last axis are; of equals the first goes before, which torch.topk does not say."""
    return x.argsort(dim=-1, descending=True, stable=True)[..., :k].to(torch.int32)


def elements_at(x, places):
    return x.gather(-1, places.to(torch.int64))


def in_top_k(targets, predictions, *, k):
    """False, too, where the target is no class, or a number on the way is not finite."""
    classes = predictions.shape[-1]
    own = predictions.gather(-1, targets.clamp(0, classes - 1).unsqueeze(-1))
    known = (targets >= 0) & (targets < classes) & predictions.isfinite().all(-1)
    return known & ((predictions > own).sum(-1) < k)


def distances(x, y):
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1).sqrt()


def windows(x, *, length, stride):
    return x.unfold(-1, length, stride)


def parts(z):
    return z.real, z.imag


def fft(real, imag):
    return parts(torch.fft.fft(torch.complex(real, imag)))


def fft2(real, imag):
    return parts(torch.fft.fft2(torch.complex(real, imag)))


def ifft2(real, imag):
    return parts(torch.fft.ifft2(torch.complex(real, imag)))


def rfft(x, *, size):
    return parts(torch.fft.rfft(x, size))


def irfft(real, imag, *, size):
    return torch.fft.irfft(torch.complex(real, imag), size)


def stft_window(x, length, size, window):
    """The window in the middle of `size` places; TensorFlow's periodic ones are so at even lengths alone."""
    make = {"hann": torch.hann_window, "hamming": torch.hamming_window}[window]
    before = (size - length) // 2
    return F.pad(
        make(length, periodic=length % 2 == 0, dtype=x.dtype, device=x.device), (before, size - length - before)
    )


def stft(x, *, length, stride, size, window, center):
    """(..., windows, bins), real and imaginary part (Keras 3.15, backend/tensorflow/math.py)."""
    if center:
        around = (size // 2, size // 2)
        x = F.pad(x.reshape(1, -1, x.shape[-1]), around, mode="reflect").reshape(*x.shape[:-1], -1)
    x = x.unfold(-1, size, stride)
    return parts(torch.fft.rfft(x if window is None else x * stft_window(x, length, size, window)))


def istft(real, imag, *, length, stride, size, window, center, steps):
    """The windows added up where they lie; each was divided by the sum of squares of all windows that lie there."""
    x = torch.fft.irfft(torch.complex(real, imag), size)
    if window is not None:
        shape = stft_window(x, length, size, window)
        squares = F.pad(shape.square(), (0, -size % stride)).reshape(-1, stride).sum(0)
        x = x * (shape / squares.repeat(-(-size // stride))[:size])
    whole = size + stride * (x.shape[-2] - 1)
    places = (torch.arange(x.shape[-2], device=x.device) * stride).unsqueeze(-1) + torch.arange(size, device=x.device)
    y = x.new_zeros(*x.shape[:-2], whole).index_add(-1, places.flatten(), x.flatten(-2))
    start = size // 2 if center else 0
    return y[..., start : whole - start if steps is None else start + steps]
