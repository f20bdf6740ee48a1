"""The cells of recurrent layers: their gates, their stored layouts, and torch's tensors made of them.

Sources: keras/layers/recurrent.py of Keras 1.2.2 and 2.2.4, cudnn_recurrent.py and engine/saving.py
(`_convert_rnn_weights`) of 2.3.1, layers/rnn/{lstm,gru,simple_rnn}.py of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.base import ActivationSpec, Layer, declares
from h5port.layers.builder import Builder, Module, Tensor, Value
from h5port.module.program import Shape
from h5port.schema.bind import snake_case
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


class Kind(msgspec.Struct, frozen=True):
    """A kind of cell: torch's module, the shim, Keras' gates in their joined order, and torch's order as
    positions in Keras' (torch.nn.LSTM has i f g o, torch.nn.GRU r z n)."""

    torch: str
    shim: str
    gates: str
    order: tuple[int, ...]
    states: int
    listed: str  # the order in which Keras 1 lists the arrays of the gates


LSTM_KIND = Kind("LSTM", "KerasLSTM", "ifco", (0, 1, 2, 3), 2, "icfo")
GRU_KIND = Kind("GRU", "KerasGRU", "zrh", (1, 0, 2), 1, "zrh")
SIMPLE_KIND = Kind("RNN", "KerasRNN", "h", (0,), 1, "h")


# Gate activations between fixed bounds: with any other, rounding errors grow from step to step.
_BOUNDED = frozenset("sigmoid hard_sigmoid hard_sigmoid_fifth tanh softsign hard_tanh sparse_sigmoid softmax".split())
# Gate activations that go over all units of a gate.
_OVER_UNITS = frozenset("softmax log_softmax sparsemax".split())


def refuse_other_type(b: Builder, x: Value) -> None:
    """Raises where a cell has another dtype than its layer, whose states and inputs it is given."""
    if x.dtype != b.dtype:
        raise refusal("unsupported-option", f"a cell of {b.dtype} in a layer of {x.dtype}")


