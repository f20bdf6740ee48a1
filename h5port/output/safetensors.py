"""Writes model.safetensors: every tensor straight to its place, in blocks that several threads fill.

Layout (safetensors README): 8 bytes little-endian length of the header, the header as JSON padded with spaces to a
multiple of 8 bytes, the data. Offsets are in bytes from the start of the data.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from h5port.transform.parts import Parts, copy_into
from h5port.transform.recipe import Recipe

BLOCK = 4 << 20  # bytes that a thread fills and writes at once: they stay in its cache
RELEASE = 64 << 20  # bytes of tensors after which what was read for them is given back
FLUSH = 8  # blocks after which what is written is sent to the disk
THREADS = min(3, os.cpu_count() or 1)

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
    *,
    progress: Callable[[int], None] | None = None,
    release: Callable[[], None] = lambda: None,
    late: Callable[[], Mapping[str, str]] = dict,
) -> dict[str, int]:
    """Execute the recipes into a new file; gives how many elements of which tensors are infinite or NaN.

    The same recipes give the same bytes.

    read      gives a stored array by its path
    progress  called with the bytes of each tensor written
    release   called when nothing is in use any more that `read` gave
    late      metadata that are known when all data are written: other values, of the same length, for some keys
    """
    places, size = _places(recipes)
    head = _header(recipes, places, metadata)
    with path.open("wb") as f, ThreadPoolExecutor(THREADS) as pool, _Flusher(f) as flusher:
        _reserve(f, len(head) + size)
        held, nonfinite = 0, dict.fromkeys(places, 0)
        for name, (start, stop) in places.items():
            count = partial(nonfinite_in, dtype=recipes[name].dtype)
            blocks = list(_blocks(recipes[name].target(read), len(head) + start)) if stop > start else []
            for i in range(0, len(blocks), FLUSH):
                nonfinite[name] += _put_all(f, blocks[i : i + FLUSH], pool, count)
                flusher.start()
            held += stop - start
            if held >= RELEASE:
                release()
                held = 0
            if progress is not None:
                progress(stop - start)
        head = _header(recipes, places, {**metadata, **late()})
        f.seek(0)
        f.write(head)
    return {name: n for name, n in nonfinite.items() if n}


class _Flusher:
    """Has what is written so far carried to the disk while more is being written: the disk is what takes longest."""

    def __init__(self, f: BinaryIO) -> None:
        self._f, self._pool = f, ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def start(self) -> None:
        """Nothing, while the last time is not over."""
        if hasattr(os, "fdatasync") and (self._last is None or self._last.done()):
            self._last = self._pool.submit(os.fdatasync, self._f.fileno())

    def __enter__(self) -> _Flusher:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown()


def _header(recipes: Mapping[str, Recipe], places: Mapping[str, tuple[int, int]], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, (start, stop) in places.items():
        recipe = recipes[name]
        header[name] = {"dtype": DTYPES[recipe.dtype][0], "shape": list(recipe.shape()), "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _blocks(whole: Parts, at: int) -> Iterator[tuple[Parts, int]]:
    """A tensor in blocks of no more than BLOCK bytes that lie in one piece in the file, and where."""
    axis, row = len(whole.shape), whole.dtype.itemsize
    while axis and row * whole.shape[axis - 1] <= BLOCK:
        axis -= 1
        row *= whole.shape[axis]
    if not axis:
        yield whole, at
        return
    axis, many = axis - 1, BLOCK // row
    for place in np.ndindex(whole.shape[:axis]):
        block = whole
        for outer, index in enumerate(place):
            block = block.within(outer, index, index + 1)
        for start in range(0, whole.shape[axis], many):
            stop = min(start + many, whole.shape[axis])
            yield block.within(axis, start, stop), at
            at += (stop - start) * row


Count = Callable[["np.ndarray[Any, Any]"], int]


def _put_all(f: BinaryIO, blocks: list[tuple[Parts, int]], pool: ThreadPoolExecutor, count: Count) -> int:
    """The blocks to their places in the file; gives the sum of what `count` gives for each of them."""
    if len(blocks) == 1:  # no need to wait for another thread
        return _put(f, *blocks[0], count)
    return sum(pool.map(lambda block: _put(f, block[0], block[1], count), blocks))


def _put(f: BinaryIO, block: Parts, at: int, count: Count) -> int:
    """One block to its place in the file, little-endian."""
    dtype = block.dtype.newbyteorder("<")
    out = block.parts[0].array if len(block.parts) == 1 else None
    if out is None or out.dtype != dtype or not out.flags.c_contiguous:
        out = _buffer(math.prod(block.shape) * dtype.itemsize).view(dtype).reshape(block.shape)
        copy_into(out, block)
    found = count(out)
    _write_at(f, out, at)
    return found


def nonfinite_in(array: np.ndarray[Any, Any], dtype: str) -> int:
    """How many elements are infinite or NaN; bfloat16 are given as their bits."""
    if dtype == "bfloat16":
        return int(np.count_nonzero((array & 0x7F80) == 0x7F80))
    if array.dtype.kind != "f":
        return 0
    return int(array.size - np.count_nonzero(np.isfinite(array)))


_own = threading.local()


def _buffer(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """So many bytes, no more than BLOCK, which the thread uses again."""
    if not hasattr(_own, "buffer"):
        _own.buffer = np.empty(BLOCK, np.uint8)
    found: np.ndarray[Any, np.dtype[np.uint8]] = _own.buffer[:size]
    return found


_seeking = threading.Lock()


def _write_at(f: BinaryIO, array: np.ndarray[Any, Any], at: int) -> None:
    data = array.reshape(-1).view(np.uint8).data
    if hasattr(os, "pwrite"):
        while data:
            count = os.pwrite(f.fileno(), data, at)
            data, at = data[count:], at + count
        return
    with _seeking:
        f.seek(at)
        f.write(data)


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
