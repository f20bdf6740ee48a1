"""Convolutions of each channel by itself, alone or before one over all channels.

Sources: keras/layers/convolutional.py of Keras 1.2.2 and 2.2.4, layers/convolutional/base_depthwise_conv.py and
base_separable_conv.py of tf_keras 2.21 and Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from h5port.errors import refusal
from h5port.layers.base import declares, example
from h5port.layers.builder import Builder, Tensor, Value
from h5port.layers.convolution import Spatial, convolve, pads_half, to_front
from h5port.layers.core import bias_name, has_short_names
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


class ByChannel(Spatial, frozen=True, kw_only=True):
    """Output channels are ordered by input channel, then by multiplier. Theano's kernels are not turned round here."""

    depth_multiplier: int = 1
    groups: Literal[1] = 1

    def _stored_first(self, writer: Writer) -> bool:
        """Keras 1 stores kernels as `dim_ordering` has the images."""
        return has_short_names(writer) and self.data_format == "channels_first"

    def _depthwise_shape(self, writer: Writer, channels: int | None) -> Shape:
        taps = self._numbers("kernel_size")
        if self._stored_first(writer):
            return self.depth_multiplier, channels, *taps
        return *taps, channels, self.depth_multiplier

    def _depthwise(self, b: Builder, x: Value, variable: str, bias: Tensor | None, suffix: str = "") -> Value:
        """(N, C, ...) -> (N, C * multiplier, ...)."""
        stored, n = b.stored(variable, self._depthwise_shape(b.writer, x.dim(1))), self.axes
        axes = (1, 0, *range(2, n + 2)) if self._stored_first(b.writer) else (n, n + 1, *range(n))
        kernel = stored.transpose(*axes)
        channels, times, *taps = kernel.shape
        return convolve(
            b,
            x,
            kernel.reshape(channels * times, 1, *taps),
            bias=bias,
            strides=self._numbers("strides"),
            dilation=self._numbers("dilation_rate"),
            padding=self.padding,
            groups=channels,
            suffix=suffix,
        )


# ---- alone


class DepthwiseConvolution(ByChannel, frozen=True, kw_only=True):
    padding: Literal["valid", "same"] = "valid"

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable(writer.rule("depthwise_kernel"), self._depthwise_shape(writer, None))
        if self.use_bias:
            yield Variable("bias", (None,))

    def _convolve(self, b: Builder, x: Value) -> Value:
        bias = b.stored("bias") if self.use_bias else None
        return self._depthwise(b, x, b.rule("depthwise_kernel"), bias)


@declares("DepthwiseConv1D")
class DepthwiseConv1D(DepthwiseConvolution, frozen=True, kw_only=True):
    axes = 1
    examples = (
        example(kernel_size=[3], depth_multiplier=2, weights=((3, 4, 2), (8,))),
        example(kernel_size=2, strides=2, padding="same", use_bias=False, weights=((2, 4, 1),)),
    )


@declares("DepthwiseConv2D")
class DepthwiseConv2D(DepthwiseConvolution, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=((7, 6, 4),), kernel_size=[3, 2], depth_multiplier=2, weights=((3, 2, 4, 2), (8,))),
        example(on=((7, 6, 4),), kernel_size=3, strides=2, padding="same", use_bias=False, weights=((3, 3, 4, 1),)),
        example(on=((4, 7, 6),), kernel_size=[3, 2], data_format="channels_first", weights=((3, 2, 4, 1), (4,))),
        example(on=((7, 6, 4),), kernel_size=2, dilation_rate=2, activation="relu", weights=((2, 2, 4, 1), (4,))),
    )


# ---- before a convolution over all channels


class SeparableConvolution(ByChannel, frozen=True, kw_only=True):
    filters: int

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable("depthwise_kernel", self._depthwise_shape(writer, None))
        yield Variable("pointwise_kernel", self._pointwise_shape(writer, None))
        if self.use_bias:
            yield Variable(bias_name(writer), (self.filters,))

    def _pointwise_shape(self, writer: Writer, channels: int | None) -> Shape:
        ones = (1,) * self.axes
        return (self.filters, channels, *ones) if self._stored_first(writer) else (*ones, channels, self.filters)

    def _convolve(self, b: Builder, x: Value) -> Value:
        taps, ones = self._numbers("kernel_size"), [1] * self.axes
        even = any(n % 2 == 0 for n in taps)
        if self.padding == "same" and even and pads_half(b, taps, self._numbers("strides")):
            raise refusal("unsupported-option", 'an even kernel with padding "same": Theano does not cut its result')
        y = self._depthwise(b, x, "depthwise_kernel", None, "depthwise")
        stored = b.stored("pointwise_kernel", self._pointwise_shape(b.writer, y.dim(1)))
        return convolve(
            b,
            y,
            stored if self._stored_first(b.writer) else to_front(stored),
            bias=b.stored(bias_name(b.writer), (self.filters,)) if self.use_bias else None,
            strides=ones,
            dilation=ones,
            padding="valid",
            suffix="pointwise",
        )


@declares("SeparableConv1D")
class SeparableConv1D(SeparableConvolution, frozen=True, kw_only=True):
    axes = 1
    padding: Literal["valid", "same", "causal"] = "valid"
    examples = (
        example(filters=5, kernel_size=[3], depth_multiplier=2, weights=((3, 4, 2), (1, 8, 5), (5,))),
        example(filters=5, kernel_size=2, strides=2, padding="same", weights=((2, 4, 1), (1, 4, 5), (5,))),
    )


@declares("SeparableConv2D")
class SeparableConv2D(SeparableConvolution, frozen=True, kw_only=True):
    axes = 2
    padding: Literal["valid", "same"] = "valid"
    examples = (
        example(
            on=((7, 6, 4),),
            filters=5,
            kernel_size=[3, 2],
            depth_multiplier=2,
            weights=((3, 2, 4, 2), (1, 1, 8, 5), (5,)),
        ),
        example(
            on=((4, 7, 6),),
            filters=5,
            kernel_size=3,
            strides=2,
            padding="same",
            data_format="channels_first",
            use_bias=False,
            activation="relu",
            weights=((3, 3, 4, 1), (1, 1, 4, 5)),
        ),
        example(on=((7, 6, 4),), filters=5, kernel_size=2, dilation_rate=2, weights=((2, 2, 4, 1), (1, 1, 4, 5), (5,))),
    )
