"""Operations element by element: functions of one tensor and of two, comparisons, logic, bits.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1. Where its two backends differ,
TensorFlow's numbers are meant.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import Example, example
from h5port.layers.builder import Builder, Value
from h5port.layers.spatial import with_vector
from h5port.ops import dtypes
from h5port.ops.dtypes import FLOATS, INTS, Rule
from h5port.ops.operation import (
    Operation,
    array_of,
    broadcast_shape,
    declare,
    is_number,
    kind,
    operation,
    tensor,
    tensors,
)

# ---- of one tensor


class Unary(Operation, frozen=True, kw_only=True):
    """function   of runtime/functions
    rule       the type that the input is cast to
    gives      the type of the result, where it is not that one
    unchanged  the types of inputs that are given back as they are
    """

    function: ClassVar[str]
    rule: ClassVar[Rule] = dtypes.same
    gives: ClassVar[str | None] = None
    unchanged: ClassVar[tuple[str, ...]] = ()

    def apply(self, b: Builder, x: Any) -> Value:
        (given,) = tensors(b, x)
        if given.dtype in self.unchanged:
            return given
        given = b.cast(given, type(self).rule(given.dtype))
        return b.call(self.function, given, shape=given.shape, dtype=self.gives)


ANY = (example(on=((5, 4),)), example(on=((5, 4),), dtype="int32"))
FLOAT = (example(on=((5, 4),)),)
INT = (example(on=((5, 4),), dtype="int32"),)
COUNTED = ("bool", *INTS)


def _unary(
    name: str,
    function: str,
    rule: Rule = dtypes.floating,
    *,
    gives: str | None = None,
    unchanged: tuple[str, ...] = (),
    examples: tuple[Example, ...] = ANY,
) -> None:
    settings = {"function": function, "rule": staticmethod(rule), "gives": gives, "unchanged": unchanged}
    declare(name, Unary, **settings, examples=examples)


_unary("Absolute", "absolute", dtypes.same, unchanged=("bool", "uint8"))
_unary("Abs", "absolute", dtypes.same, unchanged=("bool", "uint8"))
_unary("Fabs", "absolute")
_unary("Negative", "negative", dtypes.same)
_unary("Sign", "sign", dtypes.same)
_unary("Square", "square", dtypes.number)
_unary("Sqrt", "sqrt")
_unary("Cbrt", "cbrt", dtypes.wide)
_unary("Reciprocal", "reciprocal", dtypes.same, examples=FLOAT)
_unary("Exp", "exp")
_unary("Exp2", "exp2")
_unary("Expm1", "expm1")
_unary("Log", "log")
_unary("Log10", "log10")
_unary("Log1p", "log1p")
_unary("Log2", "log2")
_unary("Sin", "sin")
_unary("Cos", "cos")
_unary("Tan", "tan")
_unary("Sinh", "sinh")
_unary("Cosh", "cosh")
_unary("Tanh", "tanh")
_unary("Arcsin", "arcsin")
_unary("Arccos", "arccos")
_unary("Arctan", "arctan")
_unary("Arcsinh", "arcsinh")
_unary("Arccosh", "arccosh")
_unary("Arctanh", "arctanh")
_unary("Sinc", "sinc")
_unary("I0", "bessel_i0", dtypes.wide)
_unary("Deg2rad", "deg2rad", dtypes.wide)
_unary("Rad2deg", "rad2deg", dtypes.wide)
_unary("Floor", "floor")
_unary("Ceil", "ceil")
_unary("Trunc", "trunc", dtypes.same, unchanged=COUNTED)
_unary("Isfinite", "isfinite", dtypes.same, gives="bool")
_unary("Isinf", "isinf", dtypes.same, gives="bool")
_unary("Isnan", "isnan", dtypes.same, gives="bool")
_unary("Isneginf", "isneginf", dtypes.same, gives="bool")
_unary("Isposinf", "isposinf", dtypes.same, gives="bool")
_unary("Signbit", "signbit", dtypes.same, gives="bool")
_unary("LogicalNot", "logical_not", dtypes.boolean)
_unary("BitwiseInvert", "bitwise_not", dtypes.same, examples=INT)
_unary("BitwiseNot", "bitwise_not", dtypes.same, examples=INT)
_unary("Copy", "identity", dtypes.same)
# tensors of complex numbers are refused: for all others these have one meaning
_unary("Conjugate", "identity", dtypes.same, unchanged=dtypes.ALL, examples=FLOAT)
_unary("Conj", "identity", dtypes.same, unchanged=dtypes.ALL, examples=FLOAT)
_unary("Real", "identity", dtypes.same, unchanged=dtypes.ALL, examples=FLOAT)
_unary("Imag", "nought", dtypes.same, examples=FLOAT)
_unary("Angle", "angle", examples=FLOAT)
_unary("Isreal", "always", dtypes.same, gives="bool", examples=FLOAT)


@operation("Clip")
class Clip(Operation, frozen=True, kw_only=True):
    x_min: float
    x_max: float
    examples = (example(on=((5, 4),), x_min=-0.5, x_max=0.25), example(on=((5, 4),), dtype="int32", x_min=1, x_max=3))

    def apply(self, b: Builder, x: Value) -> Value:
        x = b.cast(x, dtypes.number(x.dtype))
        whole = int if x.dtype in INTS else float  # TensorFlow casts the bounds
        return b.call("clip", x, shape=x.shape, low=whole(self.x_min), high=whole(self.x_max))


@operation("Round")
class Round(Operation, frozen=True, kw_only=True):
    decimals: int = 0
    examples = (*(example(on=((5, 4),), decimals=n) for n in (0, 1, -1)), example(on=((5, 4),), dtype="int32"))

    def apply(self, b: Builder, x: Value) -> Value:
        if dtypes.known(x.dtype) in COUNTED and self.decimals >= 0:
            return x
        if self.decimals == 0:
            return b.call("round_even", x, shape=x.shape)
        y = b.cast(x, dtypes.floating(x.dtype))
        return b.cast(b.call("round_decimals", y, shape=x.shape, factor=10.0**self.decimals), x.dtype)


@operation("NanToNum")
class NanToNum(Operation, frozen=True, kw_only=True):
    nan: float = 0.0
    posinf: float | None = None
    neginf: float | None = None
    examples = (example(on=((5, 4),)), example(on=((5, 4),), nan=1.0, posinf=2.0, neginf=-2.0))

    def apply(self, b: Builder, x: Value) -> Value:
        if dtypes.known(x.dtype) in COUNTED:
            return x
        return b.call("nan_to_num", x, shape=x.shape, nan=self.nan, posinf=self.posinf, neginf=self.neginf)


@operation("View")
class View(Operation, frozen=True, kw_only=True):
    """The same bits as numbers of another type."""

    dtype: str | None = None
    examples = (example(on=((5, 4),), gives="int32"), example(on=((5, 4),), gives="uint8"))
    _bits: ClassVar[dict[str, int]] = {
        **dict.fromkeys(("bool", "uint8", "int8"), 8),
        **dict.fromkeys(("int16", "float16", "bfloat16"), 16),
        **dict.fromkeys(("int32", "float32"), 32),
        **dict.fromkeys(("int64", "float64"), 64),
    }

    def apply(self, b: Builder, x: Value) -> Value:
        dtype = dtypes.known(b.layer.dtype or x.dtype)
        old, new = self._bits[dtypes.known(x.dtype)], self._bits[dtype]
        if "bool" in (x.dtype, dtype) and x.dtype != dtype:
            raise refusal("unsupported-option", "View of booleans as another type, or of another type as booleans")
        shape = x.known_shape
        if old != new:
            shape = (*shape[:-1], None if shape[-1] is None else shape[-1] * old // new)
        return b.emit("bits_as", x, shape=shape, dtype=dtype, args={"dtype": dtype})


# ---- of two tensors


class Binary(Operation, frozen=True, kw_only=True):
    """function  of runtime/functions
    rule      what the common type of both operands becomes before they are cast to it
    gives     the type of the result, where it is not that one
    numbers   whether the function takes a Python number for one of its operands
    weak      whether Keras lets a Python number give way to the type of the tensor
    """

    function: ClassVar[str]
    rule: ClassVar[Rule] = dtypes.same
    gives: ClassVar[str | None] = None
    numbers: ClassVar[bool] = True
    weak: ClassVar[bool] = True

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        return self.both(b, x1, x2)

    def both(self, b: Builder, x1: Any, x2: Any, **args: Any) -> Value:
        if not self.weak or is_number(x1) is is_number(x2):
            x1, x2 = tensors(b, x1, x2)
        one, two, dtype = in_common(b, x1, x2, type(self).rule, numbers=self.numbers)
        shape = broadcast_shape(one, two)
        return b.call(self.function, one, two, shape=shape, dtype=self.gives or dtype, **args)


class Sum(Binary, frozen=True, kw_only=True):
    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        if isinstance(x1, Value) and x1.shape is not None:
            shape = x2.shape if isinstance(x2, Value) else np.shape(array_of(x2).value)
            x1 = with_vector(b, x1, x1.shape, shape or ())
        return self.both(b, x1, x2)


def in_common(b: Builder, x1: Any, x2: Any, rule: Rule = dtypes.same, *, numbers: bool = True) -> tuple[Any, Any, str]:
    """Both operands in their common type, and that type. With `numbers` Python's numbers stay what they are."""
    dtype = rule(dtypes.result_type(kind(x1), kind(x2)))
    like = x1 if isinstance(x1, Value) else x2
    if not isinstance(like, Value):
        raise refusal("unsupported-graph", "an operation on constants alone")
    one, two = (x if numbers and is_number(x) else b.cast(tensor(b, x, like), dtype) for x in (x1, x2))
    return one, two, dtype


