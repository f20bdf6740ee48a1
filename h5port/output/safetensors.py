"""Writes model.safetensors: the header first, then every tensor straight to its place in the mapped file.

Layout (safetensors README): 8 bytes little-endian length of the header, the header as JSON padded with spaces to a
multiple of 8 bytes, the data. Offsets are in bytes from the start of the data.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from h5port.transform.recipe import Recipe

# numpy's name (bfloat16 is carried as its bits) -> safetensors' name, type on disk
DTYPES = {
    "float64": ("F64", "<f8"),
    "float32": ("F32", "<f4"),
    "float16": ("F16", "<f2"),
    "bfloat16": ("BF16", "<u2"),
    "int64": ("I64", "<i8"),
    "int32": ("I32", "<i4"),
    "int16": ("I16", "<i2"),
    "int8": ("I8", "i1"),
    "uint64": ("U64", "<u8"),
    "uint32": ("U32", "<u4"),
    "uint16": ("U16", "<u2"),
    "uint8": ("U8", "u1"),
    "bool": ("BOOL", "?"),
}

Read = Callable[[str], "np.ndarray[Any, Any]"]


def write(
    path: Path,
    recipes: Mapping[str, Recipe],
    read: Read,
    metadata: Mapping[str, str],
    progress: Callable[[int], None] | None = None,
) -> int:
    """Execute the recipes into a new file; gives the size of the data in bytes.

    `read` gives a stored array by its path; `progress` is called with the bytes of each tensor written. The same
    recipes give the same bytes.
    """
    places, size = _places(recipes)
    header = {"__metadata__": dict(metadata)} if metadata else {}
    for name, (start, stop) in places.items():
        recipe = recipes[name]
        header[name] = {"dtype": DTYPES[recipe.dtype][0], "shape": list(recipe.shape()), "data_offsets": [start, stop]}  # type: ignore[dict-item]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        _reserve(f, 8 + len(text) + size)
    if size:
        data = np.memmap(path, np.uint8, "r+", offset=8 + len(text), shape=(size,))
        for name, (start, stop) in places.items():
            _fill(data[start:stop], recipes[name], read)
            if progress is not None:
                progress(stop - start)
        data.flush()
        del data
    return size


def width(dtype: str) -> int:
    """Bytes of one element."""
    return np.dtype(DTYPES[dtype][1]).itemsize


def _reserve(f: BinaryIO, size: int) -> None:
    """Give the file its size. A disk that is too full says so here: writing to a mapped file would end the process."""
    f.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(f.fileno(), 0, size)
    else:
        f.truncate(size)


def _places(recipes: Mapping[str, Recipe]) -> tuple[dict[str, tuple[int, int]], int]:
    """Where each tensor lies: the widest types first, so that all are aligned; then by name."""
    widths = {n: width(r.dtype) for n, r in recipes.items()}
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for name in sorted(recipes, key=lambda n: (-widths[n], n)):
        size = math.prod(recipes[name].shape()) * widths[name]
        places[name] = (at, at + size)
        at += size
    return places, at


def _fill(data: np.ndarray[Any, Any], recipe: Recipe, read: Read) -> None:
    if data.size:
        recipe.apply_into(read, data.view(DTYPES[recipe.dtype][1]).reshape(recipe.shape()))
