"""Attention: scores, their masks, and what they weigh.

`scaled_dot_product_attention` stands only where it gives Keras' numbers in every row: without a mask, with the causal
one, and with the mask that the fused road of Keras 3.7 and later makes of a boolean one. There a row without any valid
key is the mean of all values.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def dot_scores(query, key):
    return query @ key.mT


def additive_scores(query, key):
    return torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3)).sum(-1)


def attend(query, key, value, *, scale):
    return F.scaled_dot_product_attention(query, key, value, scale=scale)


def attend_causal(query, key, value, *, scale):
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def attend_masked(query, key, value, mask, *, scale):
    """A mask of the lowest number: a row without any valid key is the mean of all values."""
    lowest = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=lowest, scale=scale)


def scaled_scores(query, key, *, scale):
    return query * scale @ key.mT


def weigh(weights, value):
    return weights @ value


def scores_left_out(scores, mask):
    """Keras takes a large number off, so that rows without any valid place keep their own scores, rounded."""
    return torch.where(mask, scores, scores - 1e9)


def causal_mask(query, value, *, dim):
    return torch.ones(1, query.shape[dim], value.shape[dim], dtype=torch.bool, device=query.device).tril()


def window_mask(query, value, *, window):
    """Keys nearer than `window` steps, on both sides."""
    rows = torch.arange(query.shape[1], device=query.device).unsqueeze(-1)
    columns = torch.arange(value.shape[1], device=query.device)
    return ((rows - columns).abs() < window).unsqueeze(0)


def heads_first(x, *, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def heads_last(x):
    return x.transpose(1, 2).flatten(2)


def heads_before(x, *, heads, axes):
    """(.., attention axes .., heads * D) -> (other axes .., heads, attention axes joined, D)."""
    x = x.unflatten(-1, (heads, -1))
    x = x.movedim(axes, tuple(range(-1 - len(axes), -1)))
    return x.flatten(-1 - len(axes), -2)


def heads_behind(x, like, *, axes):
    """The other way: (other axes .., heads, T, D) -> (.., attention axes .., heads * D), the axes sized as `like`'s."""
    x = x.unflatten(-2, [like.shape[a] for a in axes])
    x = x.movedim(tuple(range(-1 - len(axes), -1)), axes)
    return x.flatten(-2)


def scores_unjoined(scores, query, key, *, axes):
    """(.., T, S) -> (.., query's attention axes, key's attention axes)."""
    scores = scores.unflatten(-1, [key.shape[a] for a in axes])
    return scores.unflatten(-1 - len(axes), [query.shape[a] for a in axes])


def mask_joined(mask, *, axes):
    """The last 2 * axes axes of a mask become two."""
    return mask.flatten(-axes).flatten(-1 - axes, -2)


def scores_of_rows(table, x):
    """In reverse, an embedding gives a score to each row of its table."""
    return F.linear(x, table.weight)


def soft_capped(x, *, cap):
    return torch.tanh(x / cap) * cap


def repeat_heads(x, *, repeats):
    return x.repeat_interleave(repeats, -3)