PAIR = (example(on=((5, 4), (5, 4))), example(on=((5, 4), (1, 4))))
INTS_TOO = (*PAIR, example(on=((5, 4), (5, 4)), dtype="int32"))
INT_PAIR = (example(on=((5, 4), (5, 4)), dtype="int32"), example(on=((5, 1), (5, 4)), dtype="int64"))


def _binary(
    name: str,
    function: str,
    rule: Rule = dtypes.same,
    *,
    gives: str | None = None,
    numbers: bool = True,
    weak: bool = True,
    base: type[Binary] = Binary,
    examples: tuple[Example, ...] = INTS_TOO,
) -> None:
    settings = {"function": function, "rule": staticmethod(rule), "gives": gives, "numbers": numbers, "weak": weak}
    declare(name, base, **settings, examples=examples)


_binary("Add", "add", base=Sum)
_binary("Subtract", "subtract")
_binary("Multiply", "multiply")
_binary("Divide", "divide", dtypes.floating)
_binary("TrueDivide", "divide", dtypes.floating)
_binary("DivideNoNan", "divide_no_nan", dtypes.floating, numbers=False)
_binary("Power", "power", examples=PAIR)
_binary("FloorDivide", "floor_divide", examples=PAIR)
_binary("Mod", "remainder", dtypes.number, weak=False, examples=PAIR)
_binary("Fmod", "fmod", dtypes.number, weak=False, examples=PAIR)
_binary("Maximum", "maximum", numbers=False)
_binary("Minimum", "minimum", numbers=False)
_binary("Fmax", "fmax", numbers=False)
_binary("Fmin", "fmin", numbers=False)
_binary("Arctan2", "arctan2", dtypes.floating, weak=False)
_binary("Hypot", "hypot", dtypes.wide, weak=False)
_binary("Heaviside", "heaviside", dtypes.wide, weak=False)
_binary("Logaddexp", "logaddexp", dtypes.floating, weak=False)
_binary("Logaddexp2", "logaddexp2", dtypes.floating, weak=False)
_binary(
    "Ldexp", "ldexp", dtypes.floating, weak=False, examples=(example(on=((5, 4), (5, 4)), dtype=("float32", "int32")),)
)
_binary("Nextafter", "next_after", dtypes.floating, weak=False, examples=PAIR)
_binary("Gcd", "gcd", weak=False, examples=INT_PAIR)
_binary("Lcm", "lcm", weak=False, examples=INT_PAIR)
_binary("Equal", "equal", gives="bool")
_binary("NotEqual", "not_equal", gives="bool")
_binary("Greater", "greater", gives="bool")
_binary("GreaterEqual", "greater_equal", gives="bool")
_binary("Less", "less", gives="bool")
_binary("LessEqual", "less_equal", gives="bool")
_binary("LogicalAnd", "logical_and", dtypes.boolean, numbers=False)
_binary("LogicalOr", "logical_or", dtypes.boolean, numbers=False)
_binary("LogicalXor", "logical_xor", dtypes.boolean, numbers=False)


