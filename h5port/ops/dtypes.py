"""The types of results: Keras 3's own rules on the TensorFlow backend, which is the meaning of its files.

keras/src/backend/common/dtypes.py of Keras 3.15.1: a lattice of types, in which a Python number has a weak type ("int"
or "float") that gives way to the types of tensors. What Keras does in bfloat16 and float16 arrives here as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from h5port.errors import refusal

FLOATX = "float32"
FLOATS = ("bfloat16", "float16", "float32", "float64")
INTS = ("uint8", "int8", "int16", "int32", "int64")
ALL = ("bool", *INTS, *FLOATS)

# type -> the types that stand directly above it
_ABOVE: dict[str, tuple[str, ...]] = {
    "bool": ("int",),
    "int": ("uint8", "int8"),
    "uint8": ("int16",),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64",),
    "float64": (),
}
_WEAK = {"int": "int32", "float": FLOATX}

Rule = Callable[[str], str]  # the type of the input -> the type that it is cast to and computed in


def known(dtype: str) -> str:
    """The type itself; refused if torch cannot compute in it as Keras does."""
    if dtype not in _ABOVE:
        raise refusal("unsupported-graph", f"an operation on tensors of the type {dtype}")
    return dtype


@cache
def _bounds(dtype: str) -> frozenset[str]:
    return frozenset({dtype}).union(*(_bounds(above) for above in _ABOVE[dtype]))


def result_type(*dtypes: str) -> str:
    """The least type above all of these, of which "int" and "float" are those of Python's numbers."""
    given = {known(d) for d in dtypes}
    common = frozenset.intersection(*(_bounds(d) for d in given))
    (least,) = (common & given) or {d for d in common if common <= _bounds(d)}
    return _WEAK.get(least, least)


# ---- rules of one input


def same(dtype: str) -> str:
    return known(dtype)


def number(dtype: str) -> str:
    """Booleans are counted."""
    return "int32" if known(dtype) == "bool" else dtype


def total(dtype: str) -> str:
    """Sums and products: small integers are added up in a wider type.

    TensorFlow has uint32 for uint8, where Keras on torch has int32, as here.
    """
    return "int32" if known(dtype) in ("bool", "uint8", "int8", "int16") else dtype


def floating(dtype: str) -> str:
    return result_type(dtype, "float")


def wide(dtype: str) -> str:
    """As `floating`, but int64 becomes float64."""
    return "float64" if known(dtype) == "int64" else floating(dtype)


def boolean(dtype: str) -> str:
    known(dtype)
    return "bool"


def ordered(dtype: str) -> str:
    """Booleans are compared as integers."""
    return "uint8" if known(dtype) == "bool" else dtype


def product(dtype: str) -> str:
    """What products of matrices are computed in: TensorFlow has no kernels for the small types."""
    return dtype if known(dtype) in ("int32", "int64", *FLOATS) else FLOATX
