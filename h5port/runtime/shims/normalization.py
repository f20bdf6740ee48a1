"""Normalisations that torch.nn has not."""

from __future__ import annotations

import torch
from torch import nn


class StdNorm(nn.Module):
    """Batch normalisation of Keras 0.3 along axis 1: (x - mean) / (std + eps). The statistics are not updated."""

    def __init__(self, num_features, eps, dtype=None):
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias"):
            setattr(self, name, nn.Parameter(torch.empty(num_features, dtype=dtype)))
        self.register_buffer("running_mean", torch.empty(num_features, dtype=dtype))
        self.register_buffer("running_std", torch.empty(num_features, dtype=dtype))

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        mean, std, weight, bias = (
            v.reshape(shape) for v in (self.running_mean, self.running_std, self.weight, self.bias)
        )
        return (x - mean) / (std + self.eps) * weight + bias


class SampleNorm(nn.Module):
    """Batch normalisation of Keras 1 in mode 1: each sample over its last axis; eps outside the root, and inside."""

    def __init__(self, num_features, eps, inner_eps, dtype=None):
        super().__init__()
        self.eps, self.inner_eps = eps, inner_eps
        for name in ("weight", "bias"):
            setattr(self, name, nn.Parameter(torch.empty(num_features, dtype=dtype)))

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = (x.var(-1, unbiased=False, keepdim=True) + self.inner_eps).sqrt()
        return (x - mean) / (std + self.eps) * self.weight + self.bias


class BatchStatNorm(nn.Module):
    """Batch normalisation of Keras 1 in mode 2 along axis 1: always with the statistics of the batch at hand."""

    def __init__(self, num_features, eps, dtype=None):
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias"):
            setattr(self, name, nn.Parameter(torch.empty(num_features, dtype=dtype)))

    def forward(self, x):
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


class VarianceScale(nn.Module):
    """x / sqrt(variance + eps) * weight: the mean is not taken out."""

    def __init__(self, shape, dims, eps, dtype=None):
        super().__init__()
        self.dims, self.eps = dims, eps
        self.weight = nn.Parameter(torch.empty(shape, dtype=dtype))

    def forward(self, x):
        return x * (x.var(self.dims, unbiased=False, keepdim=True) + self.eps).rsqrt() * self.weight


class Standardize(nn.Module):
    """(x - mean) / max(sqrt(variance), epsilon) with statistics that are not updated; or the way back."""

    def __init__(self, shape, epsilon, invert=False, dtype=None):
        super().__init__()
        self.epsilon, self.invert = epsilon, invert
        self.register_buffer("running_mean", torch.empty(shape, dtype=dtype))
        self.register_buffer("running_var", torch.empty(shape, dtype=dtype))

    def forward(self, x):
        spread = self.running_var.sqrt().clamp_min(self.epsilon)
        return self.running_mean + x * spread if self.invert else (x - self.running_mean) / spread


class LooseGroupNorm(nn.GroupNorm):
    """nn.GroupNorm without its check that a group has more than one value."""

    def __init__(self, num_groups, num_channels, eps, dtype=None):
        super().__init__(num_groups, num_channels, eps, dtype=dtype)

    def forward(self, x):
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
