"""Layers that repeat steps, pixels and voxels, or put new pixels between them."""

from __future__ import annotations

from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.padding import place_of_channels
from h5port.layers.pooling import PIXELS, VOXELS, of_rank
from h5port.layers.resampling import Interpolation, upsampled
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front, numbers


class UpSampling(Layer, frozen=True, kw_only=True):
    """Each cell `size` times along each axis."""

    axes: ClassVar[int]

    size: int | list[int] = 2
    data_format: DataFormat = None
    mask = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        place = place_of_channels(b, self.data_format)
        first = 2 if place == "channels_first" else 1
        for axis, times in enumerate(numbers(self.size, self.axes, "size"), first):
            x = repeated(b, of_rank(b, x, self.axes), axis, times)
        return x


def repeated(b: Builder, x: Value, axis: int, times: int) -> Value:
    if times == 1:
        return x
    shape = tuple(n if a != axis else None if n is None else n * times for a, n in enumerate(x.known_shape))
    return b.call("repeat_cells", x, shape=shape, repeats=times, dim=axis)


@declares("UpSampling1D")
class UpSampling1D(UpSampling, frozen=True, kw_only=True):
    axes = 1
    data_format: None = None
    examples = (example(size=3),)


@declares("UpSampling2D")
class UpSampling2D(UpSampling, frozen=True, kw_only=True):
    axes = 2
    interpolation: Interpolation = "nearest"
    examples = (
        example(on=(PIXELS,), size=[2, 3]),
        example(on=(PIXELS,), data_format="channels_first"),
        *(
            example(on=(PIXELS,), size=[2, 3], interpolation=i, data_format=d)
            for i, d in (("bilinear", "channels_last"), ("bicubic", "channels_first"), ("lanczos3", None))
        ),
        example(on=(PIXELS,), size=2, interpolation="lanczos5"),
    )

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        if self.interpolation == "nearest":
            return super().lower(b, x, **kwargs)
        first = channels_to_front(b, of_rank(b, b.cast(b.floating(x), b.dtype), 2), self.data_format)
        times = numbers(self.size, 2, "size")
        grid = b.rule("upsampling_grid")
        if grid == "theano":
            raise refusal("unsupported-option", f"interpolation {self.interpolation!r} on Theano")
        return channels_back(b, upsampled(b, first, times, self.interpolation, grid), self.data_format)


@declares("UpSampling3D")
class UpSampling3D(UpSampling, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(on=(VOXELS,), size=[2, 1, 3]),
        example(on=(VOXELS,), data_format="channels_first"),
    )
