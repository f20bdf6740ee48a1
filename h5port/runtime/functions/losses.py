"""Losses that stand in a graph."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def binary_loss_of_logits(target, logits):
    return logits.clamp_min(0) - logits * target + torch.log1p(torch.exp(-logits.abs()))


def binary_loss(target, y, *, epsilon):
    y = y.clamp(epsilon, 1 - epsilon)
    return -(target * y.log() + (1 - target) * (1 - y).log())


def class_loss_of_logits(target, logits, *, dim):
    return -(target * torch.log_softmax(logits, dim)).sum(dim)


def class_loss(target, y, *, dim, epsilon):
    y = (y / y.sum(dim, keepdim=True)).clamp(epsilon, 1 - epsilon)
    return -(target * y.log()).sum(dim)


def log_of_probability(y, *, epsilon):
    return y.clamp(epsilon, 1 - epsilon).log()


def id_loss_of_logits(target, logits):
    return F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").reshape(target.shape)
