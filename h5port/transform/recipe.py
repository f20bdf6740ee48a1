"""Recipes: every target tensor says where it came from.

A recipe takes parts of stored arrays through a list of steps to one target tensor. Without sources it is a
constant (`fill`), such as the second bias that torch has and Keras has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from h5port.transform.parts import Array, Parts, Shape, as_array, whole
from h5port.transform.steps import AnyStep


class Slice(msgspec.Struct, frozen=True):
    """The part start..stop of one axis, in elements."""

    axis: int
    start: int
    stop: int

    def index(self) -> tuple[slice, ...]:
        return (slice(None),) * self.axis + (slice(self.start, self.stop),)


class Source(msgspec.Struct, frozen=True):
    """A stored array, or a part of it. `squeeze` drops the sliced axis when the part is one element thick."""

    array: str
    shape: Shape
    part: Slice | None = None
    squeeze: bool = False

    def part_shape(self) -> Shape:
        if self.part is None:
            return self.shape
        axis, size = self.part.axis, self.part.stop - self.part.start
        inside = 0 <= axis < len(self.shape) and 0 <= self.part.start <= self.part.stop <= self.shape[axis]
        if not inside or (self.squeeze and size != 1):
            raise ValueError(f"no part {self.part.start}:{self.part.stop} along axis {axis} of {self.shape}")
        rest = self.shape[axis + 1 :]
        return self.shape[:axis] + rest if self.squeeze else (*self.shape[:axis], size, *rest)

    def take(self, a: Array) -> Array:
        if self.part is None:
            return a
        taken = a[self.part.index()]
        return taken.squeeze(self.part.axis) if self.squeeze else taken

    def put(self, a: Array, part: Array) -> None:
        """The inverse of `take`: write the part back into the whole array `a`."""
        if self.part is None:
            a[...] = part
        else:
            a[self.part.index()] = np.expand_dims(part, self.part.axis) if self.squeeze else part

    def words(self) -> str:
        if self.part is None:
            return f"{self.array} {list(self.shape)}"
        cut = [":"] * len(self.shape)
        cut[self.part.axis] = str(self.part.start) if self.squeeze else f"{self.part.start}:{self.part.stop}"
        return f"{self.array}[{', '.join(cut)}] of {list(self.shape)}"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How one target tensor is made. `dtype` is a numpy name or 'bfloat16'; where `lossless`, no bit is changed."""

    sources: tuple[Source, ...] = ()
    steps: tuple[AnyStep, ...] = ()
    dtype: str = "float32"
    fill: float | None = None
    fill_shape: Shape | None = None
    lossless: bool = True

    def shape(self) -> Shape:
        """The shape of the target, computed without data; ValueError if the steps do not fit the sources."""
        if self.fill_shape is not None:
            return self.fill_shape
        shapes = self._shapes()[-1]
        if len(shapes) != 1:
            raise ValueError(f"the steps give {len(shapes)} arrays, not one")
        return shapes[0]

    def _shapes(self) -> list[tuple[Shape, ...]]:
        """The shapes before each step, and after the last."""
        shapes = [tuple(s.part_shape() for s in self.sources)]
        for step in self.steps:
            shapes.append(step.shapes(shapes[-1]))
        return shapes

    def parts(self, read: Callable[[str], Array]) -> Parts:
        """The target in parts, which are views where that is possible. `read` gives a stored array by its name."""
        if self.fill_shape is not None:
            return whole(_filled(self.fill_shape, self.fill or 0.0, self.dtype))
        arrays = tuple(whole(s.take(read(s.array))) for s in self.sources)
        for step in self.steps:
            arrays = step.move(arrays)
        (result,) = arrays
        return result

    def apply(self, read: Callable[[str], Array]) -> Array:
        """The target as one array."""
        return as_array(self.parts(read))

    def target(self, read: Callable[[str], Array]) -> Parts:
        """The parts; ValueError if they are not of the recipe's type and shape, or if something lossless would be
        converted on the way."""
        wanted = memory_dtype(self.dtype)

        def checked(name: str) -> Array:
            a = read(name)
            if self.lossless and a.dtype.newbyteorder("=") != wanted:
                raise ValueError(f"a source of type {a.dtype} for a target of type {self.dtype}")
            return a

        result = self.parts(checked)
        if result.dtype.newbyteorder("=") != wanted or result.shape != self.shape():
            raise ValueError(f"{result.dtype} {result.shape} is no {self.dtype} {self.shape()}")
        return result

    def invert(self, target: Array, into: Mapping[str, Array]) -> None:
        """Write the parts of the stored arrays that this target was made of back into `into`."""
        if self.fill_shape is not None:
            return
        arrays: tuple[Array, ...] = (target,)
        for step, shapes in zip(reversed(self.steps), reversed(self._shapes()[:-1]), strict=True):
            arrays = step.invert(arrays, shapes)
        for source, part in zip(self.sources, arrays, strict=True):
            source.put(into[source.array], part)

    def words(self) -> list[str]:
        """The recipe as lines that a person can follow."""
        if self.fill_shape is not None:
            return [f"{list(self.fill_shape)} filled with {self.fill:g}: Keras has no such array"]
        return ["from " + s.words() for s in self.sources] + ["then " + s.words() for s in self.steps]


def memory_dtype(name: str) -> np.dtype[Any]:
    """The numpy type that carries a dtype in memory: bfloat16 travels as its bits."""
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def _filled(shape: Shape, value: float, dtype: str) -> Array:
    if dtype != "bfloat16":
        return np.full(shape, value, dtype)
    bits = int(np.float32(value).view(np.uint32)) >> 16
    return np.full(shape, bits, np.uint16)


def full(shape: Shape, value: float, dtype: str = "float32") -> Recipe:
    """A constant target."""
    return Recipe(fill=value, fill_shape=shape, dtype=dtype)


def read_from(arrays: Mapping[str, Any]) -> Callable[[str], Array]:
    """A reader over arrays that are in memory."""
    return lambda name: np.asarray(arrays[name])
