"""Transposed convolutions, which are the gradients of convolutions.

Sources: keras/layers/convolutional.py and backends of Keras 1.2.2 and 2.2.4, utils/conv_utils.py (deconv_output_length)
of tf_keras 2.21, src/backend/common/backend_utils.py of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from h5port.errors import refusal
from h5port.layers.base import declares, example
from h5port.layers.builder import Builder, Tensor, Value
from h5port.layers.convolution import Spatial, pads_half, to_front, turned_round
from h5port.layers.core import bias_name, has_short_names
from h5port.layers.spatial import numbers, one_or_all, transposed_ends
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


class End(NamedTuple):
    """What becomes of one axis: `front` is cut before the result, whose length is (n - 1) * stride + `longer`; `more`
    is what torch's symmetric cut leaves to be added at the end (-1: to be cut)."""

    front: int
    longer: int
    more: int


class Transposed(Spatial, frozen=True, kw_only=True):
    """`output_shape` is Keras 1's: the whole shape of the result, where later Kerases compute it."""

    filters: int
    padding: Literal["valid", "same", "full"] = "valid"
    output_padding: int | list[int] | None = None
    output_shape: list[int | None] | None = None
    groups: Literal[1] = 1

    def variables(self, writer: Writer) -> Iterator[Variable]:
        short = has_short_names(writer)
        yield Variable("W", self._keras1_shape(None)) if short else Variable("kernel", self._kernel_shape(None))
        if self.use_bias:
            yield Variable(bias_name(writer), (self.filters,))

    def _kernel_shape(self, channels: int | None) -> Shape:
        return *self._numbers("kernel_size"), self.filters, channels

    def _keras1_shape(self, channels: int | None) -> Shape:
        """As of a convolution: (out, in, ...) or (..., in, out)."""
        taps = self._numbers("kernel_size")
        first = self.data_format == "channels_first"
        return (self.filters, channels, *taps) if first else (*taps, channels, self.filters)

    def _kernel(self, b: Builder, channels: int | None) -> Tensor:
        """(in, out, ...), as torch has it."""
        if not has_short_names(b.writer):
            return turned_round(b, to_front(b.stored("kernel", self._kernel_shape(channels))))
        stored, n = b.stored("W", self._keras1_shape(channels)), self.axes
        first = self.data_format == "channels_first"
        return turned_round(b, stored.transpose(*((1, 0, *range(2, n + 2)) if first else (n, n + 1, *range(n)))))

    def _ends(self, b: Builder, x: Value) -> list[End]:
        taps, strides = self._numbers("kernel_size"), self._numbers("strides")
        rates = self._numbers("dilation_rate")
        widths = [(k - 1) * rate + 1 for k, rate in zip(taps, rates, strict=True)]
        half = self.padding == "same" and pads_half(b, widths, strides)
        if half and any(k % 2 == 0 for k in taps):
            raise refusal("unsupported-option", 'an even kernel with padding "same": Theano cuts its result short')
        if self.output_padding is None:
            extras: list[int | None] = [None] * self.axes
        else:
            extras = list(numbers(self.output_padding, self.axes, "output_padding", least=0))
        told = self._told_lengths(x, strides)
        ends = []
        for i, (width, stride, extra) in enumerate(zip(widths, strides, extras, strict=True)):
            front, longer = transposed_ends(self.padding, width, stride, extra, told[i] if told else None)
            front = width // 2 if half else front
            more = longer - width + 2 * front
            if not -1 <= more < max(stride, rates[i]):
                raise refusal(
                    "unsupported-option",
                    f"a result longer by {more} than the windows of a {b.layer.class_name} reach",
                )
            ends.append(End(front, longer, more))
        return ends

    def _told_lengths(self, x: Value, strides: list[int]) -> list[int] | None:
        """How much longer than (n - 1) * stride Keras 1 was told to make the result."""
        if self.output_shape is None:
            return None
        sizes = self.output_shape[2:] if self.data_format == "channels_first" else self.output_shape[1:-1]
        pairs = list(zip(sizes, x.known_shape[2:], strict=False))
        if len(pairs) != self.axes or any(a is None or n is None for a, n in pairs):
            raise refusal("unsupported-option", f"output_shape {self.output_shape} on an input of {x.known_shape}")
        return [(a or 0) - ((n or 0) - 1) * step for (a, n), step in zip(pairs, strides, strict=True)]

    def _convolve(self, b: Builder, x: Value) -> Value:
        kernel, ends = self._kernel(b, x.dim(1)), self._ends(b, x)
        strides = self._numbers("strides")
        added = [max(end.more, 0) for end in ends]
        args: dict[str, Any] = {"output_padding": one_or_all(added)} if any(added) else {}
        fronts = [end.front for end in ends]
        args |= {"padding": one_or_all(fronts)} if any(fronts) else {}
        module = b.module(
            f"ConvTranspose{self.axes}d",
            in_channels=kernel.shape[0],
            out_channels=self.filters,
            kernel_size=one_or_all(self._numbers("kernel_size")),
            stride=one_or_all(strides),
            dilation=one_or_all(self._numbers("dilation_rate")),
            bias=self.use_bias,
            **args,
        )
        module.tensor("weight", kernel)
        if self.use_bias:
            module.tensor("bias", b.stored(bias_name(b.writer), (self.filters,)))
        rows = list(zip(x.known_shape[2:], strides, ends, strict=True))
        cut = [max(-end.more, 0) for end in ends]
        sizes = [None if n is None else (n - 1) * step + end.longer for n, step, end in rows]
        whole = [None if n is None else n + less for n, less in zip(sizes, cut, strict=True)]
        y = module(x, shape=(x.dim(0), self.filters, *whole))
        for axis, less in enumerate(cut, 2):
            if less:
                shape = (*y.known_shape[:axis], sizes[axis - 2], *y.known_shape[axis + 1 :])
                y = b.call("crop", y, shape=shape, dim=axis, before=0, after=less)
        return y


@declares("Conv1DTranspose")
class Conv1DTranspose(Transposed, frozen=True, kw_only=True):
    axes = 1
    examples = (
        example(filters=5, kernel_size=[3]),
        example(filters=5, kernel_size=2, strides=3, padding="same"),
        example(filters=5, kernel_size=3, strides=[2], output_padding=0, padding="same"),
        example(on=((4, 7),), filters=5, kernel_size=3, dilation_rate=2, data_format="channels_first"),
    )


@declares("Conv2DTranspose")
class Conv2DTranspose(Transposed, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=((7, 6, 4),), filters=5, kernel_size=[3, 2], activation="relu"),
        example(on=((7, 6, 4),), filters=5, kernel_size=[3, 2], strides=2, padding="same", use_bias=False),
        example(on=((7, 6, 4),), filters=5, kernel_size=[4, 3], strides=[3, 2], output_padding=[1, 0]),
        example(on=((4, 7, 6),), filters=5, kernel_size=3, strides=2, padding="same", data_format="channels_first"),
        example(on=((7, 6, 4),), filters=5, kernel_size=1, strides=3),
        example(on=((7, 6, 4),), filters=5, kernel_size=[3, 2], padding="same", dilation_rate=2),
    )


@declares("Conv3DTranspose")
class Conv3DTranspose(Transposed, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(on=((5, 3, 6, 4),), filters=5, kernel_size=[3, 2, 1], strides=[1, 2, 3]),
        example(on=((5, 3, 6, 4),), filters=5, kernel_size=[3, 2, 1], strides=2, padding="same"),
    )
