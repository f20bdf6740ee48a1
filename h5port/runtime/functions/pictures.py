"""Colours, borders, filters and projections of images (N, C, height, width), as TensorFlow computes them."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def gray(x):
    return torch.tensordot(x, x.new_tensor([0.2989, 0.5870, 0.1140]), ([1], [0])).unsqueeze(1)


def rgb_to_hsv(x):
    """tensorflow/core/kernels/image/colorspace_op.h."""
    r, g, b = x.unbind(1)
    value, least = x.amax(1), x.amin(1)
    span = value - least
    norm = 1 / (6 * span)
    hue = torch.where(r == value, norm * (g - b), norm * (r - g) + 4 / 6)
    hue = torch.where((g == value) & (r != value), norm * (b - r) + 2 / 6, hue)
    hue = torch.where(span > 0, hue, 0)
    return torch.stack((torch.where(hue < 0, hue + 1, hue), torch.where(value > 0, span / value, 0), value), 1)


def hsv_to_rgb(x):
    h, s, v = x.unbind(1)
    h = h * 6
    red, green, blue = (h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()
    return torch.stack([((1 - s) + s * c.clamp(0, 1)) * v for c in (red, green, blue)], 1)


def fill_around(x, *, widths, value):
    return F.pad(x, widths, value=value)


def cut_around(x, *, top, bottom, left, right):
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def patches(x, *, size, stride, dilation):
    """(N, C, ...) -> (N, taps * C, ...), the channels the fastest."""
    for axis, (n, s, d) in enumerate(zip(size, stride, dilation), 2):
        x = x.unfold(axis, (n - 1) * d + 1, s)[..., ::d]
    axes = len(size)
    taps = list(range(axes + 2, 2 * axes + 2))
    return x.permute(0, *taps, 1, *range(2, axes + 2)).flatten(1, axes + 1)


def bell(size, sigma, like):
    """A normal curve over `size` places, its sum 1."""
    x = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    y = torch.exp(-0.5 * (x / sigma).square())
    return y / y.sum()


def each_plane_by(x, kernel):
    """Every channel convolved with the same kernel."""
    return F.conv2d(x.flatten(0, 1).unsqueeze(1), kernel[None, None]).unflatten(0, x.shape[:2]).squeeze(2)


def gaussian_blur(x, *, size, sigma):
    kernel = torch.outer(bell(size[1], sigma[1], x), bell(size[0], sigma[0], x))
    return each_plane_by(x, kernel.reshape(size))  # Keras, too, takes its rows for its columns


def sobel_edges(x, *, channels_last):
    x = x.movedim(-1, 1) if channels_last else x
    kernel = x.new_tensor([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    y = F.pad(x, (1, 1, 1, 1), mode="reflect")
    edges = torch.stack((each_plane_by(y, kernel), each_plane_by(y, kernel.T)), -1)
    return edges.movedim(1, -2) if channels_last else edges


def structural_similarity(x, y, *, size, sigma, floors):
    """keras/src/ops/image.py, _ssim."""
    curve = bell(size, sigma, x)
    kernel = torch.outer(curve, curve)
    means = each_plane_by(x, kernel), each_plane_by(y, kernel)
    squares, both = [m.square() for m in means], means[0] * means[1]
    spread = each_plane_by(x * x, kernel) - squares[0] + (each_plane_by(y * y, kernel) - squares[1])
    together = each_plane_by(x * y, kernel) - both
    above = (2 * both + floors[0]) * (2 * together + floors[1])
    below = (squares[0] + squares[1] + floors[0]) * (spread + floors[1])
    return (above / below).mean((2, 3)).mean(1)


# ---- other places


def homography(start, end):
    """The eight numbers of the projection that takes the end points (N, 4, 2) to the start points."""
    start, end = (p.reshape(-1, 4, 2) for p in (start, end))
    one, nought = torch.ones_like(end[..., :1]), torch.zeros_like(end[..., :1])
    none = nought.expand(-1, -1, 3)
    rows = [
        torch.cat((end, one, none, -start[..., :1] * end), -1),
        torch.cat((none, end, one, -start[..., 1:] * end), -1),
    ]
    matrix = torch.stack(rows, 2).flatten(1, 2)
    return torch.linalg.solve(matrix, start.flatten(1).unsqueeze(-1)).squeeze(-1)


def bordered(at, n, border):
    """A place outside of 0 ... n-1 taken to one inside (tensorflow/core/kernels/image/image_ops.h, MapCoordinate)."""
    if border == "constant":
        return at
    if border == "reflect":
        low = torch.where(at < 0, 2 * n * (-at / (2 * n)).trunc() + at, at)
        low = torch.where(low < -n, low + 2 * n, -low - 1)
        high = at - 2 * n * (at / (2 * n)).trunc()
        high = torch.where(high >= n, 2 * n - high - 1, high)
        at = torch.where(at < 0, low, torch.where(at > n - 1, high, at))
    elif border == "wrap":
        low, high = at + n * ((-at / (n - 1)).trunc() + 1), at - n * (at / (n - 1)).trunc()
        at = torch.where(at < 0, low, torch.where(at > n - 1, high, at))
    return at.clamp(0, n - 1)


def pixels_at(x, rows, columns, fill):
    """x (N, C, height, width) at whole places (N, height, width); `fill` outside."""
    h, w = x.shape[-2:]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    place = (rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)).to(torch.int64)
    found = x.flatten(2).gather(2, place.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1))
    return torch.where(inside.unsqueeze(1), found.reshape(*x.shape[:2], *rows.shape[1:]), fill)


def project(x, transform, *, how, border, fill):
    h, w = x.shape[-2:]
    a = transform.to(torch.float32).expand(x.shape[0], 8)[:, :, None, None].unbind(1)
    row = torch.arange(h, device=x.device)[:, None]
    column = torch.arange(w, device=x.device)
    below = a[6] * column + a[7] * row + 1
    columns = bordered((a[0] * column + a[1] * row + a[2]) / below, w, border)
    rows = bordered((a[3] * column + a[4] * row + a[5]) / below, h, border)
    if how == "nearest":  # halves are rounded away from zero
        y = pixels_at(x, *((p.abs() + 0.5).floor() * p.sign() for p in (rows, columns)), fill)
    else:
        top, left = rows.floor(), columns.floor()
        right, down = (columns - left).unsqueeze(1), (rows - top).unsqueeze(1)
        upper = (1 - right) * pixels_at(x, top, left, fill) + right * pixels_at(x, top, left + 1, fill)
        lower = (1 - right) * pixels_at(x, top + 1, left, fill) + right * pixels_at(x, top + 1, left + 1, fill)
        y = (1 - down) * upper + down * lower
    return torch.where((below == 0).unsqueeze(1), fill, y).to(x.dtype)


def place_inside(at, n, border):
    """A whole place taken to one inside (keras/src/backend/tensorflow/image.py, map_coordinates)."""
    if border in ("mirror", "reflect"):
        at = at.abs() % (2 * n)
        return torch.where(at < n, at, 2 * n - at - (1 if border == "reflect" else 0))
    return at % n if border == "wrap" else at.clamp(0, n - 1)


def elements_between(x, at, *, order, border, fill):
    """x at places (axes, ...): the nearest element, or a mean of the neighbours weighted by their nearness."""
    corners = [([], 1, True)]
    for axis, n in enumerate(x.shape):
        low = at[axis].floor() if order else at[axis].round()
        near = [(low, 1 - (at[axis] - low)), (low + 1, at[axis] - low)] if order else [(low, 1)]
        corners = [
            ([*places, place_inside(p.to(torch.int64), n, border)], weight * w, known & (p >= 0) & (p < n))
            for places, weight, known in corners
            for p, w in near
        ]
    total = 0
    for places, weight, known in corners:
        found = x[tuple(places)].to(at.dtype)
        total = total + weight * (torch.where(known, found, fill) if border == "constant" else found)
    return (total if x.is_floating_point() else total.round()).to(x.dtype)


def scale_and_translate(x, scale, translation, *, dims, sizes, kernel, antialias):
    """keras/src/backend/tensorflow/image.py, _compute_weight_mat."""
    for i, (dim, n) in enumerate(zip(dims, sizes)):
        step, old = 1 / scale[i], x.shape[dim]
        sample = (torch.arange(n, device=x.device) + 0.5) * step - translation[i] * step - 0.5
        distance = (sample - torch.arange(old, device=x.device)[:, None]).abs() / (
            step.clamp_min(1) if antialias else 1
        )
        weights = sampling_kernel(distance, kernel)
        total = weights.sum(0, keepdim=True)
        weights = torch.where(total.abs() > 1000 * torch.finfo(torch.float32).eps, weights / total, 0)
        weights = torch.where((sample >= -0.5) & (sample <= old - 0.5), weights, 0)
        x = torch.tensordot(x, weights, ([dim], [0])).movedim(-1, dim)
    return x


def sampling_kernel(x, kernel):
    if kernel == "linear":
        return (1 - x).clamp_min(0)
    if kernel == "cubic":
        y = torch.where(x >= 1, ((-0.5 * x + 2.5) * x - 4) * x + 2, ((1.5 * x - 2.5) * x) * x + 1)
        return torch.where(x >= 2, 0, y)
    radius = {"lanczos3": 3, "lanczos5": 5}[kernel]
    y = radius * torch.sin(math.pi * x) * torch.sin(math.pi * x / radius)
    y = torch.where(x > 1e-3, y / (math.pi**2 * x.square()), 1)
    return torch.where(x > radius, 0, y)
