"""Convolutions over steps, pixels and voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.base import ActivationSpec, Layer, declares, example
from h5port.layers.builder import Builder, Tensor, Value
from h5port.layers.core import bias_name, has_short_names
from h5port.layers.spatial import (
    DataFormat,
    Padding,
    channels_back,
    channels_to_front,
    lengths,
    numbers,
    one_or_all,
    padded,
    padded_same,
    with_vector,
)
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer

SizeOption = int | list[int]


class Spatial(Layer, frozen=True, kw_only=True):
    """What all convolutions have: windows over the last `axes` axes of (N, C, ...), and how they move."""

    axes: ClassVar[int]
    mask = "stops"

    kernel_size: SizeOption
    strides: SizeOption = 1
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: SizeOption = 1
    activation: ActivationSpec = "linear"
    use_bias: bool = True

    def _numbers(self, option: str) -> list[int]:
        return numbers(getattr(self, option), self.axes, option)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        missing = self.axes + 2 - x.rank
        if missing > 0:
            raise refusal("unsupported-graph", f"a {b.layer.class_name} on an input of {x.rank} axes")
        if missing < 0:
            return self._batched(b, x)
        y = self._convolve(b, channels_to_front(b, x, self.data_format))
        if self.use_bias and self.data_format == "channels_first":
            y = with_vector(b, y, y.known_shape, (y.dim(1), *[1] * self.axes))
        return activations.use(b, self.activation, channels_back(b, y, self.data_format))

    def _batched(self, b: Builder, x: Value) -> Value:
        """Further axes in front count as batch."""
        shape, keep = x.known_shape, self.axes + 1
        flat = b.call("join_leading", x, shape=(None, *shape[-keep:]), keep=keep)
        y = self.lower(b, flat)
        return b.call("split_leading", y, x, shape=(*shape[:-keep], *y.known_shape[1:]), keep=keep)

    def _convolve(self, b: Builder, x: Value) -> Value:
        """(N, C, ...) -> (N, filters, ...)."""
        raise NotImplementedError


class Convolution(Spatial, frozen=True, kw_only=True):
    filters: int
    groups: int = 1

    def variables(self, writer: Writer) -> Iterator[Variable]:
        short = has_short_names(writer)
        yield Variable("W", self._keras1_shape(None)) if short else Variable("kernel", self._kernel_shape(None))
        if self.use_bias:
            yield Variable(bias_name(writer), (self.filters,))

    def _kernel_shape(self, channels: int | None) -> Shape:
        return *self._numbers("kernel_size"), channels, self.filters

    def _keras1_shape(self, channels: int | None) -> Shape:
        """Keras 0 and 1 store a kernel as `dim_ordering` has the images: (out, in, ...) or (..., in, out)."""
        taps = self._numbers("kernel_size")
        return (self.filters, channels, *taps) if self.data_format == "channels_first" else self._kernel_shape(channels)

    def _kernel(self, b: Builder, channels: int | None) -> Tensor:
        """(out, in, ...), as torch has it."""
        if self.groups < 1 or self.filters % self.groups or (channels or self.groups) % self.groups:
            raise refusal("unsupported-option", f"{self.groups} groups of {channels} channels to {self.filters}")
        per_group = None if channels is None else channels // self.groups
        if has_short_names(b.writer):
            kernel = self._keras1_kernel(b, per_group)
        else:
            kernel = to_front(b.stored("kernel", self._kernel_shape(per_group)))
        return turned_round(b, kernel)

    def _keras1_kernel(self, b: Builder, channels: int | None) -> Tensor:
        stored = b.stored("W", self._keras1_shape(channels))
        return stored if self.data_format == "channels_first" else to_front(stored)

    def _convolve(self, b: Builder, x: Value) -> Value:
        return convolve(
            b,
            x,
            self._kernel(b, x.dim(1)),
            bias=b.stored(bias_name(b.writer), (self.filters,)) if self.use_bias else None,
            strides=self._numbers("strides"),
            dilation=self._numbers("dilation_rate"),
            padding=self.padding,
            groups=self.groups,
        )


@declares("Conv1D")
class Conv1D(Convolution, frozen=True, kw_only=True):
    axes = 1
    examples = (
        example(filters=5, kernel_size=[3]),
        example(filters=5, kernel_size=[2], padding="same", strides=[2]),
        example(filters=5, kernel_size=[3], padding="causal", dilation_rate=[2]),
        example(on=((4, 8),), filters=6, kernel_size=2, groups=2, data_format="channels_first"),
    )

    def _keras1_shape(self, channels: int | None) -> Shape:
        return None, None, None, None

    def _keras1_kernel(self, b: Builder, channels: int | None) -> Tensor:
        """The two layouts of Keras 0 and 1 are told by the shape, as Keras 2 does (engine/topology.py of 2.0.8,
        preprocess_weights_for_loading); where the shape fits both, by the version."""
        taps = self._numbers("kernel_size")
        layouts: dict[str, Shape] = {
            "taps-1-in-out": (*taps, 1, channels, self.filters),
            "out-in-taps-1": (self.filters, channels, *taps, 1),
        }
        shape = b.stored("W").shape
        fitting = [n for n, wanted in layouts.items() if Variable("W", wanted).fits(shape)]
        usual: str = b.rule("conv1d_kernel")
        layout = usual if usual in fitting or not fitting else fitting[0]
        stored = b.stored("W", layouts[layout])
        if layout == "taps-1-in-out":
            return to_front(stored).reshape(self.filters, shape[2], *taps)
        return stored.reshape(self.filters, shape[1], *taps)


@declares("Conv2D")
class Conv2D(Convolution, frozen=True, kw_only=True):
    axes = 2
    padding: Literal["valid", "same", "full"] = "valid"
    examples = (
        example(on=((7, 6, 4),), filters=5, kernel_size=[3, 2], activation="relu"),
        example(on=((7, 6, 4),), filters=5, kernel_size=[3, 2], strides=[2, 3], padding="same", use_bias=False),
        example(on=((4, 7, 6),), filters=5, kernel_size=3, data_format="channels_first"),
        example(on=((7, 6, 4),), filters=6, kernel_size=[3, 2], groups=2, dilation_rate=2),
    )


@declares("Conv3D")
class Conv3D(Convolution, frozen=True, kw_only=True):
    axes = 3
    padding: Literal["valid", "same", "full"] = "valid"
    examples = (
        example(on=((5, 7, 6, 4),), filters=5, kernel_size=[3, 2, 1]),
        example(on=((5, 7, 6, 4),), filters=5, kernel_size=[3, 2, 1], strides=[1, 3, 2], padding="same"),
    )


# ---- what the kinds of convolution share


def to_front(kernel: Tensor) -> Tensor:
    """(..., in, out) -> (out, in, ...)."""
    rank = len(kernel.shape)
    return kernel.transpose(rank - 1, rank - 2, *range(rank - 2))


def turned_round(b: Builder, kernel: Tensor) -> Tensor:
    """A kernel (out, in, ...) as torch applies it: Theano's convolution turns its kernels round."""
    far = [axis for axis, n in enumerate(kernel.shape) if axis > 1 and n > 1]
    return kernel.flip(*far) if far and b.rule("kernels") == "flipped" else kernel


