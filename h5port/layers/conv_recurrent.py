"""Convolutional LSTMs in the frame of all recurrent layers.

Sources: keras/layers/convolutional_recurrent.py of Keras 1.2.2 and 2.2.4, layers/rnn/conv_lstm.py of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.base import ActivationSpec, declares, example
from h5port.layers.builder import Builder, Module, Tensor, Value
from h5port.layers.cells import Kind, refuse_other_type
from h5port.layers.convolution import to_front, turned_round
from h5port.layers.recurrent import Framed, Part, frame_of, lower_recurrent, need_of_cell
from h5port.layers.spatial import DataFormat, lengths, numbers, same_paddings
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Need, Variable
from h5port.schema.writer import Writer

CONV_LSTM_KIND = Kind("", "KerasConvLSTM", "ifco", (0, 1, 2, 3), 2, "icfo")
Pads = list[tuple[int, int]]


class ConvLSTM(Framed, frozen=True, kw_only=True):
    """A layer of one cell: the input is convolved as the options say, the state with padding "same"."""

    axes: ClassVar[int]
    kind: ClassVar[Kind] = CONV_LSTM_KIND
    is_cudnn: ClassVar[bool] = False
    inert = frozenset({"unit_forget_bias", "implementation"})

    filters: int
    kernel_size: int | list[int]
    strides: int | list[int] = 1
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: int | list[int] = 1
    activation: ActivationSpec = "tanh"
    recurrent_activation: ActivationSpec = "sigmoid"
    use_bias: bool = True
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    time_major: Literal[False] = False  # set, some of its parts take no notice of it

    @property
    def input_axes(self) -> int:
        return self.axes + 3

    def _numbers(self, option: str) -> list[int]:
        return numbers(getattr(self, option), self.axes, option)

    @property
    def _channels_last(self) -> bool:
        return self.data_format != "channels_first"

    # ---- variables

    def variables(self, writer: Writer) -> Iterator[Variable]:
        taps, n = self._numbers("kernel_size"), self.filters
        if writer.rule("rnn_variables") == "joined":
            yield Variable("kernel", (*taps, None, 4 * n))
            yield Variable("recurrent_kernel", (*taps, n, 4 * n))
            if self.use_bias:
                yield Variable("bias", (4 * n,))
            return
        for gate in self.kind.listed:
            yield Variable(f"W_{gate}", self._keras1_shape(None))
            yield Variable(f"U_{gate}", self._keras1_shape(n))
            yield Variable(f"b_{gate}", (n,))

    def _keras1_shape(self, channels: int | None) -> Shape:
        """An array for each gate, laid out as `dim_ordering` has the images."""
        taps = self._numbers("kernel_size")
        return (*taps, channels, self.filters) if self._channels_last else (self.filters, channels, *taps)

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        return need_of_cell(config, "ConvLSTMCell", tuple(self.variables(writer)))

    def _tensors(self, b: Builder, channels: int | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(weight_ih, weight_hh, bias), the gates i f g o one after the other."""
        taps, n = self._numbers("kernel_size"), self.filters
        if b.rule("rnn_variables") == "joined":
            kernel = to_front(b.stored("kernel", (*taps, channels, 4 * n)))
            recurrent = to_front(b.stored("recurrent_kernel", (*taps, n, 4 * n)))
            bias = b.stored("bias", (4 * n,)) if self.use_bias else None
            return turned_round(b, kernel), turned_round(b, recurrent), bias
        kernel, recurrent = (
            b.join([self._keras1_kernel(b, f"{name}_{gate}", size) for gate in self.kind.gates], 0)
            for name, size in (("W", channels), ("U", n))
        )
        return kernel, recurrent, b.join([b.stored(f"b_{gate}", (n,)) for gate in self.kind.gates], 0)

    def _keras1_kernel(self, b: Builder, name: str, channels: int | None) -> Tensor:
        stored = b.stored(name, self._keras1_shape(channels))
        return turned_round(b, to_front(stored) if self._channels_last else stored)

    # ---- the cell of the frame

    def native(self, writer: Writer) -> tuple[None, str]:
        return None, "torch.nn has no convolutional LSTM"

    def fill(self, b: Builder, module: Module, features: int | None, suffix: str = "") -> None:
        """`make` gives the module its tensors."""

    def zeroes_masked(self, writer: Writer) -> bool:
        return bool(writer.rule("conv_lstm_zero_output"))

    def state_shape(self, x: Value) -> Shape:
        taps, strides, rates = (self._numbers(o) for o in ("kernel_size", "strides", "dilation_rate"))
        sizes = lengths(self._spatial(x), taps, strides, self.padding, rates)
        return (*sizes, self.filters) if self._channels_last else (self.filters, *sizes)

    def _spatial(self, x: Value) -> Shape:
        return x.known_shape[2:-1] if self._channels_last else x.known_shape[3:]

    def make(self, b: Builder, x: Value, suffix: str = "") -> tuple[Module, bool]:
        if self.dropout or self.recurrent_dropout:
            b.note("training differs: the dropout inside the recurrence is not reproduced")
        refuse_other_type(b, x)
        if b.rule("conv_lstm_strides") == "not stored":
            b.note("this Keras does not store the subsample of a ConvLSTM2D: 1 was assumed, as it does itself")
        taps, strides, rates = (self._numbers(o) for o in ("kernel_size", "strides", "dilation_rate"))
        widths = [(n - 1) * rate + 1 for n, rate in zip(taps, rates, strict=True)]
        ones = [1] * self.axes
        kernel, recurrent, bias = self._tensors(b, x.dim(-1 if self._channels_last else 2))
        pads = _same(b, self._spatial(x), widths, strides) if self.padding == "same" else [(0, 0)] * self.axes
        functions = {
            option: self._function(getattr(self, option), b.writer) for option in ("activation", "recurrent_activation")
        }
        module = b.module(
            self.kind.shim,
            suffix,
            why=self.native(b.writer)[1],
            in_channels=kernel.shape[1],
            out_channels=self.filters,
            kernel_size=taps,
            pads=_flat(pads),
            state_pads=_flat(_same(b, (None,) * self.axes, taps, ones)),
            stride=strides,
            dilation=rates,
            channels_last=self._channels_last,
            bias=self.use_bias,
            **functions,
        )
        module.tensor("weight_ih", kernel)
        module.tensor("weight_hh", recurrent)
        if bias is not None:
            module.tensor("bias", bias)
        return module, False

    def _function(self, spec: ActivationSpec, writer: Writer) -> dict[str, Any]:
        """An activation on gates (N, C, ...). What Keras does along its last axis is done along that of channels."""
        function = activations.resolve(spec, writer) or activations.Function("identity")
        along = {"dim": 1} if self._channels_last and "dim" in function.args else {}
        return activations.Function(function.name, {**function.args, **along}).data()

    def parts(self, b: Builder) -> list[Part]:
        return [Part(self, b.child(b.layer, "cell"))]

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        return lower_recurrent(b, frame_of(self), self.parts(b), x, kwargs, self.input_axes)


