"""Files that are read where they lie: their pages come when they are looked at, and can be given back."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Mapped:
    """`size` bytes of a file from `start` on, read-only. Mapped when they are asked for first."""

    def __init__(self, path: Path, start: int = 0, size: int | None = None) -> None:
        self._path, self._start, self._size = path, start, size
        self._map: mmap.mmap | None = None

    def bytes(self) -> Bytes:
        if self._map is None:
            with self._path.open("rb") as f:
                self._map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        whole = np.frombuffer(self._map, np.uint8)
        return whole[self._start : None if self._size is None else self._start + self._size]

    def close(self) -> None:
        """Let go of the file; arrays of it that are in use keep their bytes."""
        self._map = None

    def release(self) -> None:
        """Give the pages back that were read; what is read again comes again."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
