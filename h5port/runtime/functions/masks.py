"""Masks: what makes, joins and uses them."""

from __future__ import annotations

import torch


def not_equal_to(x, *, value):
    return x != value


def any_differs(x, *, value):
    return (x != value).any(-1)


def zero_masked(x, mask):
    return x * mask.unsqueeze(-1).to(x.dtype)


def kept_where(x, mask):
    return torch.where(mask.unsqueeze(-1), x, 0.0)


def logical_and(x, y):
    return x & y


def logical_or(x, y):
    return x | y


def ones_like(x, *, dtype):
    return torch.ones_like(x, dtype=dtype)


def zeros_like(x, *, dtype):
    return torch.zeros_like(x, dtype=dtype)


def any_over(x, *, dim, keepdim):
    return x.any(dim, keepdim=keepdim)


def steps_valid(x, *, dims):
    return torch.ones(x.shape[:dims], dtype=torch.bool, device=x.device)


def masked_multiply(inputs):
    """The product of (tensor, mask) pairs: a masked step counts as 1; where all are masked the product is 0."""
    product = 1
    for x, mask in inputs:
        product = product * (x if mask is None else torch.where(mask.unsqueeze(-1), x, 1))
    valid = False
    for _, mask in inputs:
        if mask is None:
            return product
        valid = valid | mask
    return torch.where(valid.unsqueeze(-1), product, 0)


def masked_extreme(inputs, choose):
    """`choose` over (tensor, mask) pairs in turn: a masked step gives way to the other side's."""
    y, y_mask = inputs[0]
    for x, mask in inputs[1:]:
        x = x if mask is None else torch.where(mask.unsqueeze(-1), x, y)
        y = choose(y if y_mask is None else torch.where(y_mask.unsqueeze(-1), y, x), x)
        y_mask = None if mask is None or y_mask is None else y_mask | mask
    return y


def masked_maximum(inputs):
    return masked_extreme(inputs, torch.maximum)


def masked_minimum(inputs):
    return masked_extreme(inputs, torch.minimum)


def masked_mean(x, mask, *, dim, keepdim):
    """The mean of the valid steps; nan where a row has none, as in Keras."""
    mask = mask.to(x.dtype).unsqueeze(1 if dim == 2 else 2)
    return (x * mask).sum(dim, keepdim=keepdim) / mask.sum(dim, keepdim=keepdim)


def masked_softmax_add(x, mask, *, dims):
    """Softmax after a large negative number was added to masked places."""
    x = x + (1 - mask.to(x.dtype)) * -1e9
    if len(dims) == 1:
        return torch.softmax(x, dims[0])
    return (x - torch.logsumexp(x, dims, keepdim=True)).exp()


def masked_softmax_fill(x, mask, *, dims):
    """Softmax with -1e9 in masked places: the same weight for all where all are masked."""
    x = torch.where(mask, x, -1e9)
    if len(dims) == 1:
        return torch.softmax(x, dims[0])
    return (x - torch.logsumexp(x, dims, keepdim=True)).exp()


def masked_softmax_where(x, mask, *, dims):
    """Softmax over the places that are not masked; zero where there are none."""
    x = torch.where(mask, x, torch.finfo(x.dtype).min)
    return torch.where(mask, (x - torch.logsumexp(x, dims, keepdim=True)).exp(), 0)
