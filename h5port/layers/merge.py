"""Layers that join several tensors: Keras 2's merge classes and Keras 1's `Merge` with a mode."""

from __future__ import annotations

from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.module.program import Shape


def broadcast(shapes: list[Shape]) -> Shape:
    """numpy's broadcast of shapes in which sizes may be unknown."""
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    return tuple(_broadcast_size([s[i] for s in padded]) for i in range(rank))


def _broadcast_size(sizes: list[int | None]) -> int | None:
    known = {n for n in sizes if n is not None and n != 1}
    if len(known) > 1:
        raise refusal("shape-mismatch", f"sizes {sizes} cannot be merged")
    if known:
        return known.pop()
    return None if None in sizes else 1


def inputs_of(x: Any) -> list[Value]:
    if isinstance(x, dict):
        x = list(x.values())
    if not isinstance(x, list) or not all(isinstance(v, Value) for v in x):
        raise refusal("unsupported-graph", "a merge layer on something else than a list of tensors")
    return x


def merged_mask(b: Builder, values: list[Value]) -> Value | None:
    """The mask of a merge by element, by the writer's rule."""
    masks = [v.mask for v in values if v.mask is not None]
    if not masks:
        return None
    rule = b.rule("merge_mask")
    if rule == "stop" or (rule == "or" and len(masks) < len(values)):
        return None
    return join_masks(b, masks, "logical_and" if rule == "and" else "logical_or")


def join_masks(b: Builder, masks: list[Value], function: str) -> Value:
    result = masks[0]
    for other in masks[1:]:
        shape = broadcast([result.known_shape, other.known_shape])
        result = b.call(function, result, other, shape=shape, dtype="bool", name="mask")
    return result


def same_rank(b: Builder, values: list[Value]) -> list[Value]:
    """Keras gives an input of lower rank new axes behind the batch (keras/src/layers/merging/base_merge.py)."""
    rank = max(v.rank for v in values)
    result = []
    for v in values:
        for _ in range(rank - v.rank):
            v = b.call("unsqueeze", v, shape=(v.dim(0), 1, *v.known_shape[1:]), dim=1).with_mask(v.mask)
        result.append(v)
    return result


class Elementwise(Layer, frozen=True, kw_only=True):
    """All inputs, element by element."""

    mask = "own"
    examples = (example(on=((7, 4), (4,), (7, 1))),)
    function: ClassVar[str]

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        return elementwise(b, self.function, inputs_of(x))


def elementwise(b: Builder, function: str, given: list[Value]) -> Value:
    if any(v.shape is None for v in given):
        values, shape = given, None
    else:
        values = same_rank(b, given)
        shape = broadcast([v.known_shape for v in values])
    masked = function in ("multiply", "maximum", "minimum") and any(v.mask for v in values)
    if masked and b.rule("merge_masked_steps") == "left out":
        return without_masked_steps(b, function, values)
    if function == "average":
        y = b.call("average", values, shape=shape)
    else:
        y = values[0]
        for other in values[1:]:
            y = b.call(function, y, other, shape=shape)
    return y.with_mask(merged_mask(b, given))


def without_masked_steps(b: Builder, function: str, values: list[Value]) -> Value:
    """A merge in which a masked step of one input leaves the others' as they are.

    keras/src/layers/merging/multiply.py and base_merge.py (_apply_merge_op_and_or_mask) of Keras 3.4.1 and later.
    """
    if any(v.mask is not None and v.mask.rank != v.rank - 1 for v in values):
        raise refusal("unsupported-graph", "a merge of masked inputs that have more than one axis of features")
    inputs = [[v, v.mask] for v in values]
    y = b.call(f"masked_{function}", inputs, shape=broadcast([v.known_shape for v in values]))
    return y.with_mask(merged_mask(b, values))


@declares("Add")
class Add(Elementwise, frozen=True, kw_only=True):
    function = "add"


