"""The laws of every step: exact inverses, shapes without data, refusals of what does not fit, words."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transform.strategies import FAST, arrays, bits, shapes, steps

from h5port.transform.steps import (
    AddProduct,
    AnyStep,
    Array,
    Blocks,
    Concat,
    Dequantize,
    DequantizeGroups,
    Flip,
    Lossy,
    Reshape,
    Shape,
    Split,
    Step,
    Transpose,
    Unpack,
)

axes = st.integers(-3, 4)
axes_lists = st.lists(axes, max_size=4).map(tuple)
any_step: st.SearchStrategy[AnyStep] = st.one_of(
    st.builds(Transpose, axes_lists),
    st.builds(Reshape, shapes()),
    st.builds(Flip, axes_lists),
    st.builds(Blocks, axes, axes_lists),
    st.builds(Split, axes, st.integers(-1, 4)),
    st.builds(Concat, axes),
)


@st.composite
def steps_with_arrays(draw: st.DrawFn) -> tuple[AnyStep, tuple[Array, ...]]:
    """A step and arrays that it fits."""
    given_shapes = [draw(shapes())] * draw(st.integers(1, 3))
    step = draw(steps(given_shapes))
    dtype = draw(arrays()).dtype.name
    return step, tuple(draw(arrays(s, dtype)) for s in given_shapes)


def shapes_of(many: tuple[Array, ...]) -> tuple[Shape, ...]:
    return tuple(a.shape for a in many)


def place_before(step: AnyStep, before: tuple[Shape, ...], array: int, index: list[int]) -> tuple[int, tuple[int, ...]]:
    """Which array and element of what came in a step puts at `index` of array number `array`: the definition."""
    shape = before[min(array, len(before) - 1)]
    result = list(index)
    if isinstance(step, Transpose):
        for i, axis in enumerate(step.axes):
            result[axis] = index[i]
    elif isinstance(step, Reshape):
        result = list(np.unravel_index(np.ravel_multi_index(index, step.shape), shape)) if index else [0] * len(shape)
    elif isinstance(step, Flip):
        for axis in step.axes:
            result[axis] = shape[axis] - 1 - index[axis]
    elif isinstance(step, Blocks):
        size = shape[step.axis] // len(step.order)
        block, rest = divmod(index[step.axis], size)
        result[step.axis] = step.order[block] * size + rest
    elif isinstance(step, Split):
        result[step.axis] += array * (shape[step.axis] // step.parts)
        array = 0
    else:
        array = 0
        while result[step.axis] >= before[array][step.axis]:
            result[step.axis] -= before[array][step.axis]
            array += 1
    return array, tuple(result)


def test_every_step_is_tested() -> None:
    assert set(get_args(AnyStep)) == {*Step.__subclasses__(), *Lossy.__subclasses__()} - {Lossy}


@settings(FAST, max_examples=150)
@given(steps_with_arrays())
def test_each_element_goes_where_the_definition_says(case: tuple[AnyStep, tuple[Array, ...]]) -> None:
    step, before = case
    for number, after in enumerate(step.apply(before)):
        for index in np.ndindex(after.shape):
            array, place = place_before(step, shapes_of(before), number, list(index))
            assert after[index].tobytes() == before[array][place].tobytes()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Blocks(0, (0, 2, 3, 1)), [0, 1, 4, 5, 6, 7, 2, 3]),
        (Blocks(0, (2, 0, 1, 3)), [4, 5, 0, 1, 2, 3, 6, 7]),
        (Flip((0,)), [7, 6, 5, 4, 3, 2, 1, 0]),
        (Reshape((2, 2, 2)), [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]),
    ],
    ids=repr,
)
def test_gates_and_rows_come_in_the_order_that_the_step_names(step: AnyStep, expected: list[Any]) -> None:
    (result,) = step.apply((np.arange(8),))
    assert result.tolist() == expected


@FAST
@given(steps_with_arrays())
def test_invert_undoes_apply_bit_for_bit(case: tuple[AnyStep, tuple[Array, ...]]) -> None:
    step, before = case
    assert list(map(bits, step.invert(step.apply(before), shapes_of(before)))) == list(map(bits, before))


@FAST
@given(steps_with_arrays())
def test_shapes_are_those_of_apply_without_data(case: tuple[AnyStep, tuple[Array, ...]]) -> None:
    step, before = case
    assert step.shapes(shapes_of(before)) == shapes_of(step.apply(before))


@FAST
@given(steps_with_arrays())
def test_apply_and_invert_leave_what_they_are_given_as_it_was(case: tuple[AnyStep, tuple[Array, ...]]) -> None:
    step, before = case
    copies = [bits(a) for a in before]
    after = step.apply(before)
    step.invert(after, shapes_of(before))
    assert [bits(a) for a in before] == copies


@FAST
@given(any_step, st.lists(shapes(), min_size=1, max_size=3).map(tuple))
def test_a_step_refuses_shapes_with_a_value_error_or_keeps_its_laws(step: AnyStep, before: tuple[Shape, ...]) -> None:
    try:
        promised = step.shapes(before)
    except ValueError:
        return
    inputs = tuple(np.arange(np.prod(s, dtype=int)).reshape(s) for s in before)
    after = step.apply(inputs)
    assert promised == shapes_of(after)
    assert list(map(bits, step.invert(after, before))) == list(map(bits, inputs))


@pytest.mark.parametrize(
    ("step", "before"),
    [
        (Transpose((1, 0)), [(2, 3, 4)]),
        (Transpose((0, 1, 2)), [(2, 3)]),
        (Transpose((0, 0)), [(2, 2)]),
        (Transpose((0, 2)), [(2, 3)]),
        (Reshape((2, 4)), [(2, 3)]),
        (Reshape((-1,)), [(2, 3)]),
        (Reshape((6,)), [(2, 3), (7,)]),
        (Flip((2,)), [(2, 3)]),
        (Flip((0, 0)), [(2, 3)]),
        (Blocks(0, (0, 1, 2)), [(4, 3)]),
        (Blocks(2, (1, 0)), [(4, 3)]),
        (Blocks(0, (0, 0)), [(4, 3)]),
        (Blocks(0, (0, 2)), [(4, 3)]),
        (Blocks(0, ()), [(4, 3)]),
        (Split(0, 3), [(4, 3)]),
        (Split(2, 1), [(4, 3)]),
        (Split(0, 0), [(4, 3)]),
        (Split(0, 2), [(4, 3), (4, 3)]),
        (Concat(0), [(4, 3), (4, 2)]),
        (Concat(0), [(4, 3), (4,)]),
        (Concat(0), [(0,), ()]),
        (Concat(2), [(4, 3), (4, 3)]),
        (Concat(0), [()]),
        (Concat(0), []),
    ],
    ids=repr,
)
def test_shapes_that_do_not_fit_raise_value_error(step: AnyStep, before: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        step.shapes(tuple(before))


@FAST
@given(any_step)
def test_words_are_one_line_of_ascii(step: AnyStep) -> None:
    words = step.words()
    assert words
    assert words.isascii()
    assert words.isprintable()


# ---- dequantise


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(FAST)
def test_integers_are_divided_by_the_scale_of_their_column(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (rows, columns)).astype("int8")
    scales = rng.uniform(0.5, 200, columns).astype("float32")
    step = Dequantize((0,), (1, columns))
    assert step.shapes((weights.shape, scales.shape)) == (weights.shape,)
    (found,) = step.apply((weights, scales))
    assert found.dtype == np.float32
    expected = np.array([[np.float32(w) / s for w, s in zip(row, scales, strict=True)] for row in weights])
    assert found.tobytes() == expected.astype("float32").tobytes()


@pytest.mark.parametrize(
    ("shapes", "shape"),
    [(((2, 3),), (1, 3)), (((2, 3), (3,)), (3, 1)), (((2, 3), (2,)), (1, 2)), (((2, 3), (3,)), (3,))],
)
def test_scales_that_do_not_fit_are_refused(shapes: tuple[Shape, ...], shape: Shape) -> None:
    with pytest.raises(ValueError, match="scales"):
        Dequantize((0,), shape).shapes(shapes)


@given(st.integers(1, 4), st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(FAST)
def test_packed_integers_come_out_as_they_went_in(rows: int, columns: int, seed: int) -> None:
    integers = np.random.default_rng(seed).integers(-8, 8, (rows, columns)).astype("int8")
    even = np.concatenate([integers, np.zeros((rows, columns % 2), "int8")], 1)
    packed = ((even[:, ::2] & 15) | (even[:, 1::2] << 4)).astype("int8")
    step = Unpack(columns)
    assert step.shapes((packed.shape, (columns,))) == (integers.shape, (columns,))
    (found,) = step.apply((packed,))
    assert found.dtype == np.int8
    assert found.tolist() == integers.tolist()


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.sampled_from([0, 1]), st.integers(0, 2**32 - 1))
@settings(FAST)
def test_integers_take_the_scale_and_the_zero_of_their_group(n: int, m: int, size: int, axis: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // size
    integers = rng.integers(-8, 8, (n, m)).astype("int8")
    scales = rng.uniform(0.1, 2, (groups[-1] + 1, m)).astype("float32")
    zeros = rng.integers(-8, 8, scales.shape).astype("int8")
    expected = [[(integers[i, j] - float(zeros[g, j])) * scales[g, j] for j in range(m)] for i, g in enumerate(groups)]
    turned = (integers, scales, zeros) if axis == 0 else (integers.T, scales.T, zeros.T)
    given_arrays = (*turned, groups.astype("float32"))
    step = DequantizeGroups(axis)
    assert step.shapes(tuple(a.shape for a in given_arrays)) == (given_arrays[0].shape,)
    (found,) = step.apply(given_arrays)
    np.testing.assert_allclose(found if axis == 0 else found.T, expected, rtol=1e-6)


def test_the_product_of_the_factors_is_added() -> None:
    rng = np.random.default_rng(0)
    kernel, a, b = (rng.normal(size=s).astype("float32") for s in ((4, 2, 3), (4, 2, 5), (5, 3)))
    step = AddProduct(0.5)
    assert step.shapes((kernel.shape, a.shape, b.shape)) == (kernel.shape,)
    (found,) = step.apply((kernel, a, b))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, kernel + 0.5 * np.einsum("ijr,rk->ijk", a, b), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="factors"):
        step.shapes((kernel.shape, a.shape, (4, 3)))


@pytest.mark.parametrize("step", [Dequantize((0,), (1, 3)), Unpack(3), DequantizeGroups(0), AddProduct(2.0)])
def test_a_lossy_step_cannot_be_turned_back(step: Step) -> None:
    with pytest.raises(ValueError, match="give back"):
        step.invert((np.zeros((2, 3)),), ((2, 3), (3,)))
    assert step.words()
