"""Layers that add, cut and repeat steps, pixels and voxels."""

from __future__ import annotations

from typing import Any

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front, numbers, padded


def _pair(value: int | list[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if len(value) not in (1, 2):
        raise refusal("unsupported-option", f"{value} in the place of a number before and one after")
    return value[0], value[-1]


@declares("ZeroPadding1D")
class ZeroPadding1D(Layer, frozen=True, kw_only=True):
    padding: int | list[int] = 1
    data_format: DataFormat = "channels_last"
    mask = "stops"
    examples = (example(padding=[1, 2]),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        before, after = _pair(self.padding)
        return channels_back(
            b, padded(b, channels_to_front(b, x, self.data_format), [(before, after)]), self.data_format
        )


@declares("Cropping1D")
class Cropping1D(Layer, frozen=True, kw_only=True):
    cropping: int | list[int] = 1
    mask = "stops"
    examples = (example(cropping=[1, 2]),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        before, after = _pair(self.cropping)
        n = x.dim(1)
        shape = (x.dim(0), None if n is None else max(0, n - before - after), x.dim(2))
        return b.call("crop_steps", x, shape=shape, before=before, after=after)


@declares("UpSampling1D")
class UpSampling1D(Layer, frozen=True, kw_only=True):
    size: int | list[int] = 2
    mask = "stops"
    examples = (example(size=3),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size, n = numbers(self.size, 1, "size")[0], x.dim(1)
        return b.call("repeat_steps", x, shape=(x.dim(0), None if n is None else n * size, x.dim(2)), repeats=size)
