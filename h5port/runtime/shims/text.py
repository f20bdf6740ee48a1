"""Vocabularies: strings and integers to their indices, and back."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import nn

from h5port.runtime.functions.hashing import text_bucket
from h5port.runtime.functions.text import elements, standardized, with_ngrams


class StringLookup(nn.Module):
    """The index of each string: first that of masked ones, then those of strings that are not in the vocabulary.

    With `drop_masked`, masked ones have no index: they give -1.
    """

    def __init__(self, vocabulary, num_oov_indices=1, mask_token=None, drop_masked=False, salt=None):
        super().__init__()
        self.num_oov_indices, self.salt = num_oov_indices, salt
        self.first_oov = int(mask_token is not None and not drop_masked)
        start = self.first_oov + num_oov_indices
        self.table = {token: start + i for i, token in enumerate(vocabulary)}
        if mask_token is not None:
            self.table[mask_token] = -1 if drop_masked else 0
        self.register_buffer("place", torch.empty(0), persistent=False)  # knows the device

    def index(self, token):
        if token in self.table:
            return self.table[token]
        if self.num_oov_indices == 0:
            raise ValueError(f"{token!r} is not in the vocabulary, and there is no index for such strings")
        if self.num_oov_indices == 1:
            return self.first_oov
        return self.first_oov + text_bucket(token, self.num_oov_indices, self.salt)

    def forward(self, strings):
        tokens, shape = elements(strings)
        return self.tensor([self.index(t) for t in tokens]).reshape(shape)

    def tensor(self, indices):
        return torch.tensor(indices, dtype=torch.int64, device=self.place.device)


class TextVectorization(StringLookup):
    """Texts (N,) or (N, 1) to the indices of their tokens (N, longest or `length`), filled up with that of no token."""

    def __init__(self, vocabulary, standardize=None, split=None, ngrams=None, length=None, **kwargs):
        super().__init__(vocabulary, mask_token="", **kwargs)
        self.standardize, self.split, self.ngrams, self.length = standardize or "", split, ngrams, length

    def tokens(self, text):
        if self.split == "character":
            return list(text)
        return [t for t in re.split("[ \t\n\v\f\r]+", text) if t]

    def forward(self, texts):
        texts, shape = elements(texts)
        texts = [standardized(t, self.standardize) for t in texts]
        if self.split is None:
            width = shape[-1]
            rows = [texts[i : i + width] for i in range(0, len(texts), width)] if width else []
        else:
            rows = [self.tokens(t) for t in texts]
        if self.ngrams is not None:
            rows = [with_ngrams(row, self.ngrams) for row in rows]
        length = max(map(len, rows), default=0) if self.length is None else self.length
        empty = self.table[""]
        rows = [([self.index(t) for t in row] + [empty] * length)[:length] for row in rows]
        outer = shape if self.split and len(shape) == 1 else shape[:-1]
        return self.tensor(rows).reshape(*outer, length)


class StringOfIndex(nn.Module):
    """The string of each index, in an array of str objects; `start` is the index of the vocabulary's first."""

    def __init__(self, vocabulary, start, oov_token, mask_token=None):
        super().__init__()
        self.table, self.oov_token = dict(enumerate(vocabulary, start)), oov_token
        if mask_token is not None:
            self.table[0] = mask_token

    def forward(self, indices):
        values, shape = elements(indices)
        return np.array([self.table.get(i, self.oov_token) for i in values], dtype=object).reshape(shape)


class IntegerLookup(nn.Module):
    """The index of each integer: first that of masked ones, then those of integers that are not in the vocabulary.

    With `drop_masked`, masked ones have no index: they give -1. Where there are several indices for integers that
    are not in the vocabulary, the remainder tells, or the hash of their digits.
    """

    def __init__(self, vocabulary, num_oov_indices=1, mask_token=None, drop_masked=False, hashed=False, salt=None):
        super().__init__()
        self.num_oov_indices, self.hashed, self.salt = num_oov_indices, hashed, salt
        self.first_oov = int(mask_token is not None and not drop_masked)
        start = self.first_oov + num_oov_indices
        table = {token: start + i for i, token in enumerate(vocabulary)}
        if mask_token is not None:
            table[mask_token] = -1 if drop_masked else 0
        keys = sorted(table)
        self.register_buffer("keys", torch.tensor(keys), persistent=False)
        self.register_buffer("indices", torch.tensor([table[k] for k in keys]), persistent=False)

    def forward(self, x):
        at = torch.searchsorted(self.keys, x).clamp_max(len(self.keys) - 1)
        known = self.keys[at] == x
        return torch.where(known, self.indices[at], self.missing(x, known))

    def missing(self, x, known):
        if self.num_oov_indices == 0:
            if not known.all():
                raise ValueError(f"{x[~known].tolist()} are not in the vocabulary, and there is no index for them")
            return -1
        if self.num_oov_indices == 1:
            return self.first_oov
        if not self.hashed:
            return self.first_oov + x % self.num_oov_indices
        values, shape = elements(x)
        buckets = [text_bucket(str(v), self.num_oov_indices, self.salt) for v in values]
        return self.first_oov + torch.tensor(buckets, dtype=torch.int64, device=x.device).reshape(shape)


class IntegerOfIndex(nn.Module):
    """The integer of each index; `start` is the index of the vocabulary's first."""

    def __init__(self, vocabulary, start, oov_token, mask_token=None):
        super().__init__()
        self.start, self.oov_token, self.mask_token = start, oov_token, mask_token
        self.register_buffer("vocabulary", torch.tensor(vocabulary), persistent=False)

    def forward(self, indices):
        at = indices - self.start
        known = (at >= 0) & (at < len(self.vocabulary))
        y = torch.where(known, self.vocabulary[at.clamp(0, len(self.vocabulary) - 1)], self.oov_token)
        return y if self.mask_token is None else torch.where(indices == 0, self.mask_token, y)


class Weighted(nn.Module):
    """Each number times its weight."""

    def __init__(self, size, dtype=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, dtype=dtype))

    def forward(self, x):
        return x * self.weight
