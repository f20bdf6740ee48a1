"""Functions of TensorFlow that Keras' own operations do not have."""

from __future__ import annotations

import torch


def squared_difference(x, y):
    return (x - y).square()


def lgamma(x):
    return torch.lgamma(x)


def digamma(x):
    return torch.digamma(x)


def multiply_no_nan(x, y):
    """The product; 0 where `y` is 0, whatever `x` is."""
    return torch.where(y == 0, 0, x * y)


def running(x, *, dim, how, exclusive, reverse):
    """Running sums or products; without the element itself if `exclusive`, from the end if `reverse`."""
    x = x.flip(dim) if reverse else x
    y = x.cumsum(dim, dtype=x.dtype) if how == "sum" else x.cumprod(dim, dtype=x.dtype)
    if exclusive:
        first = torch.full_like(y.narrow(dim, 0, 1), 0 if how == "sum" else 1)
        y = torch.cat((first, y.narrow(dim, 0, y.shape[dim] - 1)), dim)
    return y.flip(dim) if reverse else y


def sizes_of(x):
    """The shape as a tensor."""
    return torch.tensor(list(x.shape), dtype=torch.int32, device=x.device)


def reshape_to(x, sizes):
    """To sizes that are numbers or tensors of one number."""
    return x.reshape([int(n) for n in sizes])


def standardized_images(x):
    """Each image less its mean, divided by its deviation, or by that of a single pixel if this is more."""
    dims = (-3, -2, -1)
    count = x.shape[-1] * x.shape[-2] * x.shape[-3]
    deviation = x.var(dims, unbiased=False, keepdim=True).sqrt()
    return (x - x.mean(dims, keepdim=True)) / deviation.clamp_min(count**-0.5)


def with_contrast(x, *, factor):
    """(x - mean) * factor + mean, with the mean of each channel of each image."""
    mean = x.mean((-3, -2), keepdim=True)
    return (x - mean) * factor + mean
