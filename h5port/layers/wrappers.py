"""Bidirectional, TimeDistributed and SpectralNormalization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.layers import engine
from h5port.layers.base import Layer, declares, decode, need_of
from h5port.layers.builder import Builder, Module, Value
from h5port.layers.cells import Cell
from h5port.layers.recurrent import (
    Frame,
    Part,
    Run,
    as_sequence,
    call_cell,
    decode_recurrent,
    flipped,
    frame_of,
    has_stray_zeros,
    initial_state,
    last_step,
    run,
    stray_zeros,
    swapped,
)
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


@declares("Bidirectional")
class Bidirectional(Layer, frozen=True, kw_only=True):
    """Two runs, one on the reversed sequence. With return_sequences the backward outputs are put back into the order
    of time; without, each half gives the last step of its own run (keras/src/layers/rnn/bidirectional.py)."""

    layer: LayerConfig
    backward_layer: LayerConfig | None = None
    merge_mode: str | None = "concat"
    mask = "own"
    takes_mask = True
    takes_arguments = True
    inert = frozenset({"weights"})

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        yield "forward", "forward_layer", self.layer
        yield "backward", "backward_layer", self._backward()

    def _backward(self) -> LayerConfig:
        """The config of the backward half: its own, or the forward one's turned round."""
        if isinstance(self.backward_layer, LayerConfig):
            return self.backward_layer
        options = {**self.layer.options, "go_backwards": not self.layer.options.get("go_backwards", False)}
        backward: LayerConfig = _twin(msgspec.structs.replace(self.layer, options=options))
        return backward

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        x, state = initial_state(b, x, kwargs)
        layers, parts = zip(
            decode_recurrent(b.child(self.layer, "forward"), self.layer),
            decode_recurrent(b.child(self._backward(), "backward"), self._backward()),
            strict=True,
        )
        frames = self._frames(b, frame_of(layers[0]), frame_of(layers[1]))
        if frames[0].stateful and b.rule("bidirectional_state") == "anew":
            b.note("the halves are stateful, but this Keras started them anew at each call: so does the module")
            frames = (
                msgspec.structs.replace(frames[0], stateful=False),
                msgspec.structs.replace(frames[1], stateful=False),
            )
        frame = frames[0]
        halves = [None, None] if state is None else [state[: len(state) // 2], state[len(state) // 2 :]]
        seq = as_sequence(b, x, frame, getattr(layers[0], "input_axes", 3))
        states: list[Value] = []
        with_states = state is not None or frame.return_state
        module, native = self._one_module(b, seq, parts, frames, with_states=with_states)
        if module is not None and seq.mask is None and not with_states:
            outputs = self._plain(b, module, parts[0][0].cell, seq, frame)
        elif module is not None and not native:
            outputs = self._masked(b, module, parts[0][0].cell, seq, frame)
        else:
            runs = [self._half(b, k, module, parts[k], seq, halves[k], frames[k]) for k in range(2)]
            outputs = self._merge(b, *(self._ends(b, k, r.sequence, frame) for k, r in enumerate(runs)))
            states = [s for r in runs for s in r.states]
        if frame.return_sequences:
            if frame.time_major:
                outputs = [swapped(b, y) for y in outputs]
            outputs = [y.with_mask(x.mask) for y in outputs]
        return [*outputs, *states] if frame.return_state or len(outputs) > 1 else outputs[0]

    def _frames(self, b: Builder, forward: Frame, backward: Frame) -> tuple[Frame, Frame]:
        if forward.go_backwards == backward.go_backwards or forward.return_sequences != backward.return_sequences:
            raise refusal("unsupported-option", "the two halves of a Bidirectional do not fit each other")
        if b.rule("bidirectional_masked_output") == "hold":
            return forward, backward
        zero = forward.return_sequences  # the wrapper sets it, whatever the halves say
        return tuple(msgspec.structs.replace(f, zero_output_for_mask=zero) for f in (forward, backward))  # type: ignore[return-value]

    def _one_module(
        self, b: Builder, x: Value, parts: tuple[list[Part], ...], frames: tuple[Frame, Frame], *, with_states: bool
    ) -> tuple[Module | None, bool]:
        """One bidirectional module, where both halves are one cell of the same kind and size; and whether it is torch's
        own. The shim has no states to give or to take."""
        if any(len(p) != 1 for p in parts) or frames[0].go_backwards or any(f.stateful for f in frames):
            return None, False
        one, two = parts[0][0], parts[1][0]
        if not isinstance(one.cell, Cell) or not isinstance(two.cell, Cell):
            return None, False
        if any(getattr(one.cell, f) != getattr(two.cell, f) for f in ("kind", "units", "use_bias")):
            return None, False
        args, args_back = one.cell.native(b.writer)[0], two.cell.native(b.writer)[0]
        native = args is not None
        alike = args == args_back if native else one.cell.shim(b.writer) == two.cell.shim(b.writer)
        masked = {f.zero_output_for_mask for f in frames} if x.mask is not None else set()
        runs_together = not with_states and len(masked) < 2 and not any(has_stray_zeros(f, x.mask) for f in frames)
        if not alike or not (native or (args_back is None and runs_together)):
            return None, False
        module: Module = one.cell.make(one.b, x, bidirectional=True)[0]
        one.cell.fill(one.b, module, x.dim(-1), "_l0")
        two.cell.fill(two.b, Module(two.b, module.name), x.dim(-1), "_l0_reverse")
        return module, native

    def _plain(self, b: Builder, module: Module, cell: Cell, x: Value, frame: Frame) -> list[Value]:
        """No masks and no states: torch's bidirectional module as it is."""
        sequence = frame.return_sequences
        shape: Shape = (x.dim(0), x.dim(1), cell.units) if sequence else (x.dim(0), cell.units)
        if self.merge_mode == "concat":
            return [b.call("rnn_outputs" if sequence else "last_steps", module, x, shape=(*shape[:-1], 2 * cell.units))]
        function = "rnn_both_outputs" if sequence else "both_last_steps"
        return self._merge(b, *b.calls(function, module, x, shapes=[shape, shape]))

    def _masked(self, b: Builder, module: Module, cell: Cell, x: Value, frame: Frame) -> list[Value]:
        """A shim of both directions under a mask."""
        each: Shape = (x.dim(0), x.dim(1), cell.units)
        shapes: list[Shape | None] = [(*each[:-1], 2 * cell.units), *[(x.dim(0), 2 * cell.units)] * cell.kind.states]
        zero = frame.zero_output_for_mask and cell.zeroes_masked(b.writer)
        y, *_ = b.calls(module.ref, x, x.mask, None, shapes=shapes, zero_output=zero)
        if frame.return_sequences and self.merge_mode == "concat":
            return [y]
        forward, backward = b.calls("halves", y, shapes=[each, each])
        if not frame.return_sequences:
            forward = last_step(b, forward)
            backward = b.call("first_step", backward, shape=forward.shape)
        return self._merge(b, forward, backward)

    def _half(
        self, b: Builder, k: int, module: Module | None, parts: list[Part], x: Value, state: Any, frame: Frame
    ) -> Run:
        """One direction, its outputs in the order in which it computed them."""
        if module is None:
            return run(b, parts, x, state, frame, wants_states=frame.return_state, suffix=("forward", "backward")[k])
        given_mask, strays = x.mask, has_stray_zeros(frame, x.mask)
        if k == 1:
            x = flipped(b, x)
        sequence, final = call_cell(
            b, parts[0].cell, module, True, x, x.mask, state,
            zero_output=frame.zero_output_for_mask and not strays, wants_states=frame.return_state,
            unroll=frame.unroll, reverse=k == 1,
        )  # fmt: skip
        return Run(stray_zeros(b, sequence, given_mask) if strays else sequence, final)

    def _ends(self, b: Builder, k: int, sequence: Value, frame: Frame) -> Value:
        """What the half gives: its last step, or all steps with the second half's turned round."""
        if not frame.return_sequences:
            return last_step(b, sequence)
        return b.call("flip", sequence, shape=sequence.shape, dim=1) if k == 1 else sequence

    def _merge(self, b: Builder, y: Value, z: Value) -> list[Value]:
        sizes = (y.dim(-1), z.dim(-1))
        match self.merge_mode:
            case "concat":
                total = None if None in sizes else sum(n for n in sizes if n is not None)
                return [b.call("concatenate", [y, z], shape=(*y.known_shape[:-1], total), dim=-1)]
            case "sum":
                return [b.call("add", y, z, shape=y.shape)]
            case "mul":
                return [b.call("multiply", y, z, shape=y.shape)]
            case "ave":
                return [b.call("average", [y, z], shape=y.shape)]
            case None:
                return [y, z]
            case mode:
                raise refusal("unsupported-option", f"merge_mode {mode!r}")


_SECOND = 1_000_000_000  # added to the ids of the backward half, where the config has one layer for both


def _twin(value: Any) -> Any:
    """The same config as another object: its layers have weights of their own."""
    if isinstance(value, LayerConfig):
        return msgspec.structs.replace(value, id=value.id + _SECOND, options=_twin(value.options))
    if isinstance(value, list):
        return [_twin(v) for v in value]
    return {k: _twin(v) for k, v in value.items()} if isinstance(value, dict) else value


@declares("TimeDistributed")
class TimeDistributed(Layer, frozen=True, kw_only=True):
    """The wrapped layer on every step: steps and batch become one axis."""

    layer: LayerConfig
    mask = "own"
    takes_mask = True
    takes_arguments = True

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        yield "layer", "layer", self.layer

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Value):
            raise refusal("unsupported-graph", "TimeDistributed on several inputs")
        for inner in _layers_in(self.layer):
            if inner.model is None and decode(inner, b.writer).mixes_rows():
                raise refusal(
                    "unsupported-graph",
                    f"a {inner.class_name} inside TimeDistributed: what it gives for a step depends on the other rows",
                )
        rule = b.rule("time_distributed_mask" if x.dim(0) is None else "time_distributed_mask_with_batch")
        inner_mask = self._inner_mask(b, x, rule)
        flat = b.call("join_batch_and_time", x, shape=(None, *x.known_shape[2:])).with_mask(inner_mask)
        y = engine.lower_call(b.child(self.layer, "layer"), [flat], kwargs)
        if not isinstance(y, Value):
            raise refusal("unsupported-graph", "TimeDistributed of a layer with several outputs")
        out = self._split(b, y, x)
        if rule != "inner":
            return out.with_mask(x.mask)
        if y.mask is not None:
            return out.with_mask(self._split(b, y.mask, x))
        return out.with_mask(_any_of_step(b, x.mask))

    def _inner_mask(self, b: Builder, x: Value, rule: str) -> Value | None:
        """The mask of the steps that the wrapped layer sees, which has one axis less."""
        if x.mask is None or rule == "pass":
            return None
        layer = None if self.layer.model is not None else decode(self.layer, b.writer)
        if x.mask.rank == 2:
            if layer is None or layer.takes_mask or (layer.mask == "stops" and rule == "inner"):
                raise refusal(
                    "unsupported-graph",
                    f"a mask of whole steps reaches a {self.layer.class_name} inside TimeDistributed",
                )
            return None
        return b.call("join_batch_and_time", x.mask, shape=(None, *x.mask.known_shape[2:]))

    def _split(self, b: Builder, y: Value, like: Value) -> Value:
        shape = (like.dim(0), like.dim(1), *y.known_shape[1:])
        return b.call("split_batch_and_time", y, like, shape=shape, dtype=y.dtype)


def _layers_in(config: LayerConfig) -> Iterator[LayerConfig]:
    """The layer and, of a nested model, all layers in it."""
    yield config
    if config.model is not None:
        for inner in config.model.layers.values():
            if not inner.is_operation:
                yield from _layers_in(inner)


def _any_of_step(b: Builder, mask: Value | None) -> Value | None:
    """A mask of more than two axes becomes one of steps."""
    while mask is not None and mask.rank > 2:
        mask = b.call("any_over", mask, shape=mask.known_shape[:-1], dim=-1, keepdim=False)
    return mask


@declares("SpectralNormalization")
class SpectralNormalization(Layer, frozen=True, kw_only=True):
    """The wrapped layer as it is stored: only training divides its kernel by the largest singular value
    (keras/src/layers/normalization/spectral_normalization.py). The wrapper lists that kernel as its own, too."""

    layer: LayerConfig
    power_iterations: int = 1
    mask = "own"

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        yield "layer", "layer", self.layer

    def variables(self, writer: Writer) -> Iterator[Variable]:
        inner = need_of(self.layer, writer).variables
        kernel = next((v for v in inner if v.name in ("kernel", "embeddings")), None)
        if kernel is None:
            raise refusal("unsupported-option", f"SpectralNormalization of a {self.layer.class_name} without a kernel")
        yield msgspec.structs.replace(kernel, of="layer")
        yield Variable("vector_u", (1, None), False)

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        list(self.variables(b.writer))
        b.drop("vector_u", "only the training of spectral normalisation uses it")
        b.note("training differs: the kernel is not divided by its largest singular value")
        y = engine.lower_call(b.child(self.layer, "layer"), [x], kwargs)
        if not isinstance(x, Value) or not isinstance(y, Value):
            raise refusal("unsupported-graph", "SpectralNormalization of a layer with several inputs or outputs")
        return b.cast(y, x.dtype) if b.rule("spectral_output") == "cast" else y
