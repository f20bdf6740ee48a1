"""All recurrent layers share one frame: directions, masks, states, what is returned. A cell gives only its gates.

Sources: keras/layers/recurrent.py of Keras 1.2.2 and 2.2.4, layers/rnn/rnn.py of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from h5port.errors import refusal
from h5port.layers.base import ActivationSpec, Example, Layer, declares, decode, example
from h5port.layers.builder import Builder, Module, Value
from h5port.layers.cells import GRU_KIND, LSTM_KIND, SIMPLE_KIND, Cell, StackedRNNCells
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Need, Variable
from h5port.schema.writer import Writer


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The options that all recurrent layers have."""

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    time_major: bool = False
    zero_output_for_mask: bool = False


class Part(msgspec.Struct, frozen=True):
    """A cell with the builder that finds its arrays."""

    cell: Any  # a Cell, or a layer that is one: a ConvLSTM
    b: Builder


class Run(msgspec.Struct, frozen=True):
    """What a recurrent layer gives: the outputs of all steps in the order computed, and the final states."""

    sequence: Value
    states: list[Value]


def run(
    b: Builder,
    parts: list[Part],
    x: Value,
    state: list[Value] | None,
    frame: Frame,
    *,
    wants_states: bool,
    suffix: str = "",
) -> Run:
    """Run one direction. A stack of cells is a chain of single runs: masked steps hold every state alike."""
    given_mask = x.mask
    if frame.go_backwards:
        x = flipped(b, x)
    mask = x.mask
    memory = _memory(b, parts, x, suffix) if frame.stateful else None
    if memory is not None:
        state = _recalled(b, memory, parts, x, state)
    strays = has_stray_zeros(frame, mask)
    finals: list[Value] = []
    at = 0
    for k, part in enumerate(parts):
        count = part.cell.kind.states
        own = state[at : at + count] if state is not None else None
        at += count
        last = k == len(parts) - 1
        name = "_".join(n for n in (suffix, str(k) if len(parts) > 1 else "") if n)
        x, final = _run_cell(
            part,
            x,
            mask,
            own,
            zero_output=frame.zero_output_for_mask and last and not strays,
            wants_states=wants_states or frame.stateful,
            suffix=name,
            unroll=frame.unroll,
        )
        finals += final
    if strays:
        x = stray_zeros(b, x, given_mask)
    if memory is not None:
        b.calls("remember", memory, *finals, shapes=[None], name="done")
    return Run(x, finals)


def _run_cell(
    part: Part,
    x: Value,
    mask: Value | None,
    state: list[Value] | None,
    *,
    zero_output: bool,
    wants_states: bool,
    suffix: str,
    unroll: bool,
) -> tuple[Value, list[Value]]:
    cell, b = part.cell, part.b
    module, native = cell.make(b, x, suffix)
    cell.fill(b, module, x.dim(-1), "_l0")
    return call_cell(
        b, cell, module, native, x, mask, state, zero_output=zero_output, wants_states=wants_states, unroll=unroll
    )


def call_cell(
    b: Builder,
    cell: Any,
    module: Module,
    native: bool,
    x: Value,
    mask: Value | None,
    state: list[Value] | None,
    *,
    zero_output: bool,
    wants_states: bool,
    unroll: bool = False,
    reverse: bool = False,
) -> tuple[Value, list[Value]]:
    """Outputs of all steps, and the final states (if wanted)."""
    if cell.is_cudnn and mask is not None:
        raise refusal("unsupported-graph", "a mask reaches a layer of CuDNN: Keras itself refuses this model")
    batch, steps = x.dim(0), x.dim(1)
    each = cell.state_shape(x)
    sequence: Shape = (batch, steps, *each)
    shapes: list[Shape | None] = [sequence, *[(batch, *each)] * cell.kind.states]
    if native and mask is None and state is None and not wants_states and not reverse:
        return b.call("rnn_outputs", module, x, shape=sequence), []
    args: dict[str, Any] = {}
    if mask is not None:
        zero_output = zero_output and cell.zeroes_masked(b.writer)
        args["zero_output"] = zero_output
        if state is not None and not unroll and not zero_output and b.rule("masked_start") == "state":
            args["start_from_state"] = True
    if native and reverse:
        args["reverse"] = True
    inputs: tuple[Any, ...] = (x, mask, state)
    if not native:
        y, *final = b.calls(module.ref, *inputs, shapes=shapes, **args)
    elif wants_states or cell.kind is not LSTM_KIND:
        y, *final = b.calls(f"run_{cell.kind.torch.lower()}", module, *inputs, shapes=shapes, **args)
    else:
        y, final = b.call("run_lstm_outputs", module, *inputs, shape=sequence, **args), []
    return y, final


