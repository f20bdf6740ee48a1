"""Strings: nested lists of str or arrays of them go in; arrays of str objects come out."""

from __future__ import annotations

import re

import numpy as np
import torch

from h5port.runtime.functions.hashing import crossed, fingerprint64, low64, text_bucket


def elements(x):
    """The strings or integers of a tensor, an array or nested lists, one after the other, and their shape."""
    x = x.cpu() if isinstance(x, torch.Tensor) else np.asarray(x, dtype=object)
    return x.reshape(-1).tolist(), tuple(x.shape)


def hash_buckets(x, *, buckets, salt, mask_value):
    """The bucket of each string or integer; what equals the mask value is in bucket 0, which is then its own."""
    values, shape = elements(x)
    first = int(mask_value is not None and buckets > 1)
    found = [
        0 if first and value == mask_value else first + text_bucket(str(value), buckets - first, salt)
        for value in values
    ]
    return torch.tensor(found, dtype=torch.int64, device=getattr(x, "device", None)).reshape(shape)


def crossed_buckets(inputs, *, buckets):
    """The bucket of each combination of the features, as in tf.sparse.cross_hashed."""
    columns = [elements(x) for x in inputs]
    found = []
    for row in zip(*(values for values, _ in columns), strict=True):
        code = 0xDECAFCAFFE
        for value in row:
            code = crossed(code, fingerprint64(value.encode()) if isinstance(value, str) else low64(value))
        found.append(code % buckets)
    device = next((x.device for x in inputs if isinstance(x, torch.Tensor)), None)
    return torch.tensor(found, dtype=torch.int64, device=device).reshape(columns[0][1])


def standardized(text, how):
    """ASCII letters in lower case, ASCII punctuation left out: TensorFlow looks at bytes."""
    if "lower" in how:
        text = re.sub("[A-Z]+", lambda letters: letters[0].lower(), text)
    return re.sub(r"[!-/:-@\[-`{-~]", "", text) if "strip" in how else text


def with_ngrams(tokens, widths):
    """All runs of tokens of each width, joined by spaces."""
    return [" ".join(tokens[i : i + n]) for n in widths for i in range(len(tokens) - n + 1)]