@declares("Multiply")
class Multiply(Elementwise, frozen=True, kw_only=True):
    function = "multiply"


@declares("Average")
class Average(Elementwise, frozen=True, kw_only=True):
    function = "average"


@declares("Maximum")
class Maximum(Elementwise, frozen=True, kw_only=True):
    function = "maximum"


@declares("Minimum")
class Minimum(Elementwise, frozen=True, kw_only=True):
    function = "minimum"


@declares("Subtract")
class Subtract(Elementwise, frozen=True, kw_only=True):
    function = "subtract"
    examples = (example(on=((7, 4), (1, 4))),)

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        values = inputs_of(x)
        if len(values) != 2:
            raise refusal("unsupported-graph", f"Subtract of {len(values)} inputs")
        return elementwise(b, "subtract", values)


@declares("Concatenate")
class Concatenate(Layer, frozen=True, kw_only=True):
    axis: int = -1
    mask = "own"
    examples = (example(on=((7, 4), (7, 5))), example(on=((7, 4), (6, 4)), axis=1))

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        return concatenate(b, inputs_of(x), self.axis)


def concatenate(b: Builder, values: list[Value], axis: int) -> Value:
    if any(v.shape is None for v in values):
        return b.call("concatenate", values, shape=None, dim=axis)
    rank = values[0].rank
    sizes = [v.dim(axis) for v in values]
    total = None if None in sizes else sum(n for n in sizes if n is not None)
    shape = list(broadcast([(*v.known_shape[: axis % rank], 1, *v.known_shape[axis % rank + 1 :]) for v in values]))
    shape[axis % rank] = total
    y = b.call("concatenate", values, shape=tuple(shape), dim=axis)
    return y.with_mask(_concatenated_mask(b, values, axis % rank))


def all_valid(b: Builder, mask: Value) -> Value:
    return b.emit("ones_like", mask, shape=mask.shape, dtype="bool", name="mask", args={"dtype": "bool"})


def _concatenated_mask(b: Builder, values: list[Value], axis: int) -> Value | None:
    """Masks joined as Keras joins them: an input without one is valid throughout."""
    masked = [v for v in values if v.mask is not None]
    rule = b.rule("merge_mask")
    if not masked or rule == "stop":
        return None
    mask_rank = masked[0].mask.rank if masked[0].mask else 0
    if axis >= mask_rank:  # features are joined: the masks lie one upon the other
        masks = [v.mask for v in masked if v.mask is not None]
        if rule == "or" and len(masked) < len(values):
            return all_valid(b, masks[0])
        return join_masks(b, masks, "logical_and" if rule == "and" else "logical_or")
    if len(masked) < len(values) and b.rule("steps_of_half_masked_inputs") == "refuse":
        raise refusal("unsupported-graph", "steps of masked and unmasked inputs are joined: Keras itself fails at this")
    parts = [
        v.mask
        if v.mask is not None
        else b.call("steps_valid", v, shape=v.known_shape[:mask_rank], dtype="bool", name="mask", dims=mask_rank)
        for v in values
    ]
    sizes = [p.dim(axis) for p in parts]
    total = None if None in sizes else sum(n for n in sizes if n is not None)
    shape = [*parts[0].known_shape]
    shape[axis] = total
    return b.call("concatenate", parts, shape=tuple(shape), dtype="bool", name="mask", dim=axis)


@declares("Dot")
class Dot(Layer, frozen=True, kw_only=True):
    axes: int | list[int]
    normalize: bool = False
    mask = "own"
    floats_only = True
    examples = (example(on=((7, 4), (7, 5)), axes=1), example(on=((7, 4), (6, 4)), axes=-1, normalize=True))

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        one, two = inputs_of(x)
        axes = [self.axes, self.axes] if isinstance(self.axes, int) else list(self.axes)
        if len(axes) != 2:
            raise refusal("unsupported-option", f"Dot with the axes {axes}")
        axes = [a % v.rank for a, v in zip(axes, (one, two), strict=True)]
        if self.normalize:
            floor = b.rule("dot_normalize_floor")
            one, two = (
                b.call("l2_normalize", v, shape=v.shape, dim=a, floor=floor)
                for v, a in zip((one, two), axes, strict=True)
            )
        return batch_dot(b, one, two, axes)


