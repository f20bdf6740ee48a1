"""BatchNormalization and LayerNormalization."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Module, Value
from h5port.layers.core import channels_first, has_short_names
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
    virtual_batch_size: int | None = None
    adjustment: None = None
    inert = frozenset({"fused", "renorm_clipping", "renorm_momentum", "synchronized", "gamma_initializer"})
    examples = (example(), example(scale=False), example(center=False), example(axis=1, epsilon=0.01))

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
        if self.virtual_batch_size is not None:
            raise refusal("unsupported-option", "BatchNormalization with virtual_batch_size")
        if self.mode != 0:
            return self._keras1_mode(b, x)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        if not axes:
            raise refusal("unsupported-option", "BatchNormalization over no axis")
        if len(axes) > 1:
            return self._over_axes(b, x, sorted(a % x.rank for a in axes))
        axis = -1 if axes[0] % x.rank == x.rank - 1 else axes[0] % x.rank
        short = has_short_names(b.writer)
        mean, spread = ("running_mean", "running_std") if short else ("moving_mean", "moving_variance")
        size = math.prod(b.array(mean).shape)
        if b.rule("batchnorm_spread") == "std":
            return self._by_std(b, x, axis, size)
        if self.renorm:
            b.note("training differs: batch renormalisation is not reproduced")
            for unused in ("moving_stddev", "renorm_mean", "renorm_stddev"):
                b.drop(unused, "only the training of batch renormalisation uses it")
        norm = b.module(
            f"BatchNorm{min(max(x.rank - 2, 1), 3)}d",
            num_features=size,
            eps=self._epsilon(b, x),
            momentum=round(1.0 - self.momentum, 12),
        )
        self._scale_and_shift(b, norm, size)
        norm.tensor("running_mean", b.stored(mean, (x.dim(axis),)), trainable=False)
        norm.tensor("running_var", b.stored(spread, (x.dim(axis),)), trainable=False)
        norm.constant("num_batches_tracked", (), 0, "int64")
        return channels_first(b, x, lambda v: norm(v, shape=v.shape), axis)

    def _over_axes(self, b: Builder, x: Value, axes: list[int]) -> Value:
        """Several axes count as one: they are put last and joined. The arrays have the rank of the input."""
        size = math.prod(b.array("moving_mean").shape)
        norm = b.module("BatchNorm1d", num_features=size, eps=self.epsilon, momentum=round(1.0 - self.momentum, 12))
        shape = tuple(x.dim(i) if i in axes else 1 for i in range(x.rank))
        for ours, theirs, there in (
            ("weight", "gamma", self.scale),
            ("bias", "beta", self.center),
            ("running_mean", "moving_mean", True),
            ("running_var", "moving_variance", True),
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

    def _epsilon(self, b: Builder, x: Value) -> float:
        return max(self.epsilon, b.rule("batchnorm_fused_epsilon")) if x.rank == 4 else self.epsilon

    def _scale_and_shift(self, b: Builder, norm: Module, size: int) -> None:
        for ours, theirs, there, otherwise in (
            ("weight", "gamma", self.scale, 1.0),
            ("bias", "beta", self.center, 0.0),
        ):
            if there:
                norm.tensor(ours, b.stored(theirs, (size,)))
            else:
                norm.constant(ours, (size,), otherwise, b.dtype)

    def _by_std(self, b: Builder, x: Value, axis: int, size: int) -> Value:
        """Keras 0.3: the fourth array is a standard deviation, (x - mean) / (std + epsilon)."""
        norm = b.module(
            "StdNorm", num_features=size, eps=self.epsilon, why="this Keras kept a standard deviation, not a variance"
        )
        self._scale_and_shift(b, norm, size)
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
        size = b.array("gamma").shape[0]
        norm = b.module(
            "SampleNorm",
            num_features=size,
            eps=self.epsilon,
            inner_eps=self.epsilon if twice else 0.0,
            why="mode 1 of Keras 1",
        )
        self._scale_and_shift(b, norm, size)
        return norm(x, shape=x.shape)

    def _batch_statistics(self, b: Builder, x: Value) -> Value:
        """Mode 2: the statistics of the batch at hand, also at inference: a row's result depends on its batch."""
        size = b.array("gamma").shape[0]
        axis = -1 if not isinstance(self.axis, int) or self.axis % x.rank == x.rank - 1 else self.axis % x.rank
        b.note("mode 2 uses the statistics of the batch at inference: the result of a row depends on the other rows")
        norm = b.module("BatchStatNorm", num_features=size, eps=self.epsilon, why="mode 2 of Keras 1")
        self._scale_and_shift(b, norm, size)
        return channels_first(b, x, lambda v: norm(v, shape=v.shape), axis)


@declares("LayerNormalization")
class LayerNormalization(Layer, frozen=True, kw_only=True):
    """Over one or more axes jointly (keras/src/layers/normalization/layer_normalization.py)."""

    axis: int | list[int] = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    rms_scaling: bool = False
    examples = (example(), example(axis=[1, 2]), example(scale=False), example(center=False), example(axis=1))

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.scale or self.rms_scaling:
            yield Variable("gamma")
        if self.center and not self.rms_scaling:
            yield Variable("beta")

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        given = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        axes = sorted(a % x.rank for a in given)
        if self.rms_scaling:
            return self._rms(b, x, axes)
        trailing = axes == list(range(x.rank - len(axes), x.rank))
        order = [i for i in range(x.rank) if i not in axes] + axes
        moved = x if trailing else b.call("permute", x, shape=tuple(x.dim(i) for i in order), dims=order)
        sizes = self._sizes(b, x, axes)
        norm = b.module("LayerNorm", normalized_shape=sizes, eps=self.epsilon)
        for ours, theirs, there, otherwise in (
            ("weight", "gamma", self.scale, 1.0),
            ("bias", "beta", self.center, 0.0),
        ):
            if there:
                norm.tensor(ours, b.stored(theirs, tuple(x.dim(a) for a in axes)))
            else:
                norm.constant(ours, tuple(sizes), otherwise, b.dtype)
        y = norm(moved, shape=moved.shape)
        if trailing:
            return y
        return b.call("permute", y, shape=x.shape, dims=[order.index(i) for i in range(x.rank)])

    def _sizes(self, b: Builder, x: Value, axes: list[int]) -> list[int]:
        if b.has("gamma") or b.has("beta"):
            return list(b.array("gamma" if b.has("gamma") else "beta").shape)
        sizes = [x.dim(a) for a in axes]
        if any(n is None for n in sizes):
            raise refusal("unsupported-graph", "LayerNormalization without weights over an axis of unknown size")
        return [n for n in sizes if n is not None]

    def _rms(self, b: Builder, x: Value, axes: list[int]) -> Value:
        """x / sqrt(variance + epsilon) * gamma: the mean is not taken out."""
        norm = b.module(
            "VarianceScale",
            shape=[x.dim(i) if i in axes else 1 for i in range(1, x.rank)],
            dims=axes,
            eps=self.epsilon,
            why="rms_scaling",
        )
        gamma = b.stored("gamma", tuple(x.dim(a) for a in axes))
        norm.tensor("weight", gamma.reshape(*(int(x.dim(i) or 1) if i in axes else 1 for i in range(1, x.rank))))
        return norm(x, shape=x.shape)
