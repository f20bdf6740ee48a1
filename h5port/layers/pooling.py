"""Pooling over one, two and three axes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.spatial import (
    DataFormat,
    channels_back,
    channels_to_front,
    lengths,
    numbers,
    one_or_all,
    same_paddings,
)
from h5port.module.program import Shape

PIXELS, VOXELS = (7, 6, 4), (7, 6, 5, 4)  # shapes that the examples are called on


class Pooling(Layer, frozen=True, kw_only=True):
    """Windows of `pool_size` at each multiple of `strides`. What padding "same" adds never counts (but see the rule
    `average_pooling_padding`)."""

    axes: ClassVar[int]
    kind: ClassVar[Literal["max", "average"]]

    pool_size: int | list[int] = 2
    strides: int | list[int] | None = None
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    mask = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size = numbers(self.pool_size, self.axes, "pool_size")
        stride = size if self.strides is None else numbers(self.strides, self.axes, "strides")
        first = channels_to_front(b, of_rank(b, b.cast(x, b.dtype), self.axes), self.data_format)
        shape = (*first.known_shape[:2], *lengths(first.known_shape[2:], size, stride, self.padding))
        return channels_back(b, self._pool(b, first, shape, size, stride), self.data_format)

    def _pool(self, b: Builder, x: Value, shape: Shape, size: list[int], stride: list[int]) -> Value:
        """torch's own module where its padding, alike on both sides, is Keras'."""
        if self.padding == "same" and b.rule("same_padding") == "half":
            flat = self.kind == "average" and self.axes < 3  # the backend's pool3d never counted it
            counted = flat and b.rule("average_pooling_padding") == "counted"
            function = f"{self.kind}_pool_same_half" + ("_counted" if counted else "")
            return b.call(function, x, shape=shape, size=size, stride=stride)
        args: dict[str, Any] = {"kernel_size": one_or_all(size), "stride": one_or_all(stride)}
        if self.padding == "same":
            pads = same_paddings(x.known_shape[2:], size, stride)
            sides = [pair[0] for pair in pads if pair is not None and pair[0] == pair[1]]
            if len(sides) < len(pads) or (any(sides) and not self._fits(x, size)):
                return b.call(f"{self.kind}_pool_same_end", x, shape=shape, size=size, stride=stride)
            if any(sides):
                args |= {"padding": one_or_all(sides)}
                args |= {"count_include_pad": False} if self.kind == "average" else {}
        name = {"max": "Max", "average": "Avg"}[self.kind]
        return b.module(f"{name}Pool{self.axes}d", **args)(x, shape=shape)

    def _fits(self, x: Value, size: list[int]) -> bool:
        """torch.nn.AvgPool3d alone refuses windows that only its padding makes room for."""
        volumes = self.kind == "average" and self.axes == 3
        return not volumes or all(n is not None and n >= k for n, k in zip(x.known_shape[2:], size, strict=True))


def of_rank(b: Builder, x: Value, axes: int) -> Value:
    """(N, ..., C) or (N, C, ...) with so many axes between; anything else is refused, as Keras does."""
    if x.rank != axes + 2:
        raise refusal("unsupported-graph", f"a {b.layer.class_name} layer on an input of {x.rank} axes, not {axes + 2}")
    return x


class Pooling1D(Pooling, frozen=True, kw_only=True):
    axes = 1
    inert = frozenset({"input_dim", "input_length"})
    examples = (
        example(),
        example(pool_size=[3], strides=[2], padding="same"),
        example(pool_size=2, strides=1, padding="same", data_format="channels_first"),
    )


class Pooling2D(Pooling, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=(PIXELS,)),
        example(on=(PIXELS,), pool_size=[3, 2], strides=[2, 1], padding="same"),
        example(on=(PIXELS,), pool_size=3, strides=1, padding="same", data_format="channels_first"),
        example(on=(PIXELS,), pool_size=[2, 3], strides=[2, 2], data_format="channels_first"),
    )


class Pooling3D(Pooling, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(on=(VOXELS,)),
        example(on=(VOXELS,), pool_size=[3, 2, 2], strides=[2, 1, 2], padding="same"),
        example(on=(VOXELS,), pool_size=3, strides=1, padding="same", data_format="channels_first"),
    )


@declares("MaxPooling1D")
class MaxPooling1D(Pooling1D, frozen=True, kw_only=True):
    kind = "max"


@declares("MaxPooling2D")
class MaxPooling2D(Pooling2D, frozen=True, kw_only=True):
    kind = "max"


@declares("MaxPooling3D")
class MaxPooling3D(Pooling3D, frozen=True, kw_only=True):
    kind = "max"


@declares("AveragePooling1D")
class AveragePooling1D(Pooling1D, frozen=True, kw_only=True):
    kind = "average"


@declares("AveragePooling2D")
class AveragePooling2D(Pooling2D, frozen=True, kw_only=True):
    kind = "average"


@declares("AveragePooling3D")
class AveragePooling3D(Pooling3D, frozen=True, kw_only=True):
    kind = "average"
