"""Conv1D and the 1-D layers around it: pooling, padding, cropping, upsampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.base import ActivationSpec, Layer, declares
from h5port.layers.builder import Builder, Tensor, Value
from h5port.layers.core import bias_name, move_axis
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer

DataFormat = Literal["channels_last", "channels_first"] | None
Padding = Literal["valid", "same", "causal", "full"]


def single(value: int | list[int], what: str) -> int:
    """An option of one number, which Keras also writes as a list of one."""
    numbers = [value] if isinstance(value, int) else value
    if len(numbers) != 1 or numbers[0] < 1:
        raise refusal("unsupported-option", f"{what} {value} of a 1-D layer")
    return numbers[0]


def length(n: int | None, size: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """The number of output steps."""
    if n is None:
        return None
    wide = (size - 1) * dilation + 1
    match padding:
        case "valid":
            return max(0, -(-(n - wide + 1) // stride))
        case "full":
            return -(-(n + wide - 1) // stride)
        case _:
            return -(-n // stride)


def _first(b: Builder, x: Value, data_format: DataFormat) -> Value:
    return x if data_format == "channels_first" else move_axis(b, x, 2, 1)


def _back(b: Builder, y: Value, data_format: DataFormat) -> Value:
    return y if data_format == "channels_first" else move_axis(b, y, 1, 2)


@declares("Conv1D")
class Conv1D(Layer, frozen=True, kw_only=True):
    filters: int
    kernel_size: int | list[int]
    strides: int | list[int] = 1
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: int | list[int] = 1
    groups: int = 1
    activation: ActivationSpec = "linear"
    use_bias: bool = True
    mask = "stops"
    examples = (
        {"filters": 5, "kernel_size": [3]},
        {"filters": 5, "kernel_size": [2], "padding": "same", "strides": [2]},
        {"filters": 5, "kernel_size": [3], "padding": "causal", "dilation_rate": [2]},
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        taps = single(self.kernel_size, "kernel_size")
        if writer.rule("conv1d_kernel") == "taps-in-out":
            yield Variable("kernel", (taps, None, self.filters))
        else:
            yield Variable("W", (None, None, None, None))
        if self.use_bias:
            yield Variable(bias_name(writer), (self.filters,))

    def _kernel(self, b: Builder, channels: int | None) -> Tensor:
        """(out, in, taps), as torch has it. Theano's convolution turns its kernels round."""
        taps = single(self.kernel_size, "kernel_size")
        if self.groups < 1 or (channels or self.groups) % self.groups:
            raise refusal("unsupported-option", f"{self.groups} groups of {channels} channels")
        per_group = None if channels is None else channels // self.groups
        if b.rule("conv1d_kernel") == "taps-in-out":
            kernel = b.stored("kernel", (taps, per_group, self.filters)).transpose(2, 1, 0)
        else:
            kernel = self._keras1_kernel(b, taps, per_group)
        return kernel.flip(2) if b.rule("kernels") == "flipped" else kernel

    def _keras1_kernel(self, b: Builder, taps: int, channels: int | None) -> Tensor:
        """The two layouts of Keras 0 and 1 are told by the shape, as Keras 2 does (engine/topology.py of 2.0.8,
        preprocess_weights_for_loading); where the shape fits both, by the version."""
        layouts: dict[str, tuple[int | None, ...]] = {
            "taps-1-in-out": (taps, 1, channels, self.filters),
            "out-in-taps-1": (self.filters, channels, taps, 1),
        }
        shape = b.stored("W").shape
        fitting = [n for n, wanted in layouts.items() if Variable("W", wanted).fits(shape)]
        usual: str = b.rule("conv1d_kernel")
        layout = usual if usual in fitting or not fitting else fitting[0]
        stored = b.stored("W", layouts[layout])
        if layout == "taps-1-in-out":
            return stored.transpose(3, 2, 0, 1).reshape(self.filters, shape[2], taps)
        return stored.reshape(self.filters, shape[1], taps)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        if x.rank > 3:
            return self._batched(b, x)
        first = _first(b, x, self.data_format)
        y = self._convolve(b, first)
        return activations.use(b, self.activation, _back(b, y, self.data_format))

    def _batched(self, b: Builder, x: Value) -> Value:
        """Further axes in front count as batch."""
        shape = x.known_shape
        flat = b.call("join_leading", x, shape=(None, *shape[-2:]), keep=2)
        y = self.lower(b, flat)
        return b.call("split_leading", y, x, shape=(*shape[:-2], *y.known_shape[1:]), keep=2)

    def _convolve(self, b: Builder, x: Value) -> Value:
        taps, stride = single(self.kernel_size, "kernel_size"), single(self.strides, "strides")
        dilation = single(self.dilation_rate, "dilation_rate")
        wide = (taps - 1) * dilation + 1
        kernel = self._kernel(b, x.dim(1))
        out = length(x.dim(2), taps, stride, self.padding, dilation)
        args: dict[str, Any] = {}
        cut = False
        given = x
        if self.padding == "causal":
            x = padded(b, x, wide - 1, 0)
        elif self.padding == "full":
            args["padding"] = wide - 1
        elif self.padding == "same" and b.rule("same_padding") == "half":
            args["padding"] = wide // 2
            cut = True
        elif self.padding == "same" and stride == 1 and wide % 2 == 1:
            args["padding"] = wide // 2
        elif self.padding == "same":
            x = b.call("pad_same", x, shape=(x.dim(0), x.dim(1), None), size=wide, stride=stride)
        conv = b.module(
            "Conv1d",
            in_channels=kernel.shape[1] * self.groups,
            out_channels=self.filters,
            kernel_size=taps,
            stride=stride,
            dilation=dilation,
            groups=self.groups,
            bias=self.use_bias,
            **args,
        )
        conv.tensor("weight", kernel)
        if self.use_bias:
            conv.tensor("bias", b.stored(bias_name(b.writer), (self.filters,)))
        y = conv(x, shape=(x.dim(0), self.filters, out))
        return b.call("cut_same", y, given, shape=y.shape, stride=stride) if cut else y


