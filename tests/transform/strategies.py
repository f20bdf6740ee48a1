"""Hypothesis strategies: arrays of any type, bits and memory layout; steps that fit given shapes; whole recipes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from h5port.transform.recipe import Recipe, Slice, Source
from h5port.transform.steps import AnyStep, Array, Blocks, Concat, Flip, Reshape, Shape, Split, Transpose

# Enough to find what 1000 examples find, without any limit of time.
FAST = settings(max_examples=40, deadline=None)

DTYPES = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64".split()
LAYOUTS = ("C", "Fortran", "strided", "reversed")

# Bits that arithmetic would lose: -0.0, infinity, a quiet NaN with a payload, a signalling NaN, the least subnormal.
SPECIAL = {
    "float16": (0x8000, 0x7C00, 0xFE5A, 0x7D01, 0x0001),
    "float32": (0x80000000, 0x7F800000, 0xFFC12345, 0x7F812345, 0x00000001),
    "float64": (1 << 63, 0x7FF << 52, 0xFFF8000012345678, 0x7FF0000012345678, 1),
}


def bits(array: Array) -> tuple[Any, Shape, bytes]:
    """What must be equal for two arrays to be equal bit for bit."""
    return array.dtype, array.shape, array.tobytes()


def random_array(dtype: str, shape: Shape, seed: int) -> Array:
    """Random bits of a type, with special values among the floats."""
    kind = np.dtype(dtype)
    raw = np.random.default_rng(seed).bytes(math.prod(shape) * kind.itemsize)
    flat = np.frombuffer(bytearray(raw), np.uint8)
    if dtype == "bool":
        flat = flat & 1
    result = flat.view(kind)
    special = SPECIAL.get(dtype, ())
    for place, value in zip(range(seed % 3, result.size, 3), special, strict=False):
        result.view(f"u{kind.itemsize}")[place] = value
    return result.reshape(shape)


def laid_out(array: Array, layout: str) -> Array:
    """The same elements in another order in memory; always writable."""
    if layout == "strided":
        result = np.zeros([2 * n + 1 for n in array.shape], array.dtype)[(..., *[slice(1, None, 2)] * array.ndim)]
        result[...] = array
        return result
    if layout == "reversed" and array.ndim:
        return np.flip(np.array(np.flip(array), order="C"))
    return np.array(array, order="F" if layout == "Fortran" else "C")  # type: ignore[call-overload, no-any-return]


def shapes(min_rank: int = 0, max_rank: int = 4, min_size: int = 0) -> st.SearchStrategy[Shape]:
    return st.lists(st.sampled_from(range(min_size, 5)), min_size=min_rank, max_size=max_rank).map(tuple)


@st.composite
def arrays(draw: st.DrawFn, shape: Shape | None = None, dtype: str | None = None) -> Array:
    """An array of any type and layout, also one with strides of zero."""
    shape = draw(shapes()) if shape is None else shape
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    array = random_array(dtype, shape, draw(st.integers(0, 2**32 - 1)))
    layout = draw(st.sampled_from((*LAYOUTS, "broadcast")))
    if layout == "broadcast":
        return np.broadcast_to(array[:1] if array.ndim else array, shape)
    return laid_out(array, layout)


@st.composite
def steps(draw: st.DrawFn, given_shapes: Sequence[Shape]) -> AnyStep:
    """A step that fits arrays of these shapes (all of one rank)."""
    rank, sizes = len(given_shapes[0]), {math.prod(s) for s in given_shapes}
    kinds: list[Any] = [Transpose, Flip]
    kinds += [Reshape] * (len(sizes) == 1) + [Blocks] * (rank > 0) + [Split] * (rank > 0 and len(given_shapes) == 1)
    kinds += [Concat] * bool(_join_axes(given_shapes))
    kind = draw(st.sampled_from(kinds))
    if kind is Transpose:
        return Transpose(tuple(draw(st.permutations(range(rank)))))
    if kind is Flip:
        return Flip(tuple(draw(st.lists(st.sampled_from(range(rank)), unique=True)) if rank else ()))
    if kind is Reshape:
        return Reshape(draw(_shapes_of(sizes.pop())))
    if kind is Concat:
        return Concat(draw(st.sampled_from(_join_axes(given_shapes))))
    axis = draw(st.integers(0, rank - 1))
    common = math.gcd(*(s[axis] for s in given_shapes))
    count = draw(st.sampled_from([n for n in range(1, 13) if common % n == 0]))
    if kind is Split:
        return Split(axis, count)
    return Blocks(axis, tuple(draw(st.permutations(range(count)))))


@st.composite
def _shapes_of(draw: st.DrawFn, size: int) -> Shape:
    """A shape of so many elements."""
    shape = draw(shapes()) if size == 0 else ()
    if size == 0:
        return (*shape, 0)
    while size > 1 and len(shape) < 5:
        factor = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        shape, size = (*shape, factor), size // factor
    return (*shape, size) if size > 1 else shape


def _join_axes(given_shapes: Sequence[Shape]) -> list[int]:
    first = given_shapes[0]
    return [a for a in range(len(first)) if len({(*s[:a], *s[a + 1 :]) for s in given_shapes}) == 1]


@st.composite
def step_chains(draw: st.DrawFn, given: tuple[Array, ...], max_steps: int = 4) -> tuple[AnyStep, ...]:
    """Steps, one after the other, that make one array of those given."""
    chain: list[AnyStep] = []
    for _ in range(draw(st.integers(0, max_steps))):
        chain.append(draw(steps([a.shape for a in given])))
        given = chain[-1].apply(given)
    if len(given) > 1:
        if given[0].ndim == 0:
            chain.append(Reshape((1,)))
            given = chain[-1].apply(given)
        chain.append(Concat(draw(st.sampled_from(_join_axes([a.shape for a in given])))))
    return tuple(chain)


@st.composite
def sources(draw: st.DrawFn, array: str, part: Shape) -> Source:
    """A source whose part has this shape: a whole array, or a slice of a bigger one."""
    if not draw(st.booleans()):
        return Source(array, part)
    squeeze = draw(st.booleans()) or not part
    axis = draw(st.integers(0, len(part) - (not squeeze)))
    thick = 1 if squeeze else part[axis]
    start, rest = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    whole = (*part[:axis], start + thick + rest, *part[axis if squeeze else axis + 1 :])
    return Source(array, whole, Slice(axis, start, start + thick), squeeze)


@st.composite
def recipes(draw: st.DrawFn, dtype: str | None = None) -> tuple[Recipe, dict[str, Array]]:
    """A recipe of one to three sources with the arrays that it reads, each of a layout of its own."""
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    shape = draw(shapes())
    parts = [shape]
    axis = draw(st.integers(0, len(shape) - 1)) if shape else None
    for _ in range(draw(st.integers(0, 2))):
        longer = shape if axis is None else (*shape[:axis], draw(st.integers(0, 4)), *shape[axis + 1 :])
        parts.append(longer)
    taken = tuple(draw(sources(f"array {i}", p)) for i, p in enumerate(parts))
    stored = {s.array: draw(arrays(s.shape, dtype)) for s in taken}
    chain = draw(step_chains(tuple(np.zeros(p, np.int8) for p in parts)))
    return Recipe(sources=taken, steps=chain, dtype=dtype), stored
