"""Convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.base import ActivationSpec, Layer, declares, example
from h5port.layers.builder import Builder, Tensor, Value
from h5port.layers.core import bias_name
from h5port.layers.spatial import DataFormat, Padding, channels_back, channels_to_front, length, numbers
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


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
        example(filters=5, kernel_size=[3]),
        example(filters=5, kernel_size=[2], padding="same", strides=[2]),
        example(filters=5, kernel_size=[3], padding="causal", dilation_rate=[2]),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        taps = numbers(self.kernel_size, 1, "kernel_size")[0]
        if writer.rule("conv1d_kernel") == "taps-in-out":
            yield Variable("kernel", (taps, None, self.filters))
        else:
            yield Variable("W", (None, None, None, None))
        if self.use_bias:
            yield Variable(bias_name(writer), (self.filters,))

    def _kernel(self, b: Builder, channels: int | None) -> Tensor:
        """(out, in, taps), as torch has it. Theano's convolution turns its kernels round."""
        taps = numbers(self.kernel_size, 1, "kernel_size")[0]
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
        first = channels_to_front(b, x, self.data_format)
        y = self._convolve(b, first)
        return activations.use(b, self.activation, channels_back(b, y, self.data_format))

    def _batched(self, b: Builder, x: Value) -> Value:
        """Further axes in front count as batch."""
        shape = x.known_shape
        flat = b.call("join_leading", x, shape=(None, *shape[-2:]), keep=2)
        y = self.lower(b, flat)
        return b.call("split_leading", y, x, shape=(*shape[:-2], *y.known_shape[1:]), keep=2)

    def _convolve(self, b: Builder, x: Value) -> Value:
        taps, stride = numbers(self.kernel_size, 1, "kernel_size")[0], numbers(self.strides, 1, "strides")[0]
        dilation = numbers(self.dilation_rate, 1, "dilation_rate")[0]
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
