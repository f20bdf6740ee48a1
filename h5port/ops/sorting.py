"""Operations on sorted tensors: sort, argsort, median, quantiles.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py (_quantile, nanquantile) of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.ops import dtypes
from h5port.ops.dtypes import FLOATS
from h5port.ops.operation import Operation, array_of, axis_of, declare, operation, reduced, tensors
from h5port.ops.reductions import FLOATS_OVER, OVER, Axes, raveled, some_axes

SORTED = (
    example(on=((5, 4),)),
    example(on=((5, 4),), axis=1),
    example(on=((5, 4),), axis=None),
    example(on=((5, 4),), dtype="int32"),
)


@operation("Sort")
class Sort(Operation, frozen=True, kw_only=True):
    axis: int | None = -1
    examples = SORTED

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        x = raveled(b, x) if self.axis is None else x
        return b.call("sort", x, shape=x.shape, dim=axis_of(-1 if self.axis is None else self.axis, x.rank))


@operation("Argsort")
class Argsort(Operation, frozen=True, kw_only=True):
    axis: int | None = -1
    examples = SORTED

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        x = raveled(b, x) if self.axis is None else x
        dim = axis_of(-1 if self.axis is None else self.axis, x.rank)
        return b.call("argsort", x, shape=x.shape, dtype="int32", dim=dim)


Method = Literal["linear", "lower", "higher", "midpoint", "nearest"]


class Quantiles(Operation, frozen=True, kw_only=True):
    """per       what q is a part of
    skips_nan  whether NaN is left out; otherwise it makes the result NaN
    """

    axis: Axes = None
    keepdims: bool = False
    per: ClassVar[float] = 1.0
    skips_nan: ClassVar[bool] = False

    def at(self, b: Builder, x: Any, q: Any, method: Method) -> Value:
        (x,) = tensors(b, x)
        if self.skips_nan and x.dtype not in FLOATS:
            raise refusal("unsupported-graph", f"{b.layer.class_name} of {x.dtype}: Keras itself fails at it")
        x = b.cast(x, dtypes.floating(x.dtype))
        axes = some_axes(self.axis, x.rank)
        if isinstance(q, Value):
            raise refusal("unsupported-graph", f"{b.layer.class_name} at a place that is computed")
        places = (np.asarray(array_of(q).value, "float32") / np.float32(self.per)).astype("float64")
        if places.ndim > 1:
            raise refusal("unsupported-graph", f"{b.layer.class_name} at places of several axes")
        args: dict[str, Any] = {"dim": axes, "keepdim": self.keepdims, "method": method, "skips_nan": self.skips_nan}
        shape = (*places.shape, *reduced(x, axes, self.keepdims))
        return b.call("quantile", x, shape=shape, q=places.tolist(), **args)


class Median(Quantiles, frozen=True, kw_only=True):
    def apply(self, b: Builder, x: Any) -> Value:
        return self.at(b, x, 0.5, "linear")


class Quantile(Quantiles, frozen=True, kw_only=True):
    """heeded  whether Keras passes its `method` on: the node Quantile of every Keras interpolates linearly"""

    method: Method = "linear"
    heeded: ClassVar[bool] = True

    def apply(self, b: Builder, x: Any, q: Any) -> Value:
        if self.heeded or self.method == "linear":
            return self.at(b, x, q, self.method)
        b.note(
            f"Keras leaves the method {self.method!r} of this node aside and interpolates linearly, and so does h5port"
        )
        return self.at(b, x, q, "linear")


declare("Median", Median, examples=OVER)
declare("Nanmedian", Median, skips_nan=True, examples=FLOATS_OVER)
for _name, _per, _q in (("Quantile", 1.0, 0.3), ("Percentile", 100.0, 30)):
    _examples = (
        *(example(on=((5, 4),), axis=a, keepdims=k, args=["x0", _q]) for a, k in ((None, False), (1, True))),
        example(on=((5, 4),), axis=[1, 2], args=["x0", _q], method="nearest"),
        example(on=((5, 4),), axis=1, args=["x0", [_q, 0.75 * _per]], method="lower"),
        example(on=((5, 4),), axis=-1, keepdims=True, args=["x0", [_q, 0.75 * _per, 1.0]], method="higher"),
        example(on=((5, 4),), axis=1, args=["x0", _q], method="midpoint"),
    )
    declare(_name, Quantile, per=_per, heeded=_name != "Quantile", examples=_examples)
    declare(f"Nan{_name.lower()}", Quantile, per=_per, skips_nan=True, examples=_examples)
