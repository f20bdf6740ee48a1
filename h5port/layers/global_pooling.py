"""Pooling to one cell, or to a given number of them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers.base import Layer, MaskRule, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.pooling import PIXELS, VOXELS, of_rank
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front, numbers, one_or_all


class GlobalPooling(Layer, frozen=True, kw_only=True):
    """The maximum or the mean over all axes but batch and channels."""

    axes: ClassVar[int]
    kind: ClassVar[Literal["max", "mean"]]

    data_format: DataFormat = "channels_last"
    keepdims: bool = False
    mask: ClassVar[MaskRule] = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        dims = self._dims(b, x)
        if self.kind == "mean":
            x = floating(b, x)
        return b.call(f"{self.kind}_over", x, shape=self._shape(x, dims), dim=one_or_all(dims), keepdim=self.keepdims)

    def _dims(self, b: Builder, x: Value) -> list[int]:
        first = 2 if self.data_format == "channels_first" else 1
        return [first + i for i in range(of_rank(b, x, self.axes).rank - 2)]

    def _shape(self, x: Value, dims: list[int]) -> tuple[int | None, ...]:
        kept = [1 if i in dims else n for i, n in enumerate(x.known_shape)]
        return tuple(n for i, n in enumerate(kept) if self.keepdims or i not in dims)


class GlobalPooling1D(GlobalPooling, frozen=True, kw_only=True):
    axes = 1
    inert = frozenset({"input_dim", "input_length"})
    examples = (example(), example(keepdims=True), example(data_format="channels_first"))


class GlobalPooling2D(GlobalPooling, frozen=True, kw_only=True):
    axes = 2
    examples = tuple(example(on=(PIXELS,), **o) for o in ({}, {"keepdims": True}, {"data_format": "channels_first"}))


class GlobalPooling3D(GlobalPooling, frozen=True, kw_only=True):
    axes = 3
    examples = tuple(example(on=(VOXELS,), **o) for o in ({}, {"keepdims": True}, {"data_format": "channels_first"}))


def floating(b: Builder, x: Value) -> Value:
    """Integers as floating point numbers, where this Keras takes their mean as such."""
    if "float" not in x.dtype and b.rule("mean_of_integers") == "refuse":
        raise refusal("unsupported-graph", f"{b.layer.class_name} of {x.dtype}, of which {b.writer} rounds the mean")
    return b.cast(x, b.dtype)


@declares("GlobalMaxPooling1D")
class GlobalMaxPooling1D(GlobalPooling1D, frozen=True, kw_only=True):
    kind = "max"


@declares("GlobalMaxPooling2D")
class GlobalMaxPooling2D(GlobalPooling2D, frozen=True, kw_only=True):
    kind = "max"


@declares("GlobalMaxPooling3D")
class GlobalMaxPooling3D(GlobalPooling3D, frozen=True, kw_only=True):
    kind = "max"


@declares("GlobalAveragePooling1D")
class GlobalAveragePooling1D(GlobalPooling1D, frozen=True, kw_only=True):
    """With a mask, the mean of the valid steps; a row without any is nan, as in Keras."""

    kind = "mean"
    mask = "own"
    takes_mask = True

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        if x.mask is None:
            return super().lower(b, x, **kwargs)
        if b.rule("average_pooling_mask") == "refuse":
            raise refusal(
                "unsupported-graph",
                f"a mask reaches a GlobalAveragePooling1D layer: {b.writer} itself refuses this model",
            )
        dims = self._dims(b, x)
        shape = self._shape(x, dims)
        return b.call("masked_mean", floating(b, x), x.mask, shape=shape, dim=dims[0], keepdim=self.keepdims)


@declares("GlobalAveragePooling2D")
class GlobalAveragePooling2D(GlobalPooling2D, frozen=True, kw_only=True):
    kind = "mean"


@declares("GlobalAveragePooling3D")
class GlobalAveragePooling3D(GlobalPooling3D, frozen=True, kw_only=True):
    kind = "mean"


@declares("TimeDistributedMerge")
class TimeDistributedMerge(Layer, frozen=True, kw_only=True):
    """Keras 0: the sum, the mean or the product of the steps."""

    last = "keras0"

    mode: Literal["sum", "ave", "mul"] = "sum"
    mask = "stops"
    examples = (example(), example(mode="ave"), example(mode="mul"))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        function = {"sum": "sum_over", "ave": "mean_over", "mul": "product_over"}[self.mode]
        n, _, features = of_rank(b, x, 1).known_shape
        return b.call(function, x, shape=(n, features), dim=1, keepdim=False)


class AdaptivePooling(Layer, frozen=True, kw_only=True):
    """`output_size` windows an axis: window i covers floor(i n / m) to ceil((i + 1) n / m), in Keras as in torch.

    keras/src/backend/common/backend_utils.py of Keras 3.15, compute_adaptive_pooling_window_sizes.
    """

    axes: ClassVar[int]
    module: ClassVar[str]

    output_size: int | list[int]
    data_format: DataFormat = "channels_last"
    mask = "stops"

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        first = channels_to_front(b, of_rank(b, b.cast(x, b.dtype), self.axes), self.data_format)
        size = numbers(self.output_size, self.axes, "output_size")
        pool = b.module(self.module, output_size=one_or_all(size))
        return channels_back(b, pool(first, shape=(*first.known_shape[:2], *size)), self.data_format)


class AdaptivePooling1D(AdaptivePooling, frozen=True, kw_only=True):
    axes = 1
    examples = (
        example(output_size=[3]),
        example(output_size=2, data_format="channels_first"),
    )


class AdaptivePooling2D(AdaptivePooling, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=(PIXELS,), output_size=[3, 4]),
        example(on=(PIXELS,), output_size=2, data_format="channels_first"),
    )


class AdaptivePooling3D(AdaptivePooling, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(on=(VOXELS,), output_size=[3, 4, 2]),
        example(on=(VOXELS,), output_size=2, data_format="channels_first"),
    )


@declares("AdaptiveAveragePooling1D")
class AdaptiveAveragePooling1D(AdaptivePooling1D, frozen=True, kw_only=True):
    module = "AdaptiveAvgPool1d"


@declares("AdaptiveAveragePooling2D")
class AdaptiveAveragePooling2D(AdaptivePooling2D, frozen=True, kw_only=True):
    module = "AdaptiveAvgPool2d"


@declares("AdaptiveAveragePooling3D")
class AdaptiveAveragePooling3D(AdaptivePooling3D, frozen=True, kw_only=True):
    module = "AdaptiveAvgPool3d"


@declares("AdaptiveMaxPooling1D")
class AdaptiveMaxPooling1D(AdaptivePooling1D, frozen=True, kw_only=True):
    module = "AdaptiveMaxPool1d"


@declares("AdaptiveMaxPooling2D")
class AdaptiveMaxPooling2D(AdaptivePooling2D, frozen=True, kw_only=True):
    module = "AdaptiveMaxPool2d"


@declares("AdaptiveMaxPooling3D")
class AdaptiveMaxPooling3D(AdaptivePooling3D, frozen=True, kw_only=True):
    module = "AdaptiveMaxPool3d"
