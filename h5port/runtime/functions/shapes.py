"""Types and shapes."""

from __future__ import annotations

import torch


def cast(x, *, to):
    return x.to(to)


def of_another_size(x, *, dim, size):
    """x itself. Along an axis of this size, the Keras that wrote the model would add a bias that belongs elsewhere
    (tensorflow/numpy.py, `add`, of Keras 3.7 to 3.15)."""
    torch._check(
        x.shape[dim] != size, lambda: f"axis {dim} of size {size}: on TensorFlow, this Keras adds its bias along it"
    )
    return x


def flatten(x):
    return x.flatten(1)


def join_axes(x, *, start, end):
    return x.flatten(start, end)


def reshape(x, *, dims):
    return x.reshape(x.shape[0], *dims)


def unflatten(x, *, dim, sizes):
    return x.unflatten(dim, sizes)


def reshape_whole(x, *, dims):
    return x.reshape(dims)


def constant(like, *, value, dtype):
    return torch.tensor(value, dtype=dtype, device=like.device)


def permute(x, *, dims):
    return x.permute(dims)


def transpose(x, *, dim0, dim1):
    return x.transpose(dim0, dim1)


def movedim(x, *, source, to):
    return x.movedim(source, to)


def unsqueeze(x, *, dim):
    return x.unsqueeze(dim)


def squeeze(x, *, dim):
    return x.squeeze(dim)


def flip(x, *, dim):
    return x.flip(dim)


def repeat_vector(x, *, n):
    return x.unsqueeze(1).expand(-1, n, -1)


def repeat_cells(x, *, repeats, dim):
    return x.repeat_interleave(repeats, dim)


def crop(x, *, dim, before, after):
    return x.narrow(dim, before, x.shape[dim] - before - after)


def concatenate(tensors, *, dim):
    return torch.cat(tensors, dim)


def join_batch_and_time(x):
    return x.flatten(0, 1)


def split_batch_and_time(y, like):
    return y.reshape(like.shape[0], like.shape[1], *y.shape[1:])


def join_leading(x, *, keep):
    return x.flatten(0, x.dim() - keep - 1)


def split_leading(y, like, *, keep):
    return y.reshape(*like.shape[: like.dim() - keep], *y.shape[1:])


def join_features(x, *, keep):
    return x.flatten(-keep).flatten(0, -2)


def reshape_as(y, like):
    return y.reshape(like.shape)