def _same(b: Builder, sizes: Shape, widths: list[int], strides: list[int]) -> Pads:
    """The zeros of padding "same". Theano adds half a window on both sides, and cuts the end of what comes out."""
    pads = same_paddings(sizes, widths, strides)
    if any(pad is None for pad in pads):
        raise refusal("unsupported-graph", "a strided convolutional LSTM over axes of unknown size")
    differs = any(n > 1 and (n % 2 == 0 or step > 1) for n, step in zip(widths, strides, strict=True))
    if differs and b.rule("same_padding") == "half":
        return [(n // 2, before + after - n // 2) for n, (before, after) in zip(widths, _known(pads), strict=True)]
    return _known(pads)


def _known(pads: list[tuple[int, int] | None]) -> Pads:
    return [pad for pad in pads if pad is not None]


def _flat(pads: Pads) -> list[int]:
    """As F.pad takes them: the last axis first."""
    return [n for pair in reversed(pads) for n in pair]


@declares("ConvLSTM1D")
class ConvLSTM1D(ConvLSTM, frozen=True, kw_only=True):
    axes = 1
    examples = (example(on=((4, 7, 2),), weights=((3, 2, 20), (3, 5, 20), (20,)), filters=5, kernel_size=3),)


_WEIGHTS = ((3, 2, 2, 20), (3, 2, 5, 20), (20,))
_ON = ((4, 7, 6, 2),)


@declares("ConvLSTM2D")
class ConvLSTM2D(ConvLSTM, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=_ON, weights=_WEIGHTS, filters=5, kernel_size=[3, 2]),
        example(on=_ON, weights=_WEIGHTS, filters=5, kernel_size=[3, 2], padding="same", return_sequences=True),
        example(on=_ON, weights=_WEIGHTS, filters=5, kernel_size=[3, 2], padding="same", strides=[2, 3]),
        example(on=_ON, weights=_WEIGHTS[:2], filters=5, kernel_size=[3, 2], dilation_rate=2, use_bias=False),
        example(on=((4, 2, 7, 6),), weights=_WEIGHTS, filters=5, kernel_size=[3, 2], data_format="channels_first"),
        example(on=_ON, weights=_WEIGHTS, filters=5, kernel_size=[3, 2], return_state=True, go_backwards=True),
        example(on=_ON, weights=_WEIGHTS, filters=5, kernel_size=[3, 2], activation="relu"),
        example(on=_ON, weights=_WEIGHTS, filters=5, kernel_size=[3, 2], recurrent_activation="softmax"),
        example(
            on=((4, 2, 7, 6),),
            weights=_WEIGHTS,
            filters=5,
            kernel_size=[3, 2],
            data_format="channels_first",
            activation="softmax",
        ),
    )


@declares("ConvLSTM3D")
class ConvLSTM3D(ConvLSTM, frozen=True, kw_only=True):
    axes = 3
    examples = (
        example(
            on=((3, 5, 4, 6, 2),),
            weights=((3, 2, 1, 2, 20), (3, 2, 1, 5, 20), (20,)),
            filters=5,
            kernel_size=[3, 2, 1],
            padding="same",
        ),
    )
