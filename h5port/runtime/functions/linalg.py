"""Linear algebra on the last two axes."""

from __future__ import annotations

import torch


def determinant(x):
    return torch.linalg.det(x)


def log_determinant(x):
    """By the Cholesky factor of the lower triangle, as TensorFlow does; NaN where that is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(x)
    found = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.where(failed > 0, float("nan"), found)


def inverse(x):
    return torch.linalg.inv(x)


def cholesky(x, *, upper):
    return torch.linalg.cholesky(x, upper=upper)


def inverse_of_cholesky(x, *, upper):
    return torch.cholesky_inverse(x, upper=upper)


def qr(x, *, mode):
    return torch.linalg.qr(x, mode)


def singular_values(x):
    return torch.linalg.svdvals(x)


def matrix_rank(x, *, tol):
    """Singular values above `tol`, or above TensorFlow's own measure of zero, are counted."""
    values = torch.linalg.svdvals(x)
    if tol is None:
        tol = torch.finfo(x.dtype).eps * max(x.shape[-2:]) * values.amax(-1, keepdim=True)
    return (values > tol).sum(-1, dtype=torch.int32)


def pseudo_inverse(x, *, rcond):
    """Singular values below `rcond` times the greatest count as none; TensorFlow has a measure of its own."""
    if rcond is None:
        rcond = 10 * max(x.shape[-2:]) * torch.finfo(x.dtype).eps
    return torch.linalg.pinv(x, rtol=rcond)


def solve(a, b, *, vector):
    return torch.linalg.solve(a, b.unsqueeze(-1)).squeeze(-1) if vector else torch.linalg.solve(a, b)


def solve_triangular(a, b, *, upper, vector):
    x = torch.linalg.solve_triangular(a, b.unsqueeze(-1) if vector else b, upper=upper)
    return x.squeeze(-1) if vector else x


def least_squares(a, b, *, rcond):
    """By singular values: those below `rcond` times the greatest count as none (Keras 3.15, linalg.py, lstsq)."""
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    eps = torch.finfo(a.dtype).eps
    least = (eps * max(a.shape) if rcond is None else eps if rcond < 0 else rcond) * s[0]
    x = vh.mT @ (torch.where(s >= least, 1 / s, 0).unsqueeze(-1) * (u.mT @ b.reshape(b.shape[0], -1)))
    return x.reshape(-1, *b.shape[1:])


def vector_norm(x, *, order, dim, keepdim):
    return torch.linalg.vector_norm(x, order, dim, keepdim)


def matrix_norm(x, *, order, dim, keepdim):
    return torch.linalg.matrix_norm(x, order, dim, keepdim)
