"""Convolutions whose kernels are tensors, as Keras has them (..., in, out); patches and blocks of pixels."""

from __future__ import annotations

from torch.nn import functional as F


def convolve_by(x, kernel, *, stride, dilation, groups):
    """(N, C, ...) by a kernel (..., in, out)."""
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(stride) - 1]
    return convolve(x, kernel.movedim((-1, -2), (0, 1)), None, stride, 0, dilation, groups)


def join_channels(kernel):
    """(..., channels, multiplier) of a depthwise convolution -> (..., 1, channels * multiplier)."""
    return kernel.flatten(-2).unsqueeze(-2)


def convolve_back(x, kernel, *, stride, dilation, ends):
    """The transpose of a convolution by (..., out, in). ends: for each axis what is cut before the result, and how
    long it is beyond (n - 1) * stride."""
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(stride) - 1]
    y = convolve(x, kernel.movedim((-1, -2), (0, 1)), None, stride, 0, 0, 1, dilation)
    widths = []
    for (before, longer), taps, d in reversed(list(zip(ends, kernel.shape, dilation))):
        widths += [-before, before + longer - (taps - 1) * d - 1]
    return F.pad(y, widths)


def unfold(x, *, size, dilation, padding, stride):
    return F.unfold(x, size, dilation, padding, stride)


def fold(x, *, image, size, dilation, padding, stride):
    return F.fold(x, image, size, dilation, padding, stride)


def depth_to_space(x, *, block, channels_last):
    """The channels of a pixel become a block of pixels; the old channel is (row, column, new channel)."""
    x = x if channels_last else x.permute(0, 2, 3, 1)
    x = x.unflatten(-1, (block, block, -1)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
    return x if channels_last else x.permute(0, 3, 1, 2)


def space_to_depth(x, *, block, channels_last):
    """The inverse of `depth_to_space`."""
    x = x if channels_last else x.permute(0, 2, 3, 1)
    x = x.unflatten(2, (-1, block)).unflatten(1, (-1, block)).permute(0, 1, 3, 2, 4, 5).flatten(3)
    return x if channels_last else x.permute(0, 3, 1, 2)
