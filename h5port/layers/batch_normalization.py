"""BatchNormalization of all Kerases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.core import channels_first, has_short_names
from h5port.layers.normalization import places_of, scale_and_shift
from h5port.module.program import is_buffer
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


@declares("BatchNormalization")
class BatchNormalization(Layer, frozen=True, kw_only=True):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta along one axis, with the moving statistics.

    Keras 1 has modes: 0 as above; 1 per sample over the last axis (keras/layers/normalization.py of 1.2.2).
    """

    axis: int | list[int] = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    mode: int = 0
    renorm: bool = False
    virtual_batch_size: None = None
    adjustment: None = None
    inert = frozenset({"fused", "renorm_clipping", "renorm_momentum", "synchronized", "gamma_initializer"})
    examples = (
        example(),
        example(scale=False),
        example(center=False),
        example(axis=1, epsilon=0.01),
        example(on=((4,),)),
        example(on=((3, 5, 4),), axis=1),
        example(on=((3, 5, 6, 4),), axis=-1),
        example(on=((2, 3, 5, 6, 4),), axis=2),
        example(on=((2, 3, 2, 5, 6, 4),)),
    )

    def mixes_rows(self) -> bool:
        return self.mode == 2

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if has_short_names(writer):
            yield from (
                Variable("gamma"),
                Variable("beta"),
                Variable("running_mean", None, False),
                Variable("running_std", None, False),
            )
            return
        shape = (None,) if isinstance(self.axis, int) or len(self.axis) == 1 else None
        if self.scale:
            yield Variable("gamma", shape)
        if self.center:
            yield Variable("beta", shape)
        yield Variable("moving_mean", shape, False)
        yield Variable("moving_variance", shape, False)
        if self.renorm:
            yield from (Variable(n, None, False) for n in ("moving_stddev", "renorm_mean", "renorm_stddev"))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        if self.epsilon < 0:
            raise refusal("unsupported-option", f"epsilon {self.epsilon}: torch takes none below zero")
        if self.mode != 0:
            return self._keras1_mode(b, x)
        if self.renorm:
            b.note("training differs: batch renormalisation is not reproduced")
            for unused in ("moving_stddev", "renorm_mean", "renorm_stddev"):
                b.drop(unused, "only the training of batch renormalisation uses it")
        axes = places_of(self.axis, x.rank)
        axis = -1 if axes[0] == x.rank - 1 else axes[0]
        mean, spread = _statistics(b.writer)
        size = math.prod(b.array(mean).shape)
        if b.rule("batchnorm_spread") == "std":
            return self._by_std(b, x, axis, size)
        if len(axes) > 1 or x.rank > 5:
            return self._flat(b, x, sorted(axes), size)
        norm = b.module(
            f"BatchNorm{min(max(x.rank - 2, 1), 3)}d",
            num_features=size,
            eps=self._epsilon(b, x, axis),
            momentum=round(1.0 - self.momentum, 12),
        )
        scale_and_shift(b, norm, (size,), self.scale, self.center)
        norm.tensor("running_mean", b.stored(mean, (x.dim(axis),)), trainable=False)
        norm.tensor("running_var", b.stored(spread, (x.dim(axis),)), trainable=False)
        norm.constant("num_batches_tracked", (), 0, "int64")
        return channels_first(b, x, lambda v: norm(v, shape=v.shape), axis)

    def _flat(self, b: Builder, x: Value, axes: list[int], size: int) -> Value:
        """Several axes count as one (their arrays have the rank of the input), and more axes than torch takes are
        joined: the normalised ones are put last, all others count as batch."""
        mean, spread = _statistics(b.writer)
        norm = b.module("BatchNorm1d", num_features=size, eps=self.epsilon, momentum=round(1.0 - self.momentum, 12))
        several = tuple(x.dim(i) if i in axes else 1 for i in range(x.rank))
        shape = several if len(axes) > 1 else (x.dim(axes[0]),)
        for ours, theirs, there in (
            ("weight", "gamma", self.scale),
            ("bias", "beta", self.center),
            ("running_mean", mean, True),
            ("running_var", spread, True),
        ):
            if there:
                norm.tensor(ours, b.stored(theirs, shape).reshape(size), trainable=not is_buffer(ours))
            else:
                norm.constant(ours, (size,), float(ours == "weight"), b.dtype)
        norm.constant("num_batches_tracked", (), 0, "int64")
        order = [i for i in range(x.rank) if i not in axes] + axes
        moved = b.call("permute", x, shape=tuple(x.dim(i) for i in order), dims=order)
        flat = b.call("join_features", moved, shape=(None, size), keep=len(axes))
        y = b.call("reshape_as", norm(flat, shape=flat.shape), moved, shape=moved.shape)
        return b.call("permute", y, shape=x.shape, dims=[order.index(i) for i in range(x.rank)])

    def _epsilon(self, b: Builder, x: Value, axis: int) -> float:
        """The fused kernel of a CPU takes channels_last alone (batch_normalization of Keras 2.2.0 to 2.3.1,
        backend/tensorflow_backend.py)."""
        least: float = b.rule("batchnorm_fused_epsilon") if x.rank == 4 and axis == -1 else 0.0
        if self.epsilon < least:
            b.note(f"epsilon {self.epsilon} was raised to {least} by the fused kernel of TensorFlow 1: so it is here")
        return max(self.epsilon, least)

    def _by_std(self, b: Builder, x: Value, axis: int, size: int) -> Value:
        """Keras 0.3: the fourth array is a standard deviation, (x - mean) / (std + epsilon)."""
        norm = b.module(
            "StdNorm", num_features=size, eps=self.epsilon, why="this Keras kept a standard deviation, not a variance"
        )
        scale_and_shift(b, norm, (size,), self.scale, self.center)
        norm.tensor("running_mean", b.stored("running_mean"), trainable=False)
        norm.tensor("running_std", b.stored("running_std"), trainable=False)
        return channels_first(b, x, lambda v: norm(v, shape=v.shape), axis)

    def _keras1_mode(self, b: Builder, x: Value) -> Value:
        for unused in ("running_mean", "running_std"):
            b.drop(unused, f"it has no part in mode {self.mode}")
        if self.mode == 2:
            if b.rule("batchnorm_spread") == "std":
                raise refusal("unsupported-option", "BatchNormalization mode 2 of Keras 0")
            return self._batch_statistics(b, x)
        if self.mode != 1:
            raise refusal("unsupported-option", f"BatchNormalization of mode {self.mode}")
        twice = b.rule("batchnorm_spread") != "std"
        size = b.stored("gamma", (x.dim(-1),)).shape[0]
        norm = b.module(
            "SampleNorm",
            num_features=size,
            eps=self.epsilon,
            inner_eps=self.epsilon if twice else 0.0,
            why="mode 1 of Keras 1",
        )
        scale_and_shift(b, norm, (size,), self.scale, self.center)
        return norm(x, shape=x.shape)

    def _batch_statistics(self, b: Builder, x: Value) -> Value:
        """Mode 2: the statistics of the batch at hand, also at inference: a row's result depends on its batch."""
        size = b.array("gamma").shape[0]
        axis = -1 if not isinstance(self.axis, int) or self.axis % x.rank == x.rank - 1 else self.axis % x.rank
        b.note("mode 2 uses the statistics of the batch at inference: the result of a row depends on the other rows")
        norm = b.module("BatchStatNorm", num_features=size, eps=self.epsilon, why="mode 2 of Keras 1")
        scale_and_shift(b, norm, (size,), self.scale, self.center)
        return channels_first(b, x, lambda v: norm(v, shape=v.shape), axis)


def _statistics(writer: Writer) -> tuple[str, str]:
    """The names of the moving mean and of the moving variance (in Keras 0: standard deviation)."""
    return ("running_mean", "running_std") if has_short_names(writer) else ("moving_mean", "moving_variance")
