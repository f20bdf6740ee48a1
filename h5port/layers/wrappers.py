"""Bidirectional and TimeDistributed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.layers import engine
from h5port.layers.base import Layer, declares
from h5port.layers.builder import Builder, Module, Value
from h5port.layers.recurrent import (
    Cell,
    Frame,
    Part,
    Run,
    as_sequence,
    call_cell,
    check_frame,
    decode_recurrent,
    flipped,
    frame_of,
    initial_state,
    last_step,
    run,
)
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig


@declares("Bidirectional")
class Bidirectional(Layer, frozen=True, kw_only=True):
    """Two runs, one on the reversed sequence. With return_sequences the backward outputs are put back into the order
    of time; without, each half gives the last step of its own run (keras/src/layers/rnn/bidirectional.py)."""

    layer: Any
    backward_layer: Any = None
    merge_mode: str | None = "concat"
    mask = "own"
    inert = frozenset({"weights"})

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        yield "forward", "forward_layer", self.layer
        yield "backward", "backward_layer", self._backward()

    def _backward(self) -> LayerConfig:
        """The config of the backward half: its own, or the forward one's turned round."""
        if isinstance(self.backward_layer, LayerConfig):
            return self.backward_layer
        assert isinstance(self.layer, LayerConfig)
        options = {**self.layer.options, "go_backwards": not self.layer.options.get("go_backwards", False)}
        return msgspec.structs.replace(self.layer, options=options, id=self.layer.id + _SECOND)

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        x, state = initial_state(b, x, kwargs)
        if (
            state is not None
            and x.mask is not None
            and not b.explicit_mask
            and b.rule("mask_with_initial_state") == "drop"
        ):
            x = x.with_mask(None)
        layers, parts = zip(
            decode_recurrent(b.child(self.layer, "forward"), self.layer),
            decode_recurrent(b.child(self._backward(), "backward"), self._backward()),
            strict=True,
        )
        frames = self._frames(b, frame_of(layers[0]), frame_of(layers[1]))
        for frame in frames:
            check_frame(frame, x)
        frame = frames[0]
        halves = [None, None] if state is None else [state[: len(state) // 2], state[len(state) // 2 :]]
        seq = as_sequence(b, x, frame)
        states: list[Value] = []
        module = self._one_module(b, seq, parts, frames)
        if module is not None and seq.mask is None and state is None and not frame.return_state:
            outputs = self._plain(b, module, parts[0][0].cell, seq, frame)
        else:
            runs = [self._half(b, k, module, parts[k], seq, halves[k], frames[k]) for k in range(2)]
            outputs = self._merge(b, *(self._ends(b, k, r.sequence, frame) for k, r in enumerate(runs)))
            states = [s for r in runs for s in r.states]
        if frame.return_sequences:
            if frame.time_major:
                outputs = [
                    b.call("transpose", y, shape=(y.dim(1), y.dim(0), y.dim(2)), dim0=0, dim1=1) for y in outputs
                ]
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
        self, b: Builder, x: Value, parts: tuple[list[Part], ...], frames: tuple[Frame, Frame]
    ) -> Module | None:
        """One bidirectional module of torch, where both halves are one native cell of the same kind and size."""
        if any(len(p) != 1 for p in parts) or frames[0].go_backwards or any(f.stateful for f in frames):
            return None
        one, two = parts[0][0], parts[1][0]
        args, args_back = one.cell.native(b.writer)[0], two.cell.native(b.writer)[0]
        if args is None or args != args_back:
            return None
        if any(getattr(one.cell, f) != getattr(two.cell, f) for f in ("kind", "units", "use_bias")):
            return None
        module, _ = one.cell.make(one.b, x, bidirectional=True)
        one.cell.fill(one.b, module, x.dim(-1), "_l0")
        two.cell.fill(two.b, Module(two.b, module.name), x.dim(-1), "_l0_reverse")
        return module

    def _plain(self, b: Builder, module: Module, cell: Cell, x: Value, frame: Frame) -> list[Value]:
        """No masks and no states: torch's bidirectional module as it is."""
        sequence = frame.return_sequences
        shape: Shape = (x.dim(0), x.dim(1), cell.units) if sequence else (x.dim(0), cell.units)
        if self.merge_mode == "concat":
            return [b.call("rnn_outputs" if sequence else "last_steps", module, x, shape=(*shape[:-1], 2 * cell.units))]
        function = "rnn_both_outputs" if sequence else "both_last_steps"
        return self._merge(b, *b.calls(function, module, x, shapes=[shape, shape]))

    def _half(
        self, b: Builder, k: int, module: Module | None, parts: list[Part], x: Value, state: Any, frame: Frame
    ) -> Run:
        """One direction, its outputs in the order in which it computed them."""
        if module is None:
            return run(b, parts, x, state, frame, wants_states=frame.return_state, suffix=("forward", "backward")[k])
        if k == 1:
            x = flipped(b, x)
        sequence, final = call_cell(
            b, parts[0].cell, module, True, x, x.mask, state,
            zero_output=frame.zero_output_for_mask, wants_states=frame.return_state,
            unroll=frame.unroll, reverse=k == 1,
        )  # fmt: skip
        return Run(sequence, final)

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


_SECOND = 1_000_000_000  # the backward half's id, where the config has one layer for both


@declares("TimeDistributed")
class TimeDistributed(Layer, frozen=True, kw_only=True):
    """The wrapped layer on every step: steps and batch become one axis."""

    layer: Any
    mask = "own"

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        yield "layer", "layer", self.layer

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Value):
            raise refusal("unsupported-graph", "TimeDistributed on several inputs")
        shape = x.known_shape
        steps, mask = shape[1], x.mask
        flat_mask = None
        if mask is not None and len(mask.known_shape) > 2:
            flat_mask = b.call("join_batch_and_time", mask, shape=(None, *mask.known_shape[2:]))
        flat = b.call("join_batch_and_time", x, shape=(None, *shape[2:])).with_mask(flat_mask)
        inner = b.child(self.layer, "layer")
        y = engine.lower_call(inner, [flat], kwargs)
        if not isinstance(y, Value):
            raise refusal("unsupported-graph", "TimeDistributed of a layer with several outputs")
        out = b.call("split_batch_and_time", y, x, shape=(shape[0], steps, *y.known_shape[1:]))
        if y.mask is not None:
            return out.with_mask(
                b.call(
                    "split_batch_and_time", y.mask, x, shape=(shape[0], steps, *y.mask.known_shape[1:]), dtype="bool"
                )
            )
        return out.with_mask(mask if mask is not None and len(mask.known_shape) == 2 else None)
