"""Arrays in parts that lie side by side: to cut, move and join them copies nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
PANEL = 16  # rows of a transposed array that are copied at once: the elements of 4 bytes in a line of the cache


class Part(NamedTuple):
    """A view, and where its first element lies in the whole, in elements along each axis."""

    start: tuple[int, ...]
    array: Array

    def moved(self, axis: int, by: int) -> Part:
        return Part((*self.start[:axis], self.start[axis] + by, *self.start[axis + 1 :]), self.array)

    def within(self, axis: int, start: int, stop: int) -> Part | None:
        """What of it lies in a range of an axis, counted from the beginning of the range."""
        low = max(start - self.start[axis], 0)
        high = min(stop - self.start[axis], self.array.shape[axis])
        if low >= high:
            return None
        cut = self.array[(slice(None),) * axis + (slice(low, high),)]
        return Part((*self.start[:axis], max(self.start[axis] - start, 0), *self.start[axis + 1 :]), cut)


class Parts(NamedTuple):
    """An array of this shape, each element of which is in one of the parts."""

    shape: Shape
    dtype: np.dtype[Any]
    parts: tuple[Part, ...]

    def within(self, axis: int, start: int, stop: int) -> Parts:
        """The range of an axis."""
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        found = (part.within(axis, start, stop) for part in self.parts)
        return self.with_parts(shape, (part for part in found if part is not None))

    def with_parts(self, shape: Shape, parts: Iterable[Part]) -> Parts:
        return Parts(shape, self.dtype, tuple(parts))


def whole(array: Array) -> Parts:
    return Parts(array.shape, array.dtype, (Part((0,) * array.ndim, array),))


def side_by_side(given: Sequence[Parts], axis: int) -> Parts:
    """Joined along an axis, one after the other."""
    at, parts = 0, []
    for one in given:
        parts += [part.moved(axis, at) for part in one.parts]
        at += one.shape[axis]
    first = given[0].shape
    return given[0].with_parts((*first[:axis], at, *first[axis + 1 :]), parts)


def cut(given: Parts, axis: int, sizes: Sequence[int]) -> Iterator[Parts]:
    """The inverse of `side_by_side`."""
    at = 0
    for size in sizes:
        yield given.within(axis, at, at + size)
        at += size


def as_array(given: Parts) -> Array:
    """A view where there is one part, otherwise a copy."""
    if len(given.parts) == 1:
        return given.parts[0].array
    out = np.empty(given.shape, given.dtype)
    copy_into(out, given)
    return out


def copy_into(out: Array, given: Parts) -> None:
    """Every element to its place; transposed parts by panels, so that each line of the cache is read once."""
    for start, array in given.parts:
        inside: Any = (..., *(slice(s, s + n) for s, n in zip(start, array.shape, strict=True)))
        place = out[inside]  # an array where it has no axes, too
        if not _lies_across(place, array):
            place[...] = array
            continue
        for i in range(0, array.shape[-1], PANEL):
            place[..., i : i + PANEL] = array[..., i : i + PANEL]


def _lies_across(out: Array, array: Array) -> bool:
    """Whether neighbours in `out` are far apart in `array`."""
    if array.ndim < 2 or array.size <= PANEL * PANEL:
        return False
    steps = [abs(s) for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
    return len(steps) > 1 and array.shape[-1] > 1 and steps[-1] != min(steps)
