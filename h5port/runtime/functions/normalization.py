"""Normalisations without weights."""

from __future__ import annotations


def unit_norm(x, *, dims, ceiling):
    """x / |x|; the factor has a ceiling, so that a row of zeros stays."""
    return x * x.square().sum(dims, keepdim=True).rsqrt().clamp_max(ceiling)