class Bitwise(Binary, frozen=True, kw_only=True):
    """A binary operation whose operands Keras calls x and y."""

    numbers = False
    weak = False

    def apply(self, b: Builder, x: Any, y: Any) -> Value:
        return self.both(b, x, y)


_binary("BitwiseAnd", "bitwise_and", base=Bitwise, numbers=False, weak=False, examples=INT_PAIR)
_binary("BitwiseOr", "bitwise_or", base=Bitwise, numbers=False, weak=False, examples=INT_PAIR)
_binary("BitwiseXor", "bitwise_xor", base=Bitwise, numbers=False, weak=False, examples=INT_PAIR)


class Shift(Binary, frozen=True, kw_only=True):
    """TensorFlow shifts by no more than all bits but one."""

    function: ClassVar[str]

    def apply(self, b: Builder, x: Any, y: Any) -> Value:
        dtype = dtypes.result_type(kind(x), kind(y))
        if dtype not in INTS:
            raise refusal("unsupported-graph", f"a shift of the bits of {dtype}")
        return self.both(b, x, y, most=int(dtype.lstrip("uint")) - 1)


for _name in ("LeftShift", "BitwiseLeftShift"):
    _binary(_name, "left_shift", base=Shift, numbers=False, examples=INT_PAIR)
for _name in ("RightShift", "BitwiseRightShift"):
    _binary(_name, "right_shift", base=Shift, numbers=False, examples=INT_PAIR)


