"""Pooling."""

from __future__ import annotations

from typing import Any

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.spatial import DataFormat, Padding, channels_back, channels_to_front, length, numbers
from h5port.module.program import Shape


class Pooling1D(Layer, frozen=True, kw_only=True):
    pool_size: int | list[int] = 2
    strides: int | list[int] | None = None
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"
    mask = "stops"
    inert = frozenset({"input_dim", "input_length"})
    examples = (example(), example(pool_size=[3], strides=[2], padding="same"))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size = numbers(self.pool_size, 1, "pool_size")[0]
        stride = size if self.strides is None else numbers(self.strides, 1, "strides")[0]
        first = channels_to_front(b, x, self.data_format)
        shape: Shape = (first.dim(0), first.dim(1), length(first.dim(2), size, stride, self.padding))
        return channels_back(b, self._pool(b, first, shape, size, stride), self.data_format)

    def _pool(self, b: Builder, x: Value, shape: Shape, size: int, stride: int) -> Value:
        raise NotImplementedError

    def _same(self, b: Builder) -> str:
        return "half" if b.rule("same_padding") == "half" else "end"


@declares("MaxPooling1D")
class MaxPooling1D(Pooling1D, frozen=True, kw_only=True):
    def _pool(self, b: Builder, x: Value, shape: Shape, size: int, stride: int) -> Value:
        if self.padding == "valid":
            return b.module("MaxPool1d", kernel_size=size, stride=stride)(x, shape=shape)
        return b.call(f"max_pool_same_{self._same(b)}", x, shape=shape, size=size, stride=stride)


@declares("AveragePooling1D")
class AveragePooling1D(Pooling1D, frozen=True, kw_only=True):
    def _pool(self, b: Builder, x: Value, shape: Shape, size: int, stride: int) -> Value:
        if self.padding == "valid":
            return b.module("AvgPool1d", kernel_size=size, stride=stride)(x, shape=shape)
        return b.call(f"average_pool_same_{self._same(b)}", x, shape=shape, size=size, stride=stride)


class GlobalPooling1D(Layer, frozen=True, kw_only=True):
    data_format: DataFormat = "channels_last"
    keepdims: bool = False
    inert = frozenset({"input_dim", "input_length"})
    examples = (example(), example(keepdims=True))

    def _shape(self, x: Value) -> tuple[int, Shape]:
        """(the axis of time, the shape of the output)."""
        axis = 2 if self.data_format == "channels_first" else 1
        kept = tuple(1 if i == axis else n for i, n in enumerate(x.known_shape))
        return axis, kept if self.keepdims else kept[:axis] + kept[axis + 1 :]


@declares("GlobalMaxPooling1D")
class GlobalMaxPooling1D(GlobalPooling1D, frozen=True, kw_only=True):
    mask = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        axis, shape = self._shape(x)
        return b.call("max_over", x, shape=shape, dim=axis, keepdim=self.keepdims)


@declares("GlobalAveragePooling1D")
class GlobalAveragePooling1D(GlobalPooling1D, frozen=True, kw_only=True):
    """With a mask, the mean of the valid steps; a row without any is nan, as in Keras."""

    mask = "own"
    takes_mask = True

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        axis, shape = self._shape(x)
        if x.mask is None:
            return b.call("mean_over", x, shape=shape, dim=axis, keepdim=self.keepdims)
        if b.rule("average_pooling_mask") == "refuse":
            raise refusal(
                "unsupported-graph",
                f"a mask reaches a GlobalAveragePooling1D layer: {b.writer} itself refuses this model",
            )
        return b.call("masked_mean", x, x.mask, shape=shape, dim=axis, keepdim=self.keepdims)
