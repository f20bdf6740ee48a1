"""Categories as numbers: one-hot rows, and what is in a sample, counted or not."""

from __future__ import annotations

from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.module.program import Shape

OutputMode = Literal["int", "one_hot", "multi_hot", "count"]


def encoded(
    b: Builder, ids: Value, mode: str, depth: int, dtype: str, *, last: str = "squeezed", weights: Value | None = None
) -> Value:
    """Indices as an output mode wants them: themselves, or rows of `depth` numbers.

    Others than 0 ... depth-1 are left out of the rows.
    keras/src/utils/numerical_utils.py of Keras 3.15, encode_categorical_inputs.

    last     what one-hot rows do with a last axis of one: it is "squeezed" away or "kept"
    weights  what each counts for in the mode `count`
    """
    shape = ids.known_shape
    if mode == "int":
        return b.call("cast", ids, shape=shape, dtype=dtype, to=dtype)
    if mode == "one_hot":
        if len(shape) > 1 and shape[-1] == 1 and last == "squeezed":
            shape = shape[:-1]
            ids = b.call("squeeze", ids, shape=shape, dim=-1)
        return b.emit("one_hot", ids, shape=(*shape, depth), dtype=dtype, args={"depth": depth, "dtype": dtype})
    axis = _sample_axis(b, len(shape))
    out: Shape = (*shape[:axis], *shape[axis + 1 :], depth)
    if axis != len(shape) - 1:
        ids = b.call("movedim", ids, shape=(*out[:-1], shape[axis]), source=axis, to=-1)
    inputs = [ids] if weights is None else [ids, weights]
    function = {"count": "counts", "multi_hot": "multi_hot"}[mode]
    return b.emit(function, *inputs, shape=out, dtype=dtype, args={"depth": depth, "dtype": dtype})


def _sample_axis(b: Builder, rank: int) -> int:
    """The axis along which a sample lies: Keras reduces the second, also where there are more than two."""
    if rank > 2 and b.rule("categories_of_rank_3") == "refuse":
        raise refusal(
            "unsupported-graph", f"what is in a sample of {rank} axes: {b.writer} refuses it or means something else"
        )
    return min(rank - 1, 1)


@declares("CategoryEncoding")
class CategoryEncoding(Layer, frozen=True, kw_only=True):
    """Integers as one-hot rows, or what is in a sample.

    keras/src/layers/preprocessing/category_encoding.py of Keras 3.15.
    """

    num_tokens: int
    output_mode: Literal["one_hot", "multi_hot", "count"] = "multi_hot"
    sparse: Literal[False] = False
    mask = "stops"
    takes_arguments = True
    examples = (
        example(on=((5,),), dtype="int32", num_tokens=4),
        example(on=((5,),), dtype="int32", num_tokens=4, output_mode="count"),
        example(on=((5,),), dtype="int32", num_tokens=4, output_mode="one_hot"),
        example(on=((1,),), dtype="int64", num_tokens=4, output_mode="one_hot"),
    )

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        (weights,) = kwargs.pop("positional", [None])
        weights = kwargs.pop("count_weights", weights)
        if kwargs:
            raise refusal("unsupported-graph", f"arguments of a call that h5port does not know: {sorted(kwargs)}")
        if weights is not None and self.output_mode != "count":
            raise refusal("unsupported-graph", f"count_weights in the output mode {self.output_mode!r}")
        ids = b.cast(b.program.before_cast(x), "int64")
        weights = None if weights is None else b.cast(weights, output_dtype(b))
        last = b.rule("one_hot_last_axis")
        return encoded(b, ids, self.output_mode, self.num_tokens, output_dtype(b), last=last, weights=weights)


def output_dtype(b: Builder) -> str:
    """The dtype of a layer that may be asked to give integers; one whose dtype is that of its strings gives floats."""
    dtype = b.layer.dtype or ""
    if dtype == "string":
        return b.building.floatx
    return dtype if dtype.startswith(("int", "uint")) else b.dtype
