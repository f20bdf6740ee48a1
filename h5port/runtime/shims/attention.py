"""How well each query fits each key, with weights of its own."""

from __future__ import annotations

import torch
from torch import nn


class DotScores(nn.Module):
    """scale * query . key, with one scale. (.., T, D), (.., S, D) -> (.., T, S)."""

    def __init__(self, dtype=None):
        super().__init__()
        self.scale = nn.Parameter(torch.empty((), dtype=dtype))

    def forward(self, query, key):
        return query @ key.mT * self.scale


class ConcatScores(nn.Module):
    """weight * sum(tanh(scale * (query + key))). (.., T, D), (.., S, D) -> (.., T, S)."""

    def __init__(self, scaled=False, dtype=None):
        super().__init__()
        self.scale = nn.Parameter(torch.empty((), dtype=dtype)) if scaled else 1.0
        self.weight = nn.Parameter(torch.empty((), dtype=dtype))

    def forward(self, query, key):
        return self.weight * torch.tanh(self.scale * (query.unsqueeze(-2) + key.unsqueeze(-3))).sum(-1)


class AdditiveScores(nn.Module):
    """sum(scale * tanh(query + key)), with a scale for each feature. (.., T, D), (.., S, D) -> (.., T, S)."""

    def __init__(self, features, dtype=None):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(features, dtype=dtype))

    def forward(self, query, key):
        return (self.scale * torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))).sum(-1)