def flipped(b: Builder, x: Value) -> Value:
    """The sequence and its mask in reversed time."""
    mask = b.call("flip", x.mask, shape=x.mask.shape, dim=1, name="mask") if x.mask is not None else None
    return b.call("flip", x, shape=x.shape, dim=1).with_mask(mask)


def has_stray_zeros(frame: Frame, mask: Value | None) -> bool:
    """Whether the zeros for masked steps go to the wrong places: Keras' unrolled loop reads the mask in the order of
    time though the outputs are in reversed order (backend.rnn of tf.keras and Keras 3)."""
    backwards = frame.unroll and frame.go_backwards and frame.return_sequences
    return backwards and frame.zero_output_for_mask and mask is not None


def stray_zeros(b: Builder, sequence: Value, mask: Value | None) -> Value:
    b.note("unroll, go_backwards and masked zeros: the zeros stand at the steps where Keras puts them")
    return b.call("zero_masked", sequence, mask, shape=sequence.shape)


def _memory(b: Builder, parts: list[Part], x: Value, suffix: str) -> Module:
    shapes = _state_shapes(parts, x)
    if x.dim(0) is None or any(None in shape for shape in shapes):
        raise refusal("unsupported-graph", "a stateful layer without a batch size")
    sizes = [shape[0] if len(shape) == 1 else list(shape) for shape in shapes]
    return b.module("Memory", f"{suffix}_memory" if suffix else "memory", batch_size=x.dim(0), sizes=sizes)


def _state_shapes(parts: list[Part], x: Value) -> list[Shape]:
    return [p.cell.state_shape(x) for p in parts for _ in range(p.cell.kind.states)]


def _recalled(b: Builder, memory: Module, parts: list[Part], x: Value, given: list[Value] | None) -> list[Value]:
    shapes: list[Shape | None] = [(x.dim(0), *shape) for shape in _state_shapes(parts, x)]
    if given is not None and b.rule("stateful_initial_state") == "given":
        return given
    recalled = b.calls("recall", memory, x, shapes=shapes)
    if given is None:
        return recalled
    started = b.call("any_nonzero", recalled, shape=(), dtype="bool")
    return [b.call("where", started, r, g, shape=r.shape, dtype=r.dtype) for r, g in zip(recalled, given, strict=True)]


def initial_state(b: Builder, x: Any, kwargs: dict[str, Any]) -> tuple[Value, list[Value] | None]:
    """(the sequence, the initial states) of a call, in each of the ways in which Keras writes them.

    Some Kerases lose the mask that comes with the sequence when states are given, too; not one that the call names.
    """
    state: Any = None
    if isinstance(x, list):
        x, *state = x
    positional = kwargs.pop("positional", None) or []
    if positional:  # Keras 3: call(sequence, initial_state=None, mask=None, training=False)
        state = positional[0]
        if len(positional) > 1 and isinstance(positional[1], Value):
            x = x.with_mask(positional[1])
            b.explicit_mask = True
    state = kwargs.pop("initial_state", None) or state
    if kwargs.pop("constants", None):
        raise refusal("unsupported-option", "constants of a recurrent layer")
    if kwargs:
        raise refusal("unsupported-graph", f"arguments of a recurrent call that h5port does not know: {sorted(kwargs)}")
    if isinstance(state, Value):
        state = [state]
    state = _flat(state) if state else None
    if state is not None and x.mask is not None and not b.explicit_mask and b.rule("mask_with_initial_state") == "drop":
        x = x.with_mask(None)
    return x.with_mask(_mask_of_steps(b, x.mask)), state


