"""Layers that add and cut steps, pixels and voxels."""

from __future__ import annotations

from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.pooling import PIXELS, VOXELS, of_rank
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front, padded

Sides = int | list[int | list[int]]  # one number for all, one an axis, or one before and one after each axis


class ZeroPadding(Layer, frozen=True, kw_only=True):
    """Zeros before and after along each axis. Keras 1 knows one number an axis, or all sides in a row, or by name."""

    axes: ClassVar[int]
    names_of_sides: ClassVar[tuple[str, ...]] = ()

    padding: Sides | dict[str, int] = 1
    data_format: DataFormat = None
    mask = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        place = place_of_channels(b, self.data_format)
        pads = sides_of(self._in_pairs(), self.axes, "padding")
        return channels_back(b, padded(b, channels_to_front(b, of_rank(b, x, self.axes), place), pads), place)

    def _in_pairs(self) -> Sides:
        """The forms of Keras 1 (keras/layers/convolutional.py of 1.2.2) in today's."""
        if isinstance(self.padding, dict):
            if not self.padding.keys() <= set(self.names_of_sides):
                raise refusal(
                    "unsupported-option", f"padding of {type(self).__name__} names the sides {sorted(self.padding)}"
                )
            flat: list[Any] = [self.padding.get(side, 0) for side in self.names_of_sides]
        elif isinstance(self.padding, list) and self.axes == 2 and len(self.padding) == 4:
            flat = self.padding
        else:
            return self.padding
        return [[before, after] for before, after in zip(flat[::2], flat[1::2], strict=True)]


def place_of_channels(b: Builder, data_format: DataFormat) -> DataFormat:
    """The place of channels; Keras 1 leaves it out of the configs of layers that pad, crop and repeat pixels."""
    if (
        data_format is not None
        and "data_format" not in b.layer.options
        and b.rule("data_format_in_config") == "left out"
    ):
        b.note(f"the file does not say where the channels are: {data_format}, the default of this Keras, was assumed")
    return data_format


def sides_of(value: Sides, axes: int, what: str) -> list[tuple[int, int]]:
    """(before, after) for each axis."""
    found: list[Any] = [value] * axes if isinstance(value, int) else list(value)
    if axes == 1 and len(found) == 2:
        found = [found]
    pairs = [[n, n] if isinstance(n, int) else n for n in found]
    if len(pairs) != axes or any(not _is_pair(pair) for pair in pairs):
        raise refusal("unsupported-option", f"{what} {value} of a {axes}-D layer")
    return [(before, after) for before, after in pairs]


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and all(isinstance(n, int) and n >= 0 for n in value)


class Cropping(Layer, frozen=True, kw_only=True):
    """Cuts what `cropping` says before and after along each axis."""

    axes: ClassVar[int]

    cropping: Sides = 1
    data_format: DataFormat = None
    mask = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        place = place_of_channels(b, self.data_format)
        first = 2 if place == "channels_first" else 1
        for axis, (before, after) in enumerate(sides_of(self.cropping, self.axes, "cropping"), first):
            x = cropped(b, of_rank(b, x, self.axes), axis, before, after)
        return x


def cropped(b: Builder, x: Value, axis: int, before: int, after: int) -> Value:
    """`x` without so many cells at the beginning and at the end of an axis."""
    if not before and not after:
        return x
    n = x.dim(axis)
    if n is not None and before + after >= n:
        raise refusal("unsupported-graph", f"{before} + {after} of {n} cells are cut: the result is empty")
    shape = tuple(n if a != axis else None if n is None else n - before - after for a, n in enumerate(x.known_shape))
    return b.call("crop", x, shape=shape, dim=axis, before=before, after=after)


@declares("ZeroPadding1D")
class ZeroPadding1D(ZeroPadding, frozen=True, kw_only=True):
    axes = 1
    names_of_sides = ("left_pad", "right_pad")
    examples = (example(padding=[1, 2]), example(padding=2, data_format="channels_first"))


@declares("ZeroPadding2D")
class ZeroPadding2D(ZeroPadding, frozen=True, kw_only=True):
    axes = 2
    names_of_sides = ("top_pad", "bottom_pad", "left_pad", "right_pad")
    examples = (
        example(on=(PIXELS,), padding=[[1, 2], [3, 0]]),
        example(on=(PIXELS,), padding=[1, 2], data_format="channels_first"),
    )


@declares("ZeroPadding3D")
class ZeroPadding3D(ZeroPadding, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(on=(VOXELS,), padding=[[1, 2], [3, 0], [0, 1]]),
        example(on=(VOXELS,), padding=[1, 2, 0], data_format="channels_first"),
        example(on=(VOXELS,), padding=1),
    )


@declares("Cropping1D")
class Cropping1D(Cropping, frozen=True, kw_only=True):
    axes = 1
    data_format: None = None
    examples = (example(cropping=[1, 2]), example(cropping=2))


@declares("Cropping2D")
class Cropping2D(Cropping, frozen=True, kw_only=True):
    axes = 2
    cropping: Sides = 0
    examples = (
        example(on=(PIXELS,), cropping=[[1, 2], [3, 0]]),
        example(on=(PIXELS,), cropping=[2, 1], data_format="channels_first"),
    )


@declares("Cropping3D")
class Cropping3D(Cropping, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(on=(VOXELS,), cropping=[[1, 2], [3, 0], [0, 1]]),
        example(on=(VOXELS,), cropping=1, data_format="channels_first"),
    )