@operation("Isclose")
class Isclose(Operation, frozen=True, kw_only=True):
    equal_nan: bool = False
    examples = (*INTS_TOO, example(on=((5, 4), (5, 4)), equal_nan=True))

    def apply(self, b: Builder, x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8) -> Value:
        one, two, dtype = in_common(b, x1, x2, numbers=False)
        shape = broadcast_shape(one, two)
        if dtype not in FLOATS:
            return b.call("equal", one, two, shape=shape, dtype="bool")
        args: dict[str, Any] = {"rtol": rtol, "atol": atol, "equal_nan": self.equal_nan}
        return b.call("is_close", one, two, shape=shape, dtype="bool", **args)


@operation("AllClose")
class AllClose(Operation, frozen=True, kw_only=True):
    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = False
    examples = (*INTS_TOO, example(on=((5, 4), (5, 4)), rtol=0.5, atol=2.0, equal_nan=True))

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two, dtype = in_common(b, x1, x2, numbers=False)
        args: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "equal_nan": self.equal_nan}
        if dtype not in FLOATS:
            return b.call("all_equal", one, two, shape=(), dtype="bool")
        return b.call("all_close", one, two, shape=(), dtype="bool", **args)


@operation("IsIn")
class IsIn(Operation, frozen=True, kw_only=True):
    assume_unique: bool = False
    invert: bool = False
    examples = tuple(example(on=((5, 4), (2,)), dtype="int32", invert=invert) for invert in (False, True))

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two, _ = in_common(b, x1, x2, numbers=False)
        return b.call("is_in", one, two, shape=one.shape, dtype="bool", invert=self.invert)


@operation("Where")
class Where(Operation, frozen=True, kw_only=True):
    examples = (
        example(on=((5, 4), (5, 4), (5, 4)), dtype=("bool", "float32", "float32")),
        example(on=((5, 1), (5, 4), (1, 4)), dtype=("bool", "int32", "float32")),
    )

    def apply(self, b: Builder, condition: Any, x1: Any = None, x2: Any = None) -> Value:
        if x1 is None or x2 is None:
            raise refusal("unsupported-graph", "ops.where with a condition alone: its size depends on the data")
        dtype = dtypes.result_type(kind(x1), kind(x2))
        condition, x1, x2 = tensors(b, condition, x1, x2)
        given = [b.cast(condition, "bool"), b.cast(x1, dtype), b.cast(x2, dtype)]
        return b.call("where", *given, shape=broadcast_shape(*given), dtype=dtype)


@operation("Select")
class Select(Operation, frozen=True, kw_only=True):
    """The first of the choices whose condition holds."""

    examples = (
        example(
            on=((5, 4), (5, 4), (5, 4), (5, 4)),
            dtype=("bool", "bool", "float32", "float32"),
            args=[["x0", "x1"], ["x2", "x3"], 0.5],
        ),
    )

    def apply(self, b: Builder, condlist: list[Any], choicelist: list[Any], default: Any = 0) -> Value:
        if len(condlist) != len(choicelist):
            raise refusal("bad-config", f"ops.select of {len(condlist)} conditions and {len(choicelist)} choices")
        dtype = dtypes.result_type(*map(kind, choicelist), kind(default))
        y, *given = tensors(b, default, *condlist, *choicelist)
        y = b.cast(y, dtype)
        pairs = list(zip(given[: len(condlist)], given[len(condlist) :], strict=True))
        for condition, choice in reversed(pairs):
            parts = [b.cast(condition, "bool"), b.cast(choice, dtype), y]
            y = b.call("where", *parts, shape=broadcast_shape(*parts), dtype=dtype)
        return y
