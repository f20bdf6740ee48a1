"""Normalisations by given numbers, attention and codes of classes, as functions of tensors."""

from __future__ import annotations

import torch


def one_hot_along(ids, *, depth, dim, dtype):
    """A new axis of classes at `dim`; an id that is none of them gives zeros."""
    return (ids.unsqueeze(-1) == torch.arange(depth, device=ids.device)).movedim(-1, dim).to(dtype)


def spread_over(x, *, dim, keepdim):
    return x.var(dim, correction=0, keepdim=keepdim)


def along(v, x, dims):
    """A tensor of the sizes of some axes of x, made to lie along them."""
    if v is None or v.dim() == x.dim():
        return v
    return v.reshape([n if i in dims else 1 for i, n in enumerate(x.shape)])


def batch_normalize(x, mean, variance, offset=None, scale=None, *, dim, epsilon):
    mean, variance, offset, scale = (along(v, x, [dim]) for v in (mean, variance, offset, scale))
    factor = torch.rsqrt(variance + epsilon) if scale is None else torch.rsqrt(variance + epsilon) * scale
    shift = -mean * factor if offset is None else offset - mean * factor
    return x * factor + shift


def layer_normalize(x, gamma=None, beta=None, *, dims, epsilon):
    gamma, beta = along(gamma, x, dims), along(beta, x, dims)
    factor = torch.rsqrt(x.var(dims, correction=0, keepdim=True) + epsilon)
    factor = factor if gamma is None else factor * gamma
    shift = -x.mean(dims, keepdim=True) * factor
    return x * factor + (shift if beta is None else shift + beta)


def variance_normalize(x, gamma=None, *, dims, epsilon):
    """What Keras calls rms_scaling: the mean stays in."""
    y = x * torch.rsqrt(x.var(dims, correction=0, keepdim=True) + epsilon)
    return y if gamma is None else y * along(gamma, x, dims)


def rms_normalize(x, scale=None, *, dims, epsilon):
    y = x * torch.rsqrt(x.square().mean(dims, keepdim=True) + epsilon)
    return y if scale is None else y * scale


def unit_length(x, *, dim, most):
    return x * torch.rsqrt(x.square().sum(dim, keepdim=True)).clamp_max(most)


def divide_at_least(x, y, *, least):
    return x / y.clamp_min(least)


def peak_to_noise(x, y, *, peak):
    return 20 * torch.log10(x.new_tensor(peak)) - 10 * torch.log10((x - y).square().mean())


def attend_by_heads(query, key, value, bias=None, mask=None, *, scale, causal, repeats):
    """(N, T, heads, size). A row whose keys are all masked attends to all alike, as in Keras on TensorFlow."""
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 2), value.repeat_interleave(repeats, 2)
    logits = torch.einsum("btnh,bsnh->bnts", query, key) * (key.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        logits = logits + bias
    if causal:
        before = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        mask = before if mask is None else mask & before
    if mask is not None:
        logits = torch.where(mask, logits, -0.7 * 3.38953e38)
    return torch.einsum("bnts,bsnh->btnh", torch.softmax(logits, -1), value)