def convolve(
    b: Builder,
    x: Value,
    kernel: Tensor,
    *,
    bias: Tensor | None,
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    groups: int = 1,
    suffix: str = "",
) -> Value:
    """torch's convolution with Keras' padding. x (N, C, ...), kernel (out, C / groups, ...)."""
    out, per_group, *taps = kernel.shape
    widths = [(n - 1) * rate + 1 for n, rate in zip(taps, dilation, strict=True)]
    half = padding == "same" and pads_half(b, widths, strides)
    match padding:
        case "causal":
            wide = padded(b, x, [(n - 1, 0) for n in widths])
        case "full":
            wide = padded(b, x, [(n - 1, n - 1) for n in widths])
        case "same" if half:
            wide = padded(b, x, [(n // 2, n // 2) for n in widths])
        case "same":
            wide = padded_same(b, x, widths, strides)
        case _:
            wide = x
    module = b.module(
        f"Conv{len(taps)}d",
        suffix,
        in_channels=per_group * groups,
        out_channels=out,
        kernel_size=one_or_all(taps),
        stride=one_or_all(strides),
        dilation=one_or_all(dilation),
        groups=groups,
        bias=bias is not None,
    )
    module.tensor("weight", kernel)
    if bias is not None:
        module.tensor("bias", bias)
    sizes = lengths(x.known_shape[2:], taps, strides, padding, dilation)
    y = module(wide, shape=(x.dim(0), out, *sizes))
    if half and any(n % 2 == 0 for n in widths):
        return b.call("cut_same", y, x, shape=y.shape, strides=list(strides))
    return y


def pads_half(b: Builder, widths: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether padding "same" adds half a window on both sides, and that is another place than TensorFlow's."""
    differs = any(n > 1 and (n % 2 == 0 or step > 1) for n, step in zip(widths, strides, strict=True))
    return differs and b.rule("same_padding_3d" if len(widths) == 3 else "same_padding") == "half"