def padded(b: Builder, x: Value, before: int, after: int) -> Value:
    """Zeros before and after along the last axis."""
    n = x.dim(-1)
    shape = (*x.known_shape[:-1], None if n is None else n + before + after)
    return b.call("pad_last", x, shape=shape, before=before, after=after)


class Pooling1D(Layer, frozen=True, kw_only=True):
    pool_size: int | list[int] = 2
    strides: int | list[int] | None = None
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"
    mask = "stops"
    inert = frozenset({"input_dim", "input_length"})
    examples = ({}, {"pool_size": [3], "strides": [2], "padding": "same"})

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size = single(self.pool_size, "pool_size")
        stride = size if self.strides is None else single(self.strides, "strides")
        first = _first(b, x, self.data_format)
        shape: Shape = (first.dim(0), first.dim(1), length(first.dim(2), size, stride, self.padding))
        return _back(b, self._pool(b, first, shape, size, stride), self.data_format)

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
    examples = ({}, {"keepdims": True})

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
    examples = ({"padding": [1, 2]},)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        before, after = _pair(self.padding)
        return _back(b, padded(b, _first(b, x, self.data_format), before, after), self.data_format)


@declares("Cropping1D")
class Cropping1D(Layer, frozen=True, kw_only=True):
    cropping: int | list[int] = 1
    mask = "stops"
    examples = ({"cropping": [1, 2]},)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        before, after = _pair(self.cropping)
        n = x.dim(1)
        shape = (x.dim(0), None if n is None else max(0, n - before - after), x.dim(2))
        return b.call("crop_steps", x, shape=shape, before=before, after=after)


@declares("UpSampling1D")
class UpSampling1D(Layer, frozen=True, kw_only=True):
    size: int | list[int] = 2
    mask = "stops"
    examples = ({"size": 3},)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size, n = single(self.size, "size"), x.dim(1)
        return b.call("repeat_steps", x, shape=(x.dim(0), None if n is None else n * size, x.dim(2)), repeats=size)