def batch_dot(b: Builder, one: Value, two: Value, axes: list[int]) -> Value:
    """keras/src/layers/merging/dot.py, batch_dot: one axis of each is summed, the batch is kept."""
    left = [i for i in range(1, one.rank) if i != axes[0]]
    right = [i for i in range(1, two.rank) if i != axes[1]]
    shape = (one.dim(0), *(one.dim(i) for i in left), *(two.dim(i) for i in right))
    letters = "abcdefghijklmnopqrstuvwxyz"
    a = letters[: one.rank]
    c = letters[0] + letters[one.rank : one.rank + two.rank - 1]
    c = c[: axes[1]] + a[axes[0]] + c[axes[1] + 1 :]
    result = "a" + "".join(a[i] for i in left) + "".join(c[i] for i in right)
    y = b.call("einsum", one, two, shape=shape, equation=f"{a},{c}->{result}")
    return y if len(shape) > 1 else b.call("unsqueeze", y, shape=(shape[0], 1), dim=1)


@declares("Merge")
class Merge(Layer, frozen=True, kw_only=True):
    """Keras 1 (engine/topology.py, Merge)."""

    last = "keras1"

    mode: Any
    concat_axis: int = -1
    dot_axes: Any = -1
    mask = "own"
    inert = frozenset(
        """mode_type output_shape output_shape_type output_mask output_mask_type arguments
        node_indices tensor_indices layers""".split()
    )
    _functions: ClassVar[dict[str, str]] = {"sum": "add", "mul": "multiply", "ave": "average", "max": "maximum"}

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        values = inputs_of(x)
        if not isinstance(self.mode, str):
            raise refusal("lambda", "a Merge whose mode is a Python function; it is not executed")
        if self.mode in self._functions:
            return elementwise(b, self._functions[self.mode], values)
        if self.mode == "concat":
            return concatenate(b, values, self.concat_axis)
        if self.mode in ("dot", "cos"):
            return self._dot(b, *values)
        if self.mode == "join":
            return values
        raise refusal("unsupported-option", f"Merge of mode {self.mode!r}: it is the name of a Python function")

    def _dot(self, b: Builder, one: Value, two: Value) -> Value:
        axes = [a % v.rank for a, v in zip(self._axes(b, one), (one, two), strict=True)]
        product = batch_dot(b, one, two, axes)
        if self.mode == "dot":
            return product
        if one.rank > 2:
            raise refusal("unsupported-option", "Merge of mode 'cos' on sequences: the backends of Keras 1 differ here")
        squares = [batch_dot(b, v, v, [a, a]) for v, a in zip((one, two), axes, strict=True)]
        y = b.call("cosine", product, *squares, shape=product.shape, epsilon=b.rule("cos_epsilon"))
        if not b.rule("cos_extra_axis"):
            return y
        return b.call("unsqueeze", y, shape=(y.dim(0), 1, *y.known_shape[1:]), dim=1)

    def _axes(self, b: Builder, one: Value) -> list[int]:
        """The axis of each input. Keras 0 means by a positive number the last axis of one, the first of the other."""
        axes = self.dot_axes
        if isinstance(axes, int):
            last_and_first = axes > 0 and b.rule("dot_axes") == "last and first"
            axes = [one.rank - axes, 1] if last_and_first else [axes, axes]
        if any(isinstance(a, list) and len(a) != 1 for a in axes):
            raise refusal("unsupported-option", f"Merge with dot_axes {self.dot_axes}")
        return [a[0] if isinstance(a, list) else a for a in axes]
