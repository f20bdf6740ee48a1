"""Products of vectors, matrices and tensors; diagonals and triangles."""

from __future__ import annotations

import torch


def matmul(x, y):
    return torch.matmul(x, y)


def outer(x, y):
    return x.reshape(-1, 1) * y.reshape(-1)


def kron(x, y):
    return torch.kron(x, y)


def cross(x, y):
    return torch.linalg.cross(x, y)


def einsum_of(tensors, *, equation):
    return torch.einsum(equation, *tensors)


def diagonal(x, *, offset, dim1, dim2):
    return x.diagonal(offset, dim1, dim2)


def on_diagonal(x, *, offset):
    return torch.diag_embed(x, offset)


def tril(x, *, k):
    return x.tril(k)


def triu(x, *, k):
    return x.triu(k)


def slogdet(x):
    return torch.linalg.slogdet(x)
