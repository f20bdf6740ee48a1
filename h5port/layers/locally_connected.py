"""Convolutions whose kernel is another at each place of the output.

Sources: keras/layers/local.py of Keras 1.2.2 and 2.2.4, layers/locally_connected/*.py and utils/conv_utils.py
(conv_connected_inputs, conv_kernel_idxs) of tf_keras 2.21.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.base import ActivationSpec, Layer, declares, example
from h5port.layers.builder import Builder, Module, Tensor, Value
from h5port.layers.core import bias_name, kernel_name
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front, lengths, numbers
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


class Windows(NamedTuple):
    """Where the windows lie: `sizes` of the input, `places` of the output, how far the first window `starts` before
    the input."""

    channels: int
    sizes: list[int]
    places: list[int]
    taps: list[int]
    strides: list[int]
    starts: list[int]

    def connections(self) -> int:
        """How many pairs of a place of the output and one of the input lie in a window."""
        count = 1
        for n, out, k, step, start in zip(*self[1:], strict=True):
            firsts = [place * step - start for place in range(out)]
            count *= sum(max(min(first + k, n) - max(first, 0), 0) for first in firsts)
        return count

    def padding(self) -> list[int]:
        """What makes the input as long as the windows reach, as F.pad wants it."""
        ends = [max((out - 1) * step + k - n - start, 0) for n, out, k, step, start in zip(*self[1:], strict=True)]
        return [n for pair in zip(reversed(self.starts), reversed(ends), strict=True) for n in pair]


class LocalConvolution(Layer, frozen=True, kw_only=True):
    axes: ClassVar[int]
    mask = "stops"
    last = "tf.keras"

    filters: int
    kernel_size: int | list[int]
    strides: int | list[int] = 1
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    activation: ActivationSpec = "linear"
    use_bias: bool = True
    implementation: Literal[1, 2, 3] = 1

    def variables(self, writer: Writer) -> Iterator[Variable]:
        rank = {1: 3, 2: 2 * self.axes + 2, 3: 1}[self.implementation]
        yield Variable(kernel_name(writer), (None,) * rank)
        if self.use_bias:
            yield Variable(bias_name(writer), (*(None,) * self.axes, self.filters))

    def _format(self, b: Builder) -> DataFormat:
        return self.data_format

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        if x.rank != self.axes + 2:
            raise refusal("unsupported-graph", f"a {b.layer.class_name} on an input of {x.rank} axes")
        if self.padding == "same" and self.implementation == 1:
            raise refusal("unsupported-option", 'padding "same" with implementation 1: Keras itself refuses it')
        front = channels_to_front(b, x, self._format(b))
        windows = self._windows(front)
        module = (self._windowed, self._masked, self._sparse)[self.implementation - 1](b, windows)
        if self.use_bias:
            module.tensor("bias", self._bias(b, windows))
        y = module(front, shape=(x.dim(0), self.filters, *windows.places))
        return activations.use(b, self.activation, channels_back(b, y, self._format(b)))

    def _windows(self, x: Value) -> Windows:
        channels, *sizes = (n for n in x.known_shape[1:] if n is not None)
        if len(sizes) != self.axes:
            raise refusal("unsupported-graph", "a locally connected layer on an input whose sizes are not known")
        taps = numbers(self.kernel_size, self.axes, "kernel_size")
        strides = numbers(self.strides, self.axes, "strides")
        places = [n for n in lengths(tuple(sizes), taps, strides, self.padding) if n is not None]
        starts = [k // 2 if self.padding == "same" else 0 for k in taps]
        return Windows(channels, sizes, places, taps, strides, starts)

    def _bias(self, b: Builder, windows: Windows) -> Tensor:
        """(out, *places). With channels first Keras only reshapes the stored (*places, out)."""
        stored = b.stored(bias_name(b.writer), (*windows.places, self.filters))
        if self._format(b) == "channels_first":
            return stored.reshape(self.filters, *windows.places)
        return stored.transpose(self.axes, *range(self.axes))

    # ---- the three ways to store a kernel

    def _windowed(self, b: Builder, windows: Windows) -> Module:
        """(places, features of a window, out)."""
        n, (places, taps, channels) = self.axes, (windows.places, windows.taps, windows.channels)
        count, features = math.prod(places), math.prod(taps) * channels
        stored = b.stored(kernel_name(b.writer), (count, features, self.filters))
        if self._format(b) == "channels_first":
            kernel = stored.reshape(*places, channels, *taps, self.filters)
            axes = (2 * n + 1, n, *range(n), *range(n + 1, 2 * n + 1))
        else:
            kernel = stored.reshape(*places, *taps, channels, self.filters)
            axes = (2 * n + 1, 2 * n, *range(2 * n))
        return self._module(b, windows, kernel.transpose(*axes))

    def _masked(self, b: Builder, windows: Windows) -> Module:
        """A kernel for all pairs of places, most of which are not used."""
        n, sizes, places = self.axes, windows.sizes, windows.places
        module = b.module(
            "MaskedConnected",
            why="torch.nn has no locally connected layers",
            in_channels=windows.channels,
            size=sizes,
            out_channels=self.filters,
            places=places,
            window=windows.taps,
            stride=windows.strides,
            start=windows.starts,
            bias=self.use_bias,
        )
        if self._format(b) == "channels_first":
            kernel = b.stored(kernel_name(b.writer), (windows.channels, *sizes, self.filters, *places))
        else:
            stored = b.stored(kernel_name(b.writer), (*sizes, windows.channels, *places, self.filters))
            kernel = stored.transpose(n, *range(n), 2 * n + 1, *range(n + 1, 2 * n + 1))
        module.tensor("weight", kernel)
        return module

    def _sparse(self, b: Builder, windows: Windows) -> Module:
        """The weights of the pairs that are connected, sorted by the output's place and then the input's."""
        n, (places, taps, channels) = self.axes, (windows.places, windows.taps, windows.channels)
        first = self._format(b) == "channels_first"
        stored = b.stored(kernel_name(b.writer), (windows.connections() * channels * self.filters,))
        if self.padding == "same":
            return self._module(
                b,
                windows,
                stored,
                "SparselyConnected",
                padding=windows.padding(),
                size=windows.sizes,
                start=windows.starts,
                channels_first=first,
            )
        if first:
            kernel = stored.reshape(self.filters, *places, channels, *taps)
            axes = (0, n + 1, *range(1, n + 1), *range(n + 2, 2 * n + 2))
        else:
            kernel = stored.reshape(*places, self.filters, *taps, channels)
            axes = (n, 2 * n + 1, *range(n), *range(n + 1, 2 * n + 1))
        return self._module(b, windows, kernel.transpose(*axes))

    def _module(
        self, b: Builder, windows: Windows, kernel: Tensor, type: str = "LocallyConnected", **args: Any
    ) -> Module:
        module = b.module(
            type,
            why="torch.nn has no locally connected layers",
            in_channels=windows.channels,
            out_channels=self.filters,
            places=windows.places,
            window=windows.taps,
            stride=windows.strides,
            bias=self.use_bias,
            **args,
        )
        module.tensor("weight", kernel)
        return module


@declares("LocallyConnected1D")
class LocallyConnected1D(LocalConvolution, frozen=True, kw_only=True):
    axes = 1
    examples = (
        example(filters=5, kernel_size=[3], strides=[2], weights=((3, 12, 5), (3, 5))),
        example(filters=5, kernel_size=[2], activation="relu", use_bias=False, weights=((6, 8, 5),)),
        example(filters=5, kernel_size=[2], padding="same", implementation=2, weights=((7, 4, 7, 5), (7, 5))),
        example(filters=5, kernel_size=[2], padding="same", strides=2, implementation=3, weights=((140,), (4, 5))),
    )

    def _format(self, b: Builder) -> DataFormat:
        """Stand-alone Keras looks at the steps of (N, steps, channels) whatever it is told."""
        return self.data_format if b.rule("local_1d_format") == "kept" else "channels_last"


@declares("LocallyConnected2D")
class LocallyConnected2D(LocalConvolution, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=((5, 6, 2),), filters=3, kernel_size=[3, 2], weights=((15, 12, 3), (3, 5, 3))),
        example(
            on=((2, 5, 6),),
            filters=3,
            kernel_size=[3, 2],
            strides=[1, 2],
            data_format="channels_first",
            weights=((9, 12, 3), (3, 3, 3)),
        ),
        example(
            on=((5, 6, 2),),
            filters=3,
            kernel_size=[3, 2],
            strides=2,
            implementation=2,
            weights=((5, 6, 2, 2, 3, 3), (2, 3, 3)),
        ),
        example(on=((5, 6, 2),), filters=3, kernel_size=[3, 2], implementation=3, weights=((540,), (3, 5, 3))),
        example(
            on=((2, 5, 6),),
            filters=3,
            kernel_size=[3, 2],
            padding="same",
            implementation=3,
            data_format="channels_first",
            weights=((858,), (5, 6, 3)),
        ),
    )