def _mask_of_steps(b: Builder, mask: Value | None) -> Value | None:
    """One truth value a step. Keras takes a further axis, too, and spreads it over the units."""
    if mask is None or mask.rank == 2:
        return mask
    if mask.rank == 3 and mask.dim(2) == 1:
        return b.call("squeeze", mask, shape=mask.known_shape[:2], dim=2)
    raise refusal("unsupported-graph", f"a mask of {mask.rank} axes reaches a recurrent layer")


def _flat(states: Any) -> list[Value]:
    return [states] if isinstance(states, Value) else [v for s in states for v in _flat(s)]


def as_sequence(b: Builder, x: Value, frame: Frame, axes: int = 3) -> Value:
    """The input, of so many axes, with the batch first, and its mask."""
    if x.shape is not None and len(x.shape) != axes:
        raise refusal("unsupported-graph", f"a recurrent layer on an input of {len(x.shape)} axes")
    x = b.cast(x, b.dtype)
    if not frame.time_major:
        return x
    mask = swapped(b, x.mask) if x.mask is not None else None
    return swapped(b, x).with_mask(mask)


def swapped(b: Builder, x: Value) -> Value:
    """Batch and time exchanged."""
    shape = None if x.shape is None else (x.shape[1], x.shape[0], *x.shape[2:])
    return b.call("transpose", x, shape=shape, dim0=0, dim1=1)


def finish(b: Builder, x: Value, done: Run, frame: Frame) -> Any:
    """The layer's output: all steps or the last one, with the states where they are asked for."""
    if frame.return_sequences:
        y = done.sequence
        if frame.time_major:
            y = swapped(b, y)
        y = y.with_mask(x.mask)
    else:
        y = last_step(b, done.sequence)
    return [y, *done.states] if frame.return_state else y


def last_step(b: Builder, sequence: Value) -> Value:
    return b.call("last_step", sequence, shape=(sequence.dim(0), *sequence.known_shape[2:]))


def lower_recurrent(b: Builder, frame: Frame, parts: list[Part], x: Any, kwargs: dict[str, Any], axes: int = 3) -> Any:
    x, state = initial_state(b, x, kwargs)
    done = run(b, parts, as_sequence(b, x, frame, axes), state, frame, wants_states=frame.return_state)
    return finish(b, x, done, frame)


def frame_of(layer: Any) -> Frame:
    return Frame(**{f: getattr(layer, f) for f in Frame.__struct_fields__ if hasattr(layer, f)})


class Framed(Layer, frozen=True, kw_only=True):
    """A recurrent layer that is no cell itself. `Recurrent`, which is one, repeats these options: a struct has one
    base."""

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    time_major: bool = False
    zero_output_for_mask: bool = False
    mask = "own"
    takes_mask = True
    takes_arguments = True


def need_of_cell(config: LayerConfig, class_name: str, variables: tuple[Variable, ...]) -> Need:
    """In path stores the variables of a recurrent layer lie with its cell."""
    own = Need(name=config.name, class_name=config.class_name, id=config.id, trainable=config.trainable)
    cell = Need(name="cell", class_name=class_name, id=-config.id - 2, attribute="cell", variables=variables)
    return msgspec.structs.replace(own, children=(cell,))


_EXAMPLES: tuple[Example, ...] = (
    example(units=5),
    example(units=5, return_sequences=True),
    example(units=5, go_backwards=True, return_sequences=True),
    example(units=5, return_state=True),
    example(units=5, use_bias=False),
)


