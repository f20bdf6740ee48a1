"""Operations of linear algebra, on the last two axes.

keras/src/ops/linalg.py and keras/src/backend/tensorflow/linalg.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers.base import Example, example
from h5port.layers.builder import Builder, Value
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.operation import Operation, axes_of, declare, floats, operation, reduced, tensors

SQUARE = (example(on=((3, 3),)),)


def matrix(b: Builder, x: Any, *, square: bool = False) -> Value:
    (found,) = floats(b, x)
    if found.rank < 2 or (square and found.dim(-1) != found.dim(-2)):
        raise refusal("shape-mismatch", f"{b.layer.class_name} of a tensor of the shape {list(found.known_shape)}")
    return found


class OfSquare(Operation, frozen=True, kw_only=True):
    """A function of square matrices. gives: "matrix" or "number"."""

    function: ClassVar[str]
    gives: ClassVar[Literal["matrix", "number"]] = "matrix"
    examples: ClassVar[tuple[Example, ...]] = SQUARE

    def apply(self, b: Builder, x: Any) -> Value:
        x = matrix(b, x, square=True)
        return b.call(self.function, x, shape=x.shape if self.gives == "matrix" else x.known_shape[:-2])


declare("Det", OfSquare, function="determinant", gives="number")
declare("Inv", OfSquare, function="inverse")
declare("Logdet", OfSquare, function="log_determinant", gives="number")


class Triangular(Operation, frozen=True, kw_only=True):
    upper: bool = False
    function: ClassVar[str]
    examples = (example(on=((3, 3),)), example(on=((3, 3),), upper=True))

    def apply(self, b: Builder, x: Any) -> Value:
        x = matrix(b, x, square=True)
        return b.call(self.function, x, shape=x.shape, upper=self.upper)


declare("Cholesky", Triangular, function="cholesky")
declare("CholeskyInverse", Triangular, function="inverse_of_cholesky")


@operation("MatrixRank")
class MatrixRank(Operation, frozen=True, kw_only=True):
    tol: float | None = None
    examples = (example(on=((3, 4),)), example(on=((3, 4),), tol=1.5))

    def apply(self, b: Builder, x: Any) -> Value:
        x = matrix(b, x)
        return b.call("matrix_rank", x, shape=x.known_shape[:-2], dtype="int32", tol=self.tol)


@operation("Pinv")
class Pinv(Operation, frozen=True, kw_only=True):
    rcond: float | None = None
    examples = (example(on=((3, 4),)), example(on=((3, 4),), rcond=0.5))

    def apply(self, b: Builder, x: Any) -> Value:
        x = matrix(b, x)
        shape = (*x.known_shape[:-2], x.dim(-1), x.dim(-2))
        return b.call("pseudo_inverse", x, shape=shape, rcond=self.rcond)


@operation("Qr")
class Qr(Operation, frozen=True, kw_only=True):
    mode: Literal["reduced", "complete"] = "reduced"
    examples = tuple(example(on=(size,), mode=m) for size in ((3, 3), (4, 3), (3, 4)) for m in ("reduced", "complete"))

    def apply(self, b: Builder, x: Any) -> list[Value]:
        x = matrix(b, x)
        m, n = x.known_shape[-2:]
        inner = m if self.mode == "complete" else None if m is None or n is None else min(m, n)
        base = x.known_shape[:-2]
        return b.calls("qr", x, shapes=[(*base, m, inner), (*base, inner, n)], mode=self.mode)


@operation("SVD")
class SVD(Operation, frozen=True, kw_only=True):
    full_matrices: bool = True
    compute_uv: bool = True
    examples = (example(on=((3, 4),), compute_uv=False),)

    def apply(self, b: Builder, x: Any) -> Value:
        x = matrix(b, x)
        if self.compute_uv:
            raise refusal(
                "unsupported-option", "singular vectors: their signs are not defined, and Keras' backends differ"
            )
        m, n = x.known_shape[-2:]
        shape = (*x.known_shape[:-2], None if m is None or n is None else min(m, n))
        return b.call("singular_values", x, shape=shape)


def _solved(b: Builder, function: str, a: Any, right: Any, **args: Any) -> Value:
    """x of a x = right, which is a vector if it has an axis less than a."""
    a, right = floats(b, a, right)
    a = matrix(b, a, square=True)
    args["vector"] = right.rank == a.rank - 1
    return b.call(function, a, right, shape=right.shape, dtype=right.dtype, **args)


@operation("Solve")
class Solve(Operation, frozen=True, kw_only=True):
    examples = (example(on=((3, 3), (3, 2))), example(on=((3, 3), (3,))))

    def apply(self, b: Builder, a: Any, right: Any) -> Value:
        return _solved(b, "solve", a, right)


@operation("SolveTriangular")
class SolveTriangular(Operation, frozen=True, kw_only=True, rename={"is_lower": "lower"}):
    is_lower: bool = False
    examples = (example(on=((3, 3), (3, 2))), example(on=((3, 3), (3,)), lower=True))

    def apply(self, b: Builder, a: Any, right: Any) -> Value:
        return _solved(b, "solve_triangular", a, right, upper=not self.is_lower)


@operation("Lstsq")
class Lstsq(Operation, frozen=True, kw_only=True):
    """The solution of least squares; small singular values count as none."""

    rcond: float | None = None
    examples = (example(on=((3,), (2,))), example(on=((3,), ()), rcond=0.5))

    def apply(self, b: Builder, a: Any, right: Any) -> Value:
        a, right = floats(b, a, right)
        if a.rank != 2 or right.rank not in (1, 2):
            raise refusal("shape-mismatch", f"least squares of tensors of {a.rank} and {right.rank} axes")
        shape = (a.dim(1), *right.known_shape[1:])
        return b.call("least_squares", a, right, shape=shape, rcond=self.rcond)


def norm(b: Builder, x: Value, order: Any, axis: int | list[int] | None, *, keepdims: bool) -> Value:
    """keras/src/backend/tensorflow/linalg.py, norm: of vectors along one axis, of matrices along two."""
    axes = axes_of(axis, x.rank)
    shape: Shape = reduced(x, axes, keepdims)
    if len(axes) == 1 and not isinstance(order, str):
        return b.call("vector_norm", x, shape=shape, order=2 if order is None else order, dim=axes[0], keepdim=keepdims)
    if len(axes) == 2 and order in (None, "fro", "nuc", 1, -1, 2, -2, float("inf"), float("-inf")):
        return b.call("matrix_norm", x, shape=shape, order=order or "fro", dim=axes, keepdim=keepdims)
    raise refusal("unsupported-option", f"a norm of the order {order!r} over {len(axes)} axes")


@operation("Norm")
class Norm(Operation, frozen=True, kw_only=True):
    ord: int | float | str | None = None
    axis: int | list[int] | None = None
    keepdims: bool = False
    examples = (
        *(example(on=((5, 4),), axis=[1, 2], ord=o) for o in ("fro", "nuc", 1, -1, 2, -2, float("inf"), None)),
        *(example(on=((5, 4),), axis=-1, ord=o, keepdims=True) for o in (None, 0, 1, 3, float("inf"), float("-inf"))),
        example(on=((5, 4),), dtype="int32", axis=1),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return norm(b, b.cast(x, dtypes.floating(x.dtype)), self.ord, self.axis, keepdims=self.keepdims)
