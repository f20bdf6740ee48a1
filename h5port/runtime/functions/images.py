"""Images (N, C, height, width) at other sizes, as TensorFlow computes them (tensorflow/core/kernels/image)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def resize_nearest(x, *, size):
    return F.interpolate(x, size, mode="nearest-exact")


def resize_bilinear(x, *, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def neighbours(old, new):
    """For each new pixel: the old ones before and after it, and how far it lies between them (float32)."""
    at = (torch.arange(new) + 0.5) * (torch.tensor(float(old)) / new) - 0.5
    before = at.floor()
    return before.clamp(min=0).long(), at.ceil().clamp(max=old - 1).long(), at - before


def resize_bilinear_in_order(x, *, size):
    """Bilinear, each sum in the order and in the type of TensorFlow (core/kernels/image/resize_bilinear_op.cc of 2.21):
    no pixel differs by a bit, so that all are rounded to the same whole number."""
    (top, bottom, down), (left, right, along) = (neighbours(n, m) for n, m in zip(x.shape[2:], size))
    down, along = down.to(x)[:, None], along.to(x)
    columns = x[..., left] + (x[..., right] - x[..., left]) * along
    return columns[..., top, :] + (columns[..., bottom, :] - columns[..., top, :]) * down


def upsample_bilinear(x, *, times):
    size = [n * t for n, t in zip(x.shape[2:], times)]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def resize_by_weights(x, *, size, weights):
    """Each new row, and each new column, is a weighted sum of the old ones: weights(old size, new size)."""
    rows, columns = (weights(n, m).to(x) for n, m in zip(x.shape[2:], size))
    return rows @ x @ columns.mT


def upsample_by_weights(x, *, times, weights):
    return resize_by_weights(x, size=[n * t for n, t in zip(x.shape[2:], times)], weights=weights)


# ---- the weights (m, n) of n old pixels in m new ones


def corner_weights(n, m):
    """Linear; new pixel i lies at i n / m, as in TensorFlow 1 (resize_bilinear without half_pixel_centers)."""
    place = (torch.arange(m) * (torch.ones(()) * n / m)).clamp(max=n - 1)
    return triangle(place[:, None] - torch.arange(n))


def area_weights(n, m):
    """The share that each old pixel has in the area of a new one (resize_area_op.cc)."""
    ends, cells = torch.arange(m + 1) * (torch.ones(()) * n / m), torch.arange(n)
    shares = (ends[1:, None].minimum(cells + 1) - ends[:-1, None].maximum(cells)).clamp(min=0)
    return shares / shares.sum(1, keepdim=True)


def bicubic_weights(n, m):
    """The cubic of Keys, the distances rounded to a 1024th (resize_bicubic_op.cc, half_pixel_centers)."""
    place = (torch.arange(m) + 0.5) * (torch.ones(()) * n / m) - 0.5
    whole = place.floor()
    rounded = whole + ((place - whole) * 1024).round() / 1024
    weights = keys_cubic(torch.arange(n) - rounded[:, None])
    return weights / weights.sum(1, keepdim=True)


def kernel_weights(n, m, kernel, antialias):
    """The kernel around each new pixel's centre, its weights inside the image added up to one; with `antialias` as
    wide as what becomes one pixel (scale_and_translate_op.cc, ComputeSpansCore)."""
    step = torch.ones(()) * n / m
    distance = torch.arange(n) + 0.5 - (torch.arange(m)[:, None] + 0.5) * step
    weights = kernel(distance / (step.clamp(min=1) if antialias else 1))
    return weights / weights.sum(1, keepdim=True)


def triangle_weights(n, m, *, antialias):
    return kernel_weights(n, m, triangle, antialias)


def keys_cubic_weights(n, m, *, antialias):
    return kernel_weights(n, m, keys_cubic, antialias)


def mitchell_cubic_weights(n, m, *, antialias):
    return kernel_weights(n, m, mitchell_cubic, antialias)


def gaussian_weights(n, m, *, antialias):
    return kernel_weights(n, m, gaussian, antialias)


def lanczos_weights(n, m, *, radius, antialias):
    return kernel_weights(n, m, lambda x: lanczos(x, radius), antialias)


# ---- kernels (tensorflow/core/kernels/image/sampling_kernels.h)


def triangle(x):
    return (1 - x.abs()).clamp(min=0)


def gaussian(x):
    """The normal curve of deviation 1/2, cut at 3/2."""
    return torch.where(x.abs() < 1.5, torch.exp(-2 * x.square()), 0)


def lanczos(x, radius):
    curve = torch.where(x.abs() <= 1e-3, 1, torch.sinc(x) * torch.sinc(x / radius))
    return torch.where(x.abs() > radius, 0, curve)


def keys_cubic(x):
    """The cubic of Keys with a = -1/2."""
    x = x.abs()
    near, far = ((1.5 * x - 2.5) * x) * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


def mitchell_cubic(x):
    """The cubic of Mitchell and Netravali with B = C = 1/3."""
    x = x.abs()
    near, far = ((7 * x - 12) * x) * x / 6 + 8 / 9, (((-7 * x + 36) * x - 60) * x + 32) / 18
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


# ---- parts of images, and their values


def cut_to_proportions(x, *, size):
    """The largest part in the middle that has the proportions of `size` (smart_resize of Keras)."""
    (n, m), (height, width) = x.shape[2:], size
    rows = torch.sym_max(torch.sym_min(n, m * height // width), 1)
    columns = torch.sym_max(torch.sym_min(m, n * width // height), 1)
    return x.narrow(2, (n - rows) // 2, rows).narrow(3, (m - columns) // 2, columns)


def pad_to_proportions(x, *, size, value):
    """As much of `value` on both sides as brings the image near to the proportions of `size`."""
    (n, m), (height, width) = x.shape[2:], size
    rows = torch.sym_max(m * height // width - n, 0) // 2
    columns = torch.sym_max(n * width // height - m, 0) // 2
    return F.pad(x, (columns, columns, rows, rows), value=value)


def center_crop(x, *, size):
    """The middle of an image; one that is too small is cut to the proportions and resized."""
    (n, m), (height, width) = x.shape[2:], size
    if n < height or m < width:
        return resize_bilinear(cut_to_proportions(x, size=size), size=size)
    return x.narrow(2, (n - height) // 2, height).narrow(3, (m - width) // 2, width)


def round_to(x, *, to):
    """The nearest number that the integer type has."""
    bounds = torch.iinfo(to)
    return x.double().round().clamp(bounds.min, bounds.max).to(to)


def rescale(x, *, scale, offset):
    return x * scale + offset


def rescale_channels(x, *, scale, offset):
    return x * x.new_tensor(scale) + x.new_tensor(offset)


def auto_contrast(x, *, low, high):
    y = (x - low) / (high - low) * 255
    least, largest = y.amin((1, 2), keepdim=True), y.amax((1, 2), keepdim=True)
    scale = 255 / (largest - least)
    y = (y * scale - least * scale).clamp(0, 255)
    y = y / 255 * (high - low) + low
    return torch.where(y.isnan(), x, y)