class Recurrent(Cell, frozen=True, kw_only=True):
    """A layer of one cell: the cell's options and the frame's."""

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    time_major: bool = False
    zero_output_for_mask: bool = False
    examples: ClassVar[tuple[Example, ...]] = _EXAMPLES

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        """CuDNN layers have their variables themselves."""
        if self.is_cudnn:
            return super().need(config, writer)
        return need_of_cell(config, f"{config.class_name}Cell", tuple(self.variables(writer)))

    def parts(self, b: Builder) -> list[Part]:
        return [Part(self, b if self.is_cudnn else b.child(b.layer, "cell"))]

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        return lower_recurrent(b, frame_of(self), self.parts(b), x, kwargs)


@declares("LSTM")
class LSTM(Recurrent, frozen=True, kw_only=True):
    recurrent_activation: ActivationSpec = "sigmoid"
    kind = LSTM_KIND
    examples = (*_EXAMPLES, example(units=5, recurrent_activation="hard_sigmoid"), example(units=5, activation="relu"))


@declares("GRU")
class GRU(Recurrent, frozen=True, kw_only=True):
    recurrent_activation: ActivationSpec = "sigmoid"
    reset_after: bool = True
    kind = GRU_KIND
    examples = (*_EXAMPLES, example(units=5, reset_after=False), example(units=5, recurrent_activation="hard_sigmoid"))


@declares("SimpleRNN")
class SimpleRNN(Recurrent, frozen=True, kw_only=True):
    kind = SIMPLE_KIND
    examples = (*_EXAMPLES, example(units=5, activation="relu"), example(units=5, activation="sigmoid"))


class CuDNN(Recurrent, frozen=True, kw_only=True):
    """The GPU layers of Keras 2: fixed activations, a layout of their own, no masks."""

    @property
    def is_cudnn(self) -> bool:
        return True

    @property
    def gate_activation(self) -> ActivationSpec:
        return "sigmoid"

    @property
    def resets_after(self) -> bool:
        return self.kind is GRU_KIND


@declares("CuDNNLSTM")
class CuDNNLSTM(CuDNN, frozen=True, kw_only=True):
    last = "tf.keras"
    kind = LSTM_KIND


@declares("CuDNNGRU")
class CuDNNGRU(CuDNN, frozen=True, kw_only=True):
    last = "tf.keras"
    kind = GRU_KIND


@declares("RNN")
class RNN(Framed, frozen=True, kw_only=True):
    """A cell, or a stack of cells, in the frame."""

    cell: LayerConfig

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        yield "cell", "cell", self.cell

    def parts(self, b: Builder) -> list[Part]:
        config = self.cell
        below = b.child(config, "cell")
        cell = decode(config, b.writer)
        if isinstance(cell, Cell):
            return [Part(cell, below)]
        if not isinstance(cell, StackedRNNCells):
            raise refusal("unknown-layer", f"{config.class_name} is not a cell of Keras", layer=config.place)
        inner = [(decode(c, b.writer), below.child(c, part)) for part, _, c in cell.children()]
        if not all(isinstance(c, Cell) for c, _ in inner):
            raise refusal(
                "unsupported-option", "a stack of cells that holds something else than LSTM, GRU and SimpleRNN cells"
            )
        return [Part(c, at) for c, at in inner if isinstance(c, Cell)]

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        cell = decode(self.cell, b.writer)
        if (
            isinstance(cell, StackedRNNCells)
            and cell.reverse_state_order
            and (self.return_state or kwargs or isinstance(x, list))
        ):
            raise refusal("unsupported-option", "reverse_state_order where the states are seen")
        return lower_recurrent(b, frame_of(self), self.parts(b), x, kwargs)


def decode_recurrent(b: Builder, config: LayerConfig) -> tuple[Any, list[Part]]:
    """A recurrent layer inside a wrapper: its options and its cells. `b` is the builder at that layer."""
    layer = decode(config, b.writer)
    if not hasattr(layer, "parts"):
        raise refusal(
            "unsupported-option", f"a {config.class_name} in the place of a recurrent layer", layer=config.place
        )
    return layer, layer.parts(b)
