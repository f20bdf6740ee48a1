"""The laws of recipes: exact inverses, any memory layout, every element written once, JSON and back."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transform.strategies import (
    DTYPES,
    FAST,
    LAYOUTS,
    arrays,
    bits,
    laid_out,
    random_array,
    recipes,
    shapes,
    step_chains,
)

from h5port.transform.parts import copy_into
from h5port.transform.recipe import Recipe, Slice, Source, full, read_from
from h5port.transform.steps import Array, Concat, Flip, Reshape, Split, Transpose

RecipeCase = tuple[Recipe, dict[str, Array]]


def unlike(array: Array) -> Array:
    """An array that differs from this one in every element."""
    if array.dtype == np.bool_:
        return np.array(~array)
    raw = np.frombuffer(array.tobytes(), np.uint8)
    return (~raw).view(array.dtype).reshape(array.shape)


def element_bytes(array: Array) -> Array:
    """The bytes of each element along one more axis, so that NaNs can be compared."""
    flat = np.frombuffer(array.tobytes(), np.uint8)
    return flat.reshape(*array.shape, array.dtype.itemsize)


def written(before: Array, after: Array) -> Array:
    """Which elements have changed."""
    return (element_bytes(before) != element_bytes(after)).any(-1)


@FAST
@given(recipes())
def test_invert_restores_the_parts_and_touches_nothing_else(case: RecipeCase) -> None:
    recipe, stored = case
    into = {name: unlike(a) for name, a in stored.items()}
    recipe.invert(recipe.apply(read_from(stored)), into)
    for source in recipe.sources:
        whole = stored[source.array]
        expected, part = unlike(whole), source.part or Slice(0, 0, len(whole) if whole.ndim else 1)
        index = (slice(None),) * part.axis + (slice(part.start, part.stop),) if whole.ndim else ()
        expected[index] = whole[index]
        assert bits(into[source.array]) == bits(expected)


@FAST
@given(recipes())
def test_the_shape_is_known_without_data(case: RecipeCase) -> None:
    recipe, stored = case
    assert recipe.shape() == recipe.apply(read_from(stored)).shape
    for source in recipe.sources:
        assert source.part_shape() == source.take(stored[source.array]).shape


@FAST
@given(recipes(), st.sampled_from(LAYOUTS))
def test_the_target_is_what_apply_gives_in_any_layout(case: RecipeCase, layout: str) -> None:
    recipe, stored = case
    expected = recipe.apply(read_from(stored))
    out = laid_out(unlike(expected), layout)
    copy_into(out, recipe.target(read_from(stored)))
    assert bits(out) == bits(expected)


@FAST
@given(recipes())
def test_the_layout_of_the_sources_changes_nothing(case: RecipeCase) -> None:
    recipe, stored = case
    plain = {name: np.array(a, order="C") for name, a in stored.items()}
    assert bits(recipe.apply(read_from(stored))) == bits(recipe.apply(read_from(plain)))


@FAST
@given(recipes())
def test_neither_direction_changes_what_it_reads(case: RecipeCase) -> None:
    recipe, stored = case
    before = {name: bits(a) for name, a in stored.items()}
    target = recipe.apply(read_from(stored))
    recipe.invert(target, {name: unlike(a) for name, a in stored.items()})
    assert {name: bits(a) for name, a in stored.items()} == before


@st.composite
def partitions(draw: st.DrawFn) -> tuple[Array, list[Recipe]]:
    """An array cut along an axis, and recipes that share the pieces out among them."""
    shape = draw(shapes(min_rank=1, max_rank=3, min_size=1))
    axis = draw(st.integers(0, len(shape) - 1))
    whole = draw(arrays((*shape[:axis], draw(st.integers(1, 8)), *shape[axis + 1 :])))
    size = whole.shape[axis]
    cuts = sorted(draw(st.sets(st.integers(1, size - 1))) if size > 1 else set())
    pieces = [Slice(axis, a, b) for a, b in itertools.pairwise([0, *cuts, size])]
    pieces = draw(st.permutations(pieces))
    found = []
    while pieces:
        count = draw(st.integers(1, len(pieces)))
        mine, pieces = pieces[:count], pieces[count:]
        squeeze = all(p.stop - p.start == 1 for p in mine) and draw(st.booleans())
        taken = tuple(Source("whole", whole.shape, p, squeeze) for p in mine)
        chain = draw(step_chains(tuple(np.zeros(s.part_shape(), np.int8) for s in taken)))
        found.append(Recipe(sources=taken, steps=chain, dtype=whole.dtype.name))
    return whole, found


@FAST
@given(partitions())
def test_recipes_that_partition_a_source_write_each_element_back_once(case: tuple[Array, list[Recipe]]) -> None:
    whole, parts = case
    restored, writes = unlike(whole), np.zeros(whole.shape, int)
    for recipe in parts:
        target = recipe.apply(read_from({"whole": whole}))
        alone = unlike(whole)
        recipe.invert(target, {"whole": alone})
        writes += written(unlike(whole), alone)
        recipe.invert(target, {"whole": restored})
    assert (writes == 1).all()
    assert bits(restored) == bits(whole)


@FAST
@given(recipes())
def test_json_and_back_is_the_same_recipe(case: RecipeCase) -> None:
    recipe, _ = case
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe


fills = st.builds(
    full, shapes(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["float32", "float64"])
)


@FAST
@given(fills)
def test_a_fill_survives_json(recipe: Recipe) -> None:
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe


@FAST
@given(shapes(), st.sampled_from(DTYPES), st.sampled_from([0.0, 1.0]), st.sampled_from(LAYOUTS))
def test_a_fill_needs_no_source_and_writes_none(shape: tuple[int, ...], dtype: str, value: float, layout: str) -> None:
    recipe = full(shape, value, dtype)
    expected = np.full(shape, value, dtype)
    out = laid_out(unlike(expected), layout)
    copy_into(out, recipe.target(read_from({})))
    assert recipe.shape() == shape
    assert bits(recipe.apply(read_from({}))) == bits(out) == bits(expected)
    recipe.invert(out, {})
    assert len(recipe.words()) == 1


def test_a_fill_of_bfloat16_is_its_bits() -> None:
    out = np.zeros(3, np.uint16)
    copy_into(out, full((3,), 1.0, "bfloat16").target(read_from({})))
    assert out.tolist() == [0x3F80] * 3


@pytest.mark.parametrize("stored", ["float64", "float16", "int32"])
def test_a_source_of_another_type_is_never_converted_in_silence(stored: str) -> None:
    recipe = Recipe(sources=(Source("a", (2,)), Source("b", (2,))), steps=(Concat(0),), dtype="float32")
    read = read_from({"a": random_array("float32", (2,), 1), "b": random_array(stored, (2,), 2)})
    with pytest.raises((TypeError, ValueError)):
        recipe.target(read)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(sources=(Source("a", (2,)), Source("b", (2,)))),
        Recipe(sources=(Source("a", (4,)),), steps=(Split(0, 2),)),
        Recipe(sources=(Source("a", (2, 3)),), steps=(Reshape((5,)),)),
        Recipe(sources=(Source("a", (2, 3)),), steps=(Transpose((2, 1, 0)),)),
        Recipe(sources=(Source("a", (2, 3)),), steps=(Flip((2,)),)),
        Recipe(sources=(Source("a", (2, 3), Slice(0, 1, 3)),)),
        Recipe(sources=(Source("a", (2, 3), Slice(2, 0, 1)),)),
        Recipe(sources=(Source("a", (2, 3), Slice(0, 0, 2), squeeze=True),)),
    ],
    ids=range(9),
)
def test_a_recipe_that_makes_no_one_array_has_no_shape(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        recipe.shape()


@FAST
@given(recipes())
def test_words_name_every_source_and_every_step(case: RecipeCase) -> None:
    recipe, _ = case
    words = recipe.words()
    assert len(words) == len(recipe.sources) + len(recipe.steps)
    for source, line in zip(recipe.sources, words, strict=False):
        assert source.array in line
        assert str(list(source.shape)) in line


def test_words_show_which_part_is_taken() -> None:
    thick = Source("kernel", (4, 6), Slice(1, 2, 5))
    thin = Source("bias", (2, 6), Slice(0, 1, 2), squeeze=True)
    assert thick.words() == "kernel[:, 2:5] of [4, 6]"
    assert thin.words() == "bias[1, :] of [2, 6]"