class Cell(Layer, frozen=True, kw_only=True):
    """What a cell and the layer of the same name have in common."""

    units: int
    activation: ActivationSpec = "tanh"
    use_bias: bool = True
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    implementation: int = 2
    mask = "own"
    takes_mask = True
    takes_arguments = True
    kind: ClassVar[Kind]
    inert = frozenset({"unit_forget_bias", "noise_shape"})

    # The options that only some cells have.
    @property
    def gate_activation(self) -> ActivationSpec:
        return getattr(self, "recurrent_activation", None)

    @property
    def resets_after(self) -> bool:
        return bool(getattr(self, "reset_after", False))

    def state_shape(self, x: Value) -> Shape:
        """Of each state, without the batch, for an input sequence."""
        return (self.units,)

    def zeroes_masked(self, writer: Writer) -> bool:
        """Whether the layer heeds `zero_output_for_mask`."""
        return True

    @property
    def is_cudnn(self) -> bool:
        return False

    def variables(self, writer: Writer) -> Iterator[Variable]:
        wide = len(self.kind.gates) * self.units
        if writer.rule("rnn_variables") == "joined":
            yield Variable("kernel", (None, wide))
            yield Variable("recurrent_kernel", (self.units, wide))
            if self.use_bias:
                yield Variable("bias")  # (wide,), (2, wide), or CuDNN's (2 * wide,): told apart when lowered
        elif self.kind is SIMPLE_KIND or self.implementation == 2:
            yield from (Variable("W", (None, wide)), Variable("U", (self.units, wide)), Variable("b", (wide,)))
        else:
            for gate in self.kind.listed:
                yield Variable(f"W_{gate}", (None, self.units))
                yield Variable(f"U_{gate}", (self.units, self.units))
                yield Variable(f"b_{gate}", (self.units,))

    def native(self, writer: Writer) -> tuple[dict[str, Any] | None, str | None]:
        """The arguments of torch's own module that computes the same, or None and why there is none."""
        act = activations.resolve(self.activation, writer)
        gate = activations.resolve(self.gate_activation, writer)
        name = act.name if act else "linear"
        if self.kind is SIMPLE_KIND:
            if name in ("tanh", "relu"):
                return {"nonlinearity": name}, None
            return None, f"torch.nn.RNN has no activation {name}"
        if name != "tanh":
            return None, f"torch.nn.{self.kind.torch} has no activation {name}"
        if gate is None or gate.name != "sigmoid":
            return None, f"torch.nn.{self.kind.torch} has no gate activation {gate.name if gate else 'linear'}"
        if self.kind is GRU_KIND and not self.resets_after:
            return None, "torch.nn.GRU applies the reset gate after the product, this layer before it"
        return {}, None

    # ---- stored arrays -> torch's tensors

    def tensors(self, b: Builder, features: int | None) -> dict[str, Tensor | None]:
        """weight_ih, weight_hh, bias_ih, bias_hh (None: torch's second bias, which Keras has not)."""
        if b.rule("rnn_variables") == "gates" and not (self.kind is SIMPLE_KIND or self.implementation == 2):
            return self._from_gates(b, features)
        names = ("kernel", "recurrent_kernel", "bias") if b.rule("rnn_variables") == "joined" else ("W", "U", "b")
        n, u = len(self.kind.gates), self.units
        kernel = b.stored(names[0], (features, n * u))
        recurrent = b.stored(names[1], (u, n * u))
        bias = b.stored(names[2]) if self.use_bias else None
        if bias is not None and bias.shape == (2 * n * u,):
            return self._from_cudnn(kernel, recurrent, bias)
        result: dict[str, Tensor | None] = {
            "weight_ih": kernel.transpose(1, 0).blocks(0, self.kind.order),
            "weight_hh": recurrent.transpose(1, 0).blocks(0, self.kind.order),
        }
        if bias is not None:
            expected = (2, n * u) if self.resets_after else (n * u,)
            if bias.shape != expected:
                raise refusal(
                    "shape-mismatch",
                    f"the bias has the shape {list(bias.shape)}, the options ask for {list(expected)}"
                    + (f" (reset_after={self.resets_after})" if self.kind is GRU_KIND else ""),
                    remedy="the config belongs to other weights",
                )
            rows = [bias.part(0, i, i + 1, squeeze=True) for i in range(2)] if self.resets_after else [bias, None]
            for name, row in zip(("bias_ih", "bias_hh"), rows, strict=True):
                result[name] = row.blocks(0, self.kind.order) if row is not None else None
        return result

    def _from_cudnn(self, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> dict[str, Tensor | None]:
        """CuDNN's layout: in each gate's block of the kernel the numbers of the transposed matrix, read in rows."""
        n, u = len(self.kind.gates), self.units
        order = self.kind.order
        return {
            "weight_ih": kernel.split(1, n).reshape(u, kernel.shape[0]).concat(0).blocks(0, order),
            "weight_hh": recurrent.split(1, n).concat(0).blocks(0, order),
            "bias_ih": bias.part(0, 0, n * u).blocks(0, order),
            "bias_hh": bias.part(0, n * u, 2 * n * u).blocks(0, order),
        }

    def _from_gates(self, b: Builder, features: int | None) -> dict[str, Tensor | None]:
        """Keras 0 and 1: an array for each gate."""
        gates = [self.kind.gates[i] for i in self.kind.order]
        return {
            "weight_ih": b.join([b.stored(f"W_{g}", (features, self.units)).transpose(1, 0) for g in gates], 0),
            "weight_hh": b.join([b.stored(f"U_{g}").transpose(1, 0) for g in gates], 0),
            "bias_ih": b.join([b.stored(f"b_{g}") for g in gates], 0),
            "bias_hh": None,
        }

    def fill(self, b: Builder, module: Module, features: int | None, suffix: str = "") -> None:
        """Give a module its tensors; `suffix` is torch's for layer and direction, such as "_l0_reverse"."""
        for name, tensor in self.tensors(b, features).items():
            if tensor is not None:
                module.tensor(name + suffix, tensor)
            else:
                module.constant(name + suffix, (len(self.kind.gates) * self.units,), 0.0, b.dtype)

    def features(self, b: Builder, x: Value) -> int:
        """The size of the input: from the stored kernel, which the input must fit."""
        for name in ("kernel", "W", f"W_{self.kind.listed[0]}"):
            if b.has(name):
                return b.array(name).shape[0]
        raise refusal("missing-weights", "no kernel", layer="/".join(b.label))

    def make(self, b: Builder, x: Value, suffix: str = "", **directions: Any) -> tuple[Module, bool]:
        """torch's own module where it computes the same numbers, otherwise the shim; whether it is torch's own.

        directions  bidirectional=True for a module of both
        """
        if self.dropout or self.recurrent_dropout:
            b.note("training differs: the dropout inside the recurrence is not reproduced")
        refuse_other_type(b, x)
        args, why = self.native(b.writer)
        size = self.features(b, x)
        if args is not None:
            module = b.module(
                self.kind.torch,
                suffix,
                input_size=size,
                hidden_size=self.units,
                bias=self.use_bias,
                batch_first=True,
                **args,
                **directions,
            )
            return module, True
        sizes = {"input_size": size, "hidden_size": self.units, "bias": self.use_bias}
        b.note(f"{self.kind.shim} in place of torch.nn.{self.kind.torch}: {why}")
        return b.module(self.kind.shim, suffix, why=why, **sizes, **self.shim(b.writer), **directions), False

    def shim(self, writer: Writer) -> dict[str, Any]:
        """The arguments of the shim, but for its sizes."""
        args: dict[str, Any] = {}
        for key, spec in (("activation", self.activation), ("recurrent_activation", self.gate_activation)):
            if key == "activation" or self.kind is not SIMPLE_KIND:
                function = activations.resolve(spec, writer)
                args[key] = function.data() if function else {"function": "identity", "args": {}}
        if self.kind is GRU_KIND:
            args["reset_after"] = self.resets_after
        gate = args.get("recurrent_activation")
        if gate is not None and gate["function"] not in _BOUNDED:
            args["double"] = True
        if gate is not None and gate["function"] in _OVER_UNITS:
            args["each_gate"] = True
        if gate is not None and gate["function"] == "hard_sigmoid_fifth":
            args["recurrent_activation"], args["gate_scale"] = {"function": "hard_sigmoid", "args": {}}, 1.2
        return args


@declares("LSTMCell")
class LSTMCell(Cell, frozen=True, kw_only=True):
    recurrent_activation: ActivationSpec = "sigmoid"
    kind = LSTM_KIND


@declares("GRUCell")
class GRUCell(Cell, frozen=True, kw_only=True):
    recurrent_activation: ActivationSpec = "sigmoid"
    reset_after: bool = True
    kind = GRU_KIND


@declares("SimpleRNNCell")
class SimpleRNNCell(Cell, frozen=True, kw_only=True):
    kind = SIMPLE_KIND


@declares("StackedRNNCells")
class StackedRNNCells(Layer, frozen=True, kw_only=True):
    cells: list[LayerConfig]
    reverse_state_order: bool = False

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        """Path stores number the cells by class: cells/lstm_cell, cells/lstm_cell_1."""
        count: dict[str, int] = {}
        for k, cell in enumerate(self.cells):
            word = snake_case(cell.class_name)
            n = count.get(word, 0)
            count[word] = n + 1
            yield f"cell_{k}", f"cells/{word}_{n}" if n else f"cells/{word}", cell
