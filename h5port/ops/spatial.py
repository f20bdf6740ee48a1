"""Operations over steps, pixels and voxels: pooling, convolutions, patches, blocks of pixels.

keras/src/ops/nn.py and keras/src/backend/tensorflow/nn.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import Example, example
from h5port.layers.builder import Builder, Value
from h5port.layers.spatial import (
    DataFormat,
    channels_back,
    channels_to_front,
    lengths,
    numbers,
    padded_same,
    same_paddings,
    transposed_ends,
)
from h5port.module.program import Shape
from h5port.ops.operation import Operation, declare, floats, operation, tensors
from h5port.schema.graph import Constant

Windows = Literal["valid", "same"]
_FIRST: dict[str, Any] = {"data_format": "channels_first"}


def axes_between(b: Builder, x: Value, most: int = 3) -> int:
    """The number of axes between the batch and the channels."""
    if not 3 <= x.rank <= most + 2:
        raise refusal("bad-config", f"{b.layer.class_name} on a tensor of {x.rank} axes")
    return x.rank - 2


# ---- pooling


class Pool(Operation, frozen=True, kw_only=True):
    pool_size: int | list[int]
    strides: int | list[int] | None = None
    padding: Windows = "valid"
    data_format: DataFormat = None
    kind: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (
        example(on=((7, 4),), pool_size=2),
        example(on=((7, 6, 4),), pool_size=[3, 2], strides=2, padding="same"),
        example(on=((3, 7, 6),), pool_size=2, strides=[1, 3], **_FIRST),
        example(on=((5, 4, 6, 2),), pool_size=2, padding="same"),
    )

    def apply(self, b: Builder, inputs: Any) -> Value:
        (x,) = floats(b, inputs)
        axes = axes_between(b, x)
        size = numbers(self.pool_size, axes, "pool_size")
        stride = size if self.strides is None else numbers(self.strides, axes, "strides")
        x = channels_to_front(b, x, self.data_format)
        steps = lengths(x.known_shape[2:], size, stride, self.padding)
        if self.padding == "same":
            same_paddings(x.known_shape[2:], size, stride)  # refuses what the function would place elsewhere
        function = f"{self.kind}_pool_{'same_end' if self.padding == 'same' else 'valid'}"
        y = b.call(function, x, shape=(*x.known_shape[:2], *steps), size=size, stride=stride)
        return channels_back(b, y, self.data_format)


declare("MaxPool", Pool, kind="max")
declare("AveragePool", Pool, kind="average")


class AdaptivePool(Operation, frozen=True, kw_only=True):
    """So many windows as are wanted, which may overlap: torch cuts them as Keras does."""

    output_size: int | list[int]
    data_format: DataFormat = None
    kind: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (
        example(on=((7, 4),), output_size=[3], data_format="channels_last"),
        example(on=((3, 7, 6),), output_size=[3, 4], **_FIRST),
    )

    def apply(self, b: Builder, inputs: Any) -> Value:
        (x,) = floats(b, inputs)
        size = numbers(self.output_size, axes_between(b, x), "output_size")
        x = channels_to_front(b, x, self.data_format)
        y = b.call(f"adaptive_{self.kind}_pool", x, shape=(*x.known_shape[:2], *size), size=size)
        return channels_back(b, y, self.data_format)


declare("AdaptiveMaxPool", AdaptivePool, kind="max")
declare("AdaptiveAveragePool", AdaptivePool, kind="average")


# ---- convolutions whose kernels are tensors of the graph


class Convolving(Operation, frozen=True, kw_only=True):
    strides: int | list[int] = 1
    padding: Windows = "valid"
    data_format: DataFormat = None
    dilation_rate: int | list[int] = 1

    def convolved(self, b: Builder, x: Value, kernel: Value, groups: int) -> Value:
        """x (N, C, ...), kernel (..., in, out) as Keras has it."""
        axes = axes_between(b, x)
        if kernel.rank != axes + 2 or None in kernel.known_shape[:-2]:
            raise refusal("unsupported-graph", f"a kernel of the shape {list(kernel.known_shape)} over {axes} axes")
        taps = [n or 0 for n in kernel.known_shape[:-2]]
        stride, dilation = numbers(self.strides, axes, "strides"), numbers(self.dilation_rate, axes, "dilation_rate")
        steps = lengths(x.known_shape[2:], taps, stride, self.padding, dilation)
        if self.padding == "same":
            wide = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
            x = padded_same(b, x, wide, stride)
        args: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
        return b.call("convolve_by", x, kernel, shape=(x.dim(0), kernel.dim(-1), *steps), **args)

    def fronted(self, b: Builder, *given: Any) -> list[Value]:
        """All as tensors, the input with its channels in front."""
        x, *kernels = floats(b, *given)
        axes_between(b, x)
        return [channels_to_front(b, x, self.data_format), *kernels]


def _kernel(*shape: int) -> Constant:
    """A kernel that stands in the graph."""
    count = int(np.prod(shape))
    return Constant(np.sin(np.arange(1, count + 1)).round(3).reshape(shape).tolist(), "float32")


@operation("Conv")
class Conv(Convolving, frozen=True, kw_only=True):
    examples = (
        example(on=((7, 4),), args=["x0", _kernel(3, 4, 5)]),
        example(on=((7, 6, 4),), args=["x0", _kernel(3, 2, 4, 5)], padding="same", strides=2),
        example(on=((7, 6, 4),), args=["x0", _kernel(3, 2, 4, 5)], padding="same", dilation_rate=[1, 2]),
        example(on=((5, 4, 6, 2),), args=["x0", _kernel(2, 2, 2, 2, 3)], strides=[1, 2, 1]),
    )

    def apply(self, b: Builder, inputs: Any, kernel: Any) -> Value:
        x, kernel = self.fronted(b, inputs, kernel)
        channels, per_group = x.dim(1), kernel.dim(-2)
        if channels is None or not per_group or channels % per_group:
            raise refusal("unsupported-graph", f"a kernel for {per_group} channels on {channels}")
        return channels_back(b, self.convolved(b, x, kernel, channels // per_group), self.data_format)


def depthwise(b: Builder, op: Convolving, x: Value, kernel: Value) -> Value:
    """kernel (..., channels, multiplier): each channel is convolved by itself."""
    channels, times = x.dim(1), kernel.dim(-1)
    if channels is None or times is None or kernel.dim(-2) != channels:
        raise refusal("unsupported-graph", f"a kernel for {kernel.dim(-2)} channels on {channels}")
    shape: Shape = (*kernel.known_shape[:-2], 1, channels * times)
    kernel = b.call("join_channels", kernel, shape=shape)
    return op.convolved(b, x, kernel, channels)


@operation("DepthwiseConv")
class DepthwiseConv(Convolving, frozen=True, kw_only=True):
    examples = (
        example(on=((7, 4),), args=["x0", _kernel(3, 4, 2)], strides=2, padding="same"),
        example(on=((7, 6, 4),), args=["x0", _kernel(3, 2, 4, 1)], dilation_rate=2),
        example(on=((4, 7, 6),), args=["x0", _kernel(3, 3, 4, 2)], strides=2, **_FIRST),
    )

    def apply(self, b: Builder, inputs: Any, kernel: Any) -> Value:
        x, kernel = self.fronted(b, inputs, kernel)
        return channels_back(b, depthwise(b, self, x, kernel), self.data_format)


@operation("SeparableConv")
class SeparableConv(Convolving, frozen=True, kw_only=True):
    examples = (
        example(on=((7, 4),), args=["x0", _kernel(3, 4, 2), _kernel(1, 8, 3)], padding="same"),
        example(on=((7, 6, 4),), args=["x0", _kernel(3, 2, 4, 1), _kernel(1, 1, 4, 3)], strides=2),
    )

    def apply(self, b: Builder, inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any) -> Value:
        x, one, two = self.fronted(b, inputs, depthwise_kernel, pointwise_kernel)
        y = depthwise(b, self, x, one)
        args: dict[str, Any] = {"stride": [1] * (x.rank - 2), "dilation": [1] * (x.rank - 2), "groups": 1}
        y = b.call("convolve_by", y, two, shape=(y.dim(0), two.dim(-1), *y.known_shape[2:]), **args)
        return channels_back(b, y, self.data_format)


@operation("ConvTranspose")
class ConvTranspose(Convolving, frozen=True, kw_only=True):
    """kernel (..., out, in). keras/src/backend/common/backend_utils.py, compute_conv_transpose_output_shape.

    There are no examples: the class of Keras 3.15 changes two arguments for each other and fails when it is called.
    """

    output_padding: int | list[int] | None = None

    def apply(self, b: Builder, inputs: Any, kernel: Any) -> Value:
        x, kernel = self.fronted(b, inputs, kernel)
        axes = x.rank - 2
        taps = [n or 0 for n in kernel.known_shape[:-2]]
        stride, dilation = numbers(self.strides, axes, "strides"), numbers(self.dilation_rate, axes, "dilation_rate")
        if len(taps) != axes or 0 in taps:
            raise refusal("unsupported-graph", f"a kernel of the shape {list(kernel.known_shape)} over {axes} axes")
        extra = [None] * axes if self.output_padding is None else numbers(self.output_padding, axes, "padding", 0)
        rows = zip(taps, stride, dilation, extra, strict=True)
        ends = [transposed_ends(self.padding, (k - 1) * d + 1, s, more) for k, s, d, more in rows]
        sizes = [
            None if n is None else (n - 1) * s + longer
            for n, s, (_, longer) in zip(x.known_shape[2:], stride, ends, strict=True)
        ]
        args: dict[str, Any] = {"stride": stride, "dilation": dilation, "ends": [list(e) for e in ends]}
        y = b.call("convolve_back", x, kernel, shape=(x.dim(0), kernel.dim(-2), *sizes), **args)
        return channels_back(b, y, self.data_format)


# ---- patches and blocks


def _two(value: int | list[int], what: str, least: int = 1) -> list[int]:
    return numbers(value, 2, what, least)


@operation("Unfold")
class Unfold(Operation, frozen=True, kw_only=True):
    """(N, C, height, width) -> (N, C * taps, places)."""

    kernel_size: int | list[int]
    dilation: int | list[int] = 1
    padding: int | list[int] = 0
    stride: int | list[int] = 1
    examples = (
        example(on=((3, 7, 6),), kernel_size=2),
        example(on=((3, 7, 6),), kernel_size=[3, 2], padding=[1, 0], stride=2, dilation=[1, 2]),
    )

    def args(self) -> dict[str, Any]:
        return {
            "size": _two(self.kernel_size, "kernel_size"),
            "dilation": _two(self.dilation, "dilation"),
            "padding": _two(self.padding, "padding", 0),
            "stride": _two(self.stride, "stride"),
        }

    def places(self, sizes: Shape) -> int | None:
        """How many windows there are in an image of these sizes."""
        args, total = self.args(), 1
        for i, n in enumerate(sizes):
            if n is None:
                return None
            wide = (args["size"][i] - 1) * args["dilation"][i] + 1
            total *= (n + 2 * args["padding"][i] - wide) // args["stride"][i] + 1
        return total

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        if x.rank != 4:
            raise refusal("bad-config", f"unfold on a tensor of {x.rank} axes")
        args, channels = self.args(), x.dim(1)
        taps = args["size"][0] * args["size"][1]
        shape = (x.dim(0), None if channels is None else channels * taps, self.places(x.known_shape[2:]))
        return b.emit("unfold", x, shape=shape, dtype=x.dtype, args=args)


@operation("Fold")
class Fold(Unfold, frozen=True, kw_only=True):
    """The inverse way: what lies on one place is added."""

    output_size: int | list[int]
    examples = (
        example(on=((12, 30),), output_size=[7, 6], kernel_size=2),
        example(on=((12, 9),), output_size=[6, 5], kernel_size=2, stride=2, padding=[0, 1]),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        args, size = self.args(), _two(self.output_size, "output_size")
        taps = args["size"][0] * args["size"][1]
        if x.rank != 3 or self.places(tuple(size)) not in (x.dim(2), None) or (x.dim(1) or 0) % taps:
            raise refusal("shape-mismatch", f"fold of a tensor of the shape {list(x.known_shape)} into {size}")
        channels = x.dim(1)
        shape = (x.dim(0), None if channels is None else channels // taps, *size)
        return b.emit("fold", x, shape=shape, dtype=x.dtype, args={"image": size, **args})


class Blocks(Operation, frozen=True, kw_only=True):
    block_size: int
    data_format: Literal["channels_last", "channels_first"] = "channels_last"
    function: ClassVar[str]

    def moved(self, b: Builder, x: Any, *, deeper: bool) -> Value:
        (x,) = tensors(b, x)
        if x.rank != 4 or self.block_size < 1:
            raise refusal("bad-config", f"{b.layer.class_name} on a tensor of {x.rank} axes")
        n, (c, h, w) = self.block_size, channels_to_front(b, x, self.data_format).known_shape[1:]
        grown = [None if s is None else s // n if deeper else s * n for s in (h, w)]
        depth = None if c is None else c * n * n if deeper else c // (n * n)
        last = self.data_format == "channels_last"
        shape = (x.dim(0), *grown, depth) if last else (x.dim(0), depth, *grown)
        return b.call("space_to_depth" if deeper else "depth_to_space", x, shape=shape, block=n, channels_last=last)


@operation("DepthToSpace")
class DepthToSpace(Blocks, frozen=True, kw_only=True):
    examples = (example(on=((3, 2, 8),), block_size=2), example(on=((8, 3, 2),), block_size=2, **_FIRST))

    def apply(self, b: Builder, x: Any) -> Value:
        return self.moved(b, x, deeper=False)


@operation("SpaceToDepth")
class SpaceToDepth(Blocks, frozen=True, kw_only=True):
    examples = (example(on=((6, 4, 2),), block_size=2), example(on=((2, 6, 4),), block_size=2, **_FIRST))

    def apply(self, b: Builder, x: Any) -> Value:
        return self.moved(b, x, deeper=True)
