"""Losses as operations of a graph.

keras/src/ops/nn.py and keras/src/backend/tensorflow/nn.py of Keras 3.15.1. TensorFlow takes the logits instead of the
probabilities where these come straight from a softmax or sigmoid: so does this.
"""

from __future__ import annotations

from typing import Any

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.ops.nn import EPSILON
from h5port.ops.operation import Operation, axis_of, broadcast_shape, floats, operation, reduced, tensors


def logits_of(b: Builder, x: Value, *functions: str) -> Value | None:
    """What the function was applied to that gave x, if it is one of these."""
    for call in reversed(b.program.calls):
        if x.name in call.outputs:
            if call.target not in functions:
                return None
            (name,) = call.inputs
            spec = b.program.values[name]
            return Value(name, spec.shape, spec.dtype)
    return None


_PAIR = ((5, 4), (5, 4))


@operation("BinaryCrossentropy")
class BinaryCrossentropy(Operation, frozen=True, kw_only=True):
    from_logits: bool = False
    examples = (example(on=_PAIR), example(on=_PAIR, from_logits=True))

    def apply(self, b: Builder, target: Any, output: Any) -> Value:
        target, output = floats(b, target, output)
        shape = broadcast_shape(target, output)
        logits = output if self.from_logits else None
        logits = logits_of(b, output, "sigmoid") or logits
        if logits is not None:
            return b.call("binary_loss_of_logits", target, logits, shape=shape)
        return b.call("binary_loss", target, output, shape=shape, epsilon=EPSILON)


@operation("CategoricalCrossentropy")
class CategoricalCrossentropy(Operation, frozen=True, kw_only=True):
    from_logits: bool = False
    axis: int = -1
    examples = (
        example(on=_PAIR),
        example(on=_PAIR, from_logits=True),
        example(on=((5, 5), (5, 5)), axis=1),
    )

    def apply(self, b: Builder, target: Any, output: Any) -> Value:
        target, output = floats(b, target, output)
        axis = axis_of(self.axis, output.rank)
        shape = reduced(output, [axis], False)
        logits = output if self.from_logits else None
        logits = logits_of(b, output, "softmax", "softmax_axes") or logits
        if logits is not None:
            return b.call("class_loss_of_logits", target, logits, shape=shape, dim=axis)
        return b.call("class_loss", target, output, shape=shape, dim=axis, epsilon=EPSILON)


@operation("SparseCategoricalCrossentropy")
class SparseCategoricalCrossentropy(Operation, frozen=True, kw_only=True):
    from_logits: bool = False
    axis: int = -1
    examples = (
        example(on=((5,), (5, 3)), dtype=("int32", "float32")),
        example(on=((5, 1), (5, 3)), dtype=("int32", "float32"), from_logits=True),
    )

    def apply(self, b: Builder, target: Any, output: Any) -> Value:
        (output,) = floats(b, output)
        target, _ = tensors(b, target, output)
        if axis_of(self.axis, output.rank) != output.rank - 1:
            raise refusal("unsupported-option", "classes on another axis than the last: Keras on TensorFlow refuses it")
        target = b.cast(target, "int64")
        if target.rank == output.rank and target.dim(-1) == 1:
            target = b.call("squeeze", target, shape=target.known_shape[:-1], dim=-1)
        logits = output if self.from_logits else None
        logits = logits_of(b, output, "softmax", "softmax_axes") or logits
        if logits is None:
            logits = b.call("log_of_probability", output, shape=output.shape, epsilon=EPSILON)
        return b.call("id_loss_of_logits", target, logits, shape=target.shape, dtype=output.dtype)
