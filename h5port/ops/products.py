"""Products of vectors, matrices and tensors; diagonals and triangles.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.dtypes import Rule
from h5port.ops.operation import Operation, axes_of, declare, listed, operation, size_of, tensors
from h5port.ops.shaping import permuted, resized


def factors(b: Builder, *given: Any, rule: Rule = dtypes.product) -> tuple[list[Value], str]:
    """The factors in the type that TensorFlow multiplies them in, and the type of the product."""
    values = tensors(b, *given)
    dtype = dtypes.result_type(*(v.dtype for v in values))
    if all(v.dtype == "int8" for v in values) and rule is dtypes.product:
        dtype = "int32"
    return [b.cast(v, rule(dtype)) for v in values], dtype


def times(one: Shape, two: Shape) -> Shape:
    """The shape of numpy.matmul."""
    left, right = (1, *one) if len(one) == 1 else one, (*two, 1) if len(two) == 1 else two
    if not one or not two or (None not in (left[-1], right[-2]) and left[-1] != right[-2]):
        raise refusal("bad-config", f"the product of tensors of the shapes {one} and {two}")
    batch = broadcast([left[:-2], right[:-2]]) if len(left) > 2 or len(right) > 2 else ()
    return (*batch, *left[-2:-1][: len(one) > 1], *right[-1:][: len(two) > 1])


@operation("Matmul")
class Matmul(Operation, frozen=True, kw_only=True):
    examples = (
        example(on=((5, 4), (4, 3))),
        example(on=((2, 5, 4), (1, 4, 3))),
        example(on=((5, 4), (4, 3)), dtype="int32"),
        example(on=((5, 4), (4, 3)), dtype="int8"),
        example(on=((5, 4),), args=["x0", [0.5, -1.0, 2.0, 3.0]]),
    )

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        (one, two), dtype = factors(b, x1, x2)
        return b.cast(b.call("matmul", one, two, shape=times(one.known_shape, two.known_shape)), dtype)


def contracted(b: Builder, one: Value, two: Value, axes: list[list[int]]) -> Value:
    left, right = axes_of(axes[0], one.rank), axes_of(axes[1], two.rank)
    sizes = [(one.dim(i), two.dim(k)) for i, k in zip(left, right, strict=False)]
    if len(left) != len(right) or any(None not in pair and pair[0] != pair[1] for pair in sizes):
        raise refusal("bad-config", f"tensors of the shapes {one.shape} and {two.shape} multiplied over {axes}")
    shape = [n for i, n in enumerate(one.known_shape) if i not in left]
    shape += [n for i, n in enumerate(two.known_shape) if i not in right]
    return b.call("tensordot", one, two, shape=tuple(shape), axes=[left, right])


@operation("Tensordot")
class Tensordot(Operation, frozen=True, kw_only=True):
    axes: int | list[list[int]] = 2
    examples = (
        example(on=((5, 4),), axes=1, args=["x0", [[1.0, 2.0], [3.0, 4.0], [5.0, -6.0], [0.5, 0.25]]]),
        example(on=((4,), (4,)), axes=[[1], [1]]),
        example(on=((4,), (3,)), axes=0),
        example(on=((4,), (4,)), axes=[[1], [-1]], dtype="int32"),
    )

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        (one, two), dtype = factors(b, x1, x2)
        n = self.axes
        axes = [list(range(one.rank - n, one.rank)), list(range(n))] if isinstance(n, int) else n
        return b.cast(contracted(b, one, two, axes), dtype)


class Product(Operation, frozen=True, kw_only=True):
    """A product that TensorFlow computes in floating point, whatever its type."""

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        (one, two), dtype = factors(b, x1, x2, rule=dtypes.floating)
        if one.rank == 0 or two.rank == 0:
            return b.cast(b.call("multiply", one, two, shape=one.shape if one.rank else two.shape), dtype)
        return b.cast(self.of(b, one, two), dtype)

    def of(self, b: Builder, one: Value, two: Value) -> Value:
        raise NotImplementedError


@operation("Dot")
class Dot(Product, frozen=True, kw_only=True):
    """The last axis of one, the last but one (or only) axis of the other."""

    examples = (
        example(on=((5, 4),), args=["x0", [[1.0, 2.0], [3.0, 4.0], [5.0, -6.0], [0.5, 0.25]]]),
        example(on=((5, 4),), args=["x0", [1, -2, 3, 4]], dtype="int32"),
        example(on=((5, 4),), args=["x0", 2.5]),
        example(on=((), ())),
    )

    def of(self, b: Builder, one: Value, two: Value) -> Value:
        return contracted(b, one, two, [[-1], [max(0, two.rank - 2)]])


@operation("Inner")
class Inner(Product, frozen=True, kw_only=True):
    examples = (example(on=((5, 4), (4,))), example(on=((5, 4),), args=["x0", [0.5, -1.0, 2.0, 3.0]]))

    def of(self, b: Builder, one: Value, two: Value) -> Value:
        return contracted(b, one, two, [[-1], [-1]])


@operation("Vdot")
class Vdot(Product, frozen=True, kw_only=True):
    examples = (example(on=((5, 4), (5, 4))), example(on=((4,), (4,)), dtype="int32"))

    def of(self, b: Builder, one: Value, two: Value) -> Value:
        one, two = (b.call("ravel", v, shape=(size_of(v.known_shape),)) for v in (one, two))
        return contracted(b, one, two, [[0], [0]])


@operation("Outer")
class Outer(Operation, frozen=True, kw_only=True):
    examples = (example(on=((4,), ())), example(on=((4,), (2,)), dtype="int32"))

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two = listed(b, [x1, x2])
        shape = (size_of(one.known_shape), size_of(two.known_shape))
        return b.call("outer", one, two, shape=shape)


@operation("Kron")
class Kron(Operation, frozen=True, kw_only=True):
    examples = (example(on=((4,), (2,))), example(on=((4,), (2,)), dtype="int32"))

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two = listed(b, [x1, x2])
        if one.rank != two.rank:
            raise refusal("unsupported-graph", "ops.kron of tensors of different rank: Keras itself fails at it")
        sizes = zip(one.known_shape, two.known_shape, strict=True)
        shape = tuple(None if n is None or m is None else n * m for n, m in sizes)
        return b.call("kron", one, two, shape=shape)


@operation("Cross")
class Cross(Operation, frozen=True, kw_only=True):
    """Vectors of two or three elements; TensorFlow takes them from the last axis unless told otherwise."""

    axisa: int = -1
    axisb: int = -1
    axisc: int = -1
    axis: int | None = None
    examples = (
        example(on=((5, 3), (5, 3))),
        example(on=((5, 2), (5, 3))),
        example(on=((5, 2), (5, 2))),
        example(on=((3, 5), (5, 3)), axisa=1, axisc=0),
        example(on=((3, 5), (3, 5)), axis=1),
    )

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two = listed(b, [x1, x2])
        axisa, axisb, axisc = (self.axisa, self.axisb, self.axisc) if self.axis is None else (self.axis,) * 3
        vectors = [_last(b, one, axisa), _last(b, two, axisb)]
        sizes = [v.dim(-1) for v in vectors]
        if any(n not in (2, 3) for n in sizes):
            raise refusal("unsupported-graph", f"ops.cross of vectors of {sizes} elements")
        batch = broadcast([v.known_shape[:-1] for v in vectors])
        vectors = [_three(b, v) for v in vectors]
        y = b.call("cross", *vectors, shape=(*batch, 3))
        if sizes == [2, 2]:
            return b.call("subscript", y, shape=batch, key=[*[[None, None, None]] * len(batch), 2])
        (to,) = axes_of(axisc, y.rank)
        order = list(range(y.rank - 1))
        order.insert(to, y.rank - 1)
        return y if to == y.rank - 1 else permuted(b, y, order)


def _last(b: Builder, x: Value, axis: int) -> Value:
    (at,) = axes_of(axis, x.rank)
    return x if at == x.rank - 1 else permuted(b, x, [*(i for i in range(x.rank) if i != at), at])


def _three(b: Builder, x: Value) -> Value:
    return x if x.dim(-1) == 3 else b.call("pad", x, shape=resized(x, x.rank - 1, 3), pads=[0, 1], fill=0)


@operation("Einsum")
class Einsum(Operation, frozen=True, kw_only=True):
    subscripts: str
    examples = (
        example(on=((5, 4), (4, 3)), subscripts="bij,bjk->bik"),
        example(on=((5, 4), (5, 4)), subscripts="bij,bij->b", dtype="int32"),
        example(on=((5, 4),), subscripts="...ij->...ji"),
        example(on=((5, 4), (5, 4), (5,)), subscripts="bij,bik,bi->bjk"),
        example(on=((2, 5, 4), (2, 4, 3)), subscripts="...ij,...jk->...ik"),
        example(on=((5, 4), (5, 3)), subscripts="bij,bik"),
    )

    def apply(self, b: Builder, *operands: Any) -> Value:
        values, dtype = factors(b, *operands)
        shape = einsum_shape(self.subscripts.replace(" ", ""), [v.known_shape for v in values])
        return b.cast(b.call("einsum_of", values, shape=shape, equation=self.subscripts), dtype)


def einsum_shape(equation: str, shapes: list[Shape]) -> Shape:
    """The shape of an Einstein sum; a letter that stands once is kept where no result is named."""
    inputs, arrow, result = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(shapes):
        raise refusal("bad-config", f"einsum {equation!r} of {len(shapes)} tensors")
    sizes: dict[str, list[int | None]] = {}
    dots: list[Shape] = []
    for term, shape in zip(terms, shapes, strict=True):
        before, ellipsis, after = term.partition("...")
        middle = len(shape) - len(before) - len(after)
        if middle < 0 or (middle and not ellipsis):
            raise refusal("bad-config", f"einsum {equation!r} of tensors of the shapes {shapes}")
        named = [*shape[: len(before)], *shape[len(shape) - len(after) :]]
        for letter, size in zip(before + after, named, strict=True):
            sizes.setdefault(letter, []).append(size)
        if ellipsis:
            dots.append(shape[len(before) : len(before) + middle])
    wide = broadcast(dots) if dots else ()
    if not arrow:
        once = sorted(c for c in sizes if inputs.count(c) == 1)
        result = ("..." if dots else "") + "".join(once)
    before, ellipsis, after = result.partition("...")
    if not set(before + after) <= sizes.keys():
        raise refusal("bad-config", f"einsum {equation!r}")
    known = {c: broadcast([(n,) for n in of])[0] for c, of in sizes.items()}
    return (*(known[c] for c in before), *(wide if ellipsis else ()), *(known[c] for c in after))


# ---- diagonals and triangles


def diagonal_size(rows: int | None, columns: int | None, offset: int) -> int | None:
    if rows is None or columns is None:
        return None
    return max(0, min(rows, columns - offset) if offset > 0 else min(rows + offset, columns))


@operation("Diagonal")
class Diagonal(Operation, frozen=True, kw_only=True):
    offset: int = 0
    axis1: int = 0
    axis2: int = 1
    examples = (
        example(on=((5, 4),), axis1=1, axis2=2),
        example(on=((5, 4),), offset=1, axis1=1, axis2=-1),
        example(on=((5, 4),), offset=-2, axis1=2, axis2=1),
        example(on=((5, 4),)),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return diagonal(b, x, self.offset, self.axis1, self.axis2)


def diagonal(b: Builder, x: Value, offset: int, axis1: int, axis2: int) -> Value:
    one, two = axes_of([axis1, axis2], x.rank)
    if one == two:
        raise refusal("bad-config", f"the diagonal in the axes {axis1} and {axis2}")
    rest = [n for i, n in enumerate(x.known_shape) if i not in (one, two)]
    shape = (*rest, diagonal_size(x.dim(one), x.dim(two), offset))
    return b.call("diagonal", x, shape=shape, offset=offset, dim1=one, dim2=two)


@operation("Trace")
class Trace(Operation, frozen=True, kw_only=True):
    offset: int = 0
    axis1: int = 0
    axis2: int = 1
    examples = (*Diagonal.examples, example(on=((5, 4),), axis1=1, axis2=2, dtype="int8"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        y = diagonal(b, b.cast(x, dtypes.total(x.dtype)), self.offset, self.axis1, self.axis2)
        return b.call("sum_over", y, shape=y.known_shape[:-1], dim=[-1], keepdim=False)


@operation("Diag")
class Diag(Operation, frozen=True, kw_only=True):
    k: int = 0
    examples = tuple(example(on=(shape,), k=k) for shape in ((), (4,)) for k in (0, 1, -2))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if x.rank == 2:
            return diagonal(b, x, self.k, 0, 1)
        if x.rank != 1:
            raise refusal("bad-config", f"ops.diag of {x.rank} axes")
        return on_diagonal(b, x, self.k)


def on_diagonal(b: Builder, x: Value, offset: int) -> Value:
    size = x.dim(0)
    side = None if size is None else size + abs(offset)
    return b.call("on_diagonal", x, shape=(side, side), offset=offset)


@operation("Diagflat")
class Diagflat(Operation, frozen=True, kw_only=True):
    k: int = 0
    examples = (example(on=((4,),)), example(on=((),), k=1))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        flat = b.call("ravel", x, shape=(size_of(x.known_shape),))
        return on_diagonal(b, flat, self.k)


class Triangle(Operation, frozen=True, kw_only=True):
    k: int = 0
    function: ClassVar[str]
    examples = (*(example(on=((5, 4),), k=k) for k in (0, 1, -2)), example(on=((5, 4),), dtype="bool"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if x.rank < 2:
            raise refusal("bad-config", f"{b.layer.class_name} of {x.rank} axes")
        return b.call(self.function, x, shape=x.shape, k=self.k)


declare("Tril", Triangle, function="tril")
declare("Triu", Triangle, function="triu")


@operation("Slogdet")
class Slogdet(Operation, frozen=True, kw_only=True):
    examples = (example(on=((4, 4),)),)

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        if x.rank < 2 or x.dtype not in ("float32", "float64"):
            raise refusal("unsupported-graph", f"ops.slogdet of {x.dtype}, {x.rank} axes")
        return b.calls("slogdet", x, shapes=[x.known_shape[:-2]] * 2)
