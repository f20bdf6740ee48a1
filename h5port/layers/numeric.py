"""Preprocessing of numbers: Normalization, Discretization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.categories import OutputMode, encoded, output_dtype
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer

_EPSILON = 1e-7  # keras.config.epsilon(), which no file holds
Numbers = float | list[Any]


@declares("Normalization")
class Normalization(Layer, frozen=True, kw_only=True):
    """(x - mean) / max(sqrt(variance), 1e-7). keras/src/layers/preprocessing/normalization.py of Keras 3.15.

    Mean and variance are learned (with `count`, which says from how much), or stand in the config.
    """

    axis: int | list[int] | None = -1
    mean: Numbers | None = None
    variance: Numbers | None = None
    invert: bool = False
    examples = (
        example(weights=((4,), (4,), ())),
        example(axis=[1, 2], weights=((7, 4), (7, 4), ())),
        example(axis=None, weights=((), (), ())),
        example(axis=1, mean=[0.5] * 7, variance=[2.0] * 7),
        example(mean=3.0, variance=2.0, invert=True),
        example(invert=True, weights=((4,), (4,), ())),
    )
    mask = "own"

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.mean is None:
            yield Variable("mean", None, trainable=False)
            yield Variable("variance", None, trainable=False)
            yield Variable("count", (), trainable=False)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        y = self._normalized(b, b.cast(x, b.dtype))
        return y.with_mask(x.mask if b.rule("normalization_mask") == "pass" else None)

    def _normalized(self, b: Builder, x: Value) -> Value:
        kept = self._kept_axes(b, x)
        shape = [kept.get(a, 1) for a in range(x.rank)]
        if self.mean is None:
            norm = b.module("Standardize", shape=shape, epsilon=_EPSILON, invert=self.invert)
            norm.tensor("running_mean", b.stored("mean", tuple(kept.values())).reshape(*shape))
            norm.tensor("running_var", b.stored("variance", tuple(kept.values())).reshape(*shape))
            b.drop("count", "from how many numbers the mean was learned")
            return norm(x, shape=x.shape)
        mean, spread = self._constants(b, tuple(kept.values()), shape)
        function = "denormalize" if self.invert else "normalize"
        return b.call(function, x, shape=x.shape, mean=mean, spread=spread)

    def _kept_axes(self, b: Builder, x: Value) -> dict[int, int]:
        """The axes along which mean and variance differ, with their sizes."""
        axes = [] if self.axis is None else [self.axis] if isinstance(self.axis, int) else self.axis
        if any(not -x.rank <= a < x.rank for a in axes):
            raise refusal("bad-config", f"Normalization over the axes {axes} of a tensor of {x.rank} axes")
        kept = {a: n for a in sorted(a % x.rank for a in axes) if (n := x.dim(a)) is not None}
        built = b.layer.build_shape
        if isinstance(built, list) and (len(built) != x.rank or any(built[a] != n for a, n in kept.items())):
            raise refusal("unsupported-graph", f"a Normalization built for {built} is called on {x.known_shape}")
        if len(kept) < len(axes):
            raise refusal("unsupported-graph", f"Normalization over axes {axes} of {x.known_shape}: one has no size")
        return kept

    def _constants(self, b: Builder, sizes: tuple[int, ...], shape: list[int]) -> tuple[Any, Any]:
        """Mean and spread as numbers, or as lists that spread over the input."""
        given = "float32" if b.rule("normalization_constants") == "float32" else b.dtype
        try:
            mean, variance = (
                np.broadcast_to(np.asarray(v, given), sizes).reshape(shape).astype(b.dtype)
                for v in (self.mean, self.variance)
            )
        except (ValueError, TypeError):
            raise refusal(
                "unsupported-option", f"mean and variance of Normalization are no numbers for axes of {sizes}"
            ) from None
        spread = np.maximum(np.sqrt(variance), np.asarray(_EPSILON, b.dtype))
        alike = all(np.all(v == v.flat[0]) for v in (mean, spread))
        return (mean.flat[0].item(), spread.flat[0].item()) if alike else (mean.tolist(), spread.tolist())


@declares("Discretization")
class Discretization(Layer, frozen=True, kw_only=True):
    """The bin of each number: how many boundaries are not above it.

    keras/src/layers/preprocessing/discretization.py of Keras 3.15. Before Keras 3, boundaries that were learned lie in
    the weights as a summary of the data, of which they are quantiles.
    """

    bin_boundaries: list[float] | None = None
    num_bins: int | None = None
    output_mode: OutputMode = "int"
    sparse: Literal[False] = False
    mask = "stops"
    casts = False
    inert = frozenset({"epsilon"})
    examples = (
        example(bin_boundaries=[-0.5, 0.0, 1.5]),
        example(on=((5,),), bin_boundaries=[-0.5, 0.0, 1.5], output_mode="one_hot"),
        example(on=((1,),), bin_boundaries=[-0.5, 0.0, 1.5], output_mode="one_hot"),
        example(on=((5,),), bin_boundaries=[-0.5, 0.0, 1.5], output_mode="multi_hot"),
        example(on=((5,),), bin_boundaries=[-0.5, 0.0, 1.5], output_mode="count"),
        example(on=((5, 2),), bin_boundaries=[-0.5, 0.0, 1.5], output_mode="count"),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.bin_boundaries is None and writer.rule("discretization_summary") == "stored":
            yield Variable("summary", (2, None), trainable=False)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        edges = self._edges(b)
        if x.dtype == "float64" and (b.rule("integer_policy_input") == "cast" or output_dtype(b) == "float32"):
            x = b.cast(x, "float32")
        ids = b.emit("bin_of", x, shape=x.shape, dtype="int64", args={"boundaries": edges})
        dtype = b.rule("discretization_ints") if self.output_mode == "int" else "policy"
        last = b.rule("one_hot_last_axis")
        return encoded(
            b, ids, self.output_mode, len(edges) + 1, output_dtype(b) if dtype == "policy" else dtype, last=last
        )

    def _edges(self, b: Builder) -> list[float]:
        if self.bin_boundaries is not None:
            return [float(np.float32(e)) for e in self.bin_boundaries]
        if not self.num_bins or not b.has("summary"):
            raise refusal("unsupported-option", "a Discretization without boundaries: it was never adapted")
        summary = b.read("summary")
        b.drop("summary", "a summary of the data; its quantiles are the boundaries in the config")
        return [float(e) for e in quantiles(summary, self.num_bins)]


def quantiles(summary: np.ndarray[Any, Any], bins: int) -> np.ndarray[Any, Any]:
    """The boundaries that part weighted values (values and weights, (2, n)) into bins of about equal weight.

    tf_keras/src/layers/preprocessing/discretization.py of tf_keras 2.21, get_bin_boundaries.
    """
    share = 1.0 / bins
    if summary.shape[1] * share < 1:
        return np.asarray(summary[0, :-1])
    weights = summary[1].cumsum()
    wanted = share + np.arange(0.0, 1.0, share)
    return np.asarray(np.interp(wanted, weights / weights[-1], summary[0]), np.float32)[:-1]
