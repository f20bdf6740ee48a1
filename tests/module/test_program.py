"""Names made from anything become identifiers that no other name of a module can meet; structures are walked."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h5port.module.program import identifier, is_buffer, names_in

MANY = settings(max_examples=60, deadline=None)

# Text that is near to what could go wrong: keywords and builtins in any case, suffixes, separators.
pieces = st.sampled_from(
    [*keyword.kwlist, *dir(builtins), "forward", "T", "_", "2", "/", ":0", " ", "\n", '"', "é", "İ", "²"]
)
texts = st.text(max_size=20) | st.lists(pieces, max_size=3).map("".join)


def is_safe(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and name.isascii() and not keyword.iskeyword(name)


@MANY
@given(texts)
def test_any_text_becomes_an_ascii_identifier(text: str) -> None:
    name = identifier(text)
    assert is_safe(name)
    assert name.isidentifier()


@MANY
@given(texts)
def test_an_identifier_made_once_stays_as_it_is(text: str) -> None:
    assert identifier(identifier(text)) == identifier(text)


@MANY
@given(st.lists(texts, max_size=8))
def test_names_made_one_after_the_other_are_all_different(many: list[str]) -> None:
    taken: set[str] = set()
    for text in many:
        name = identifier(text, taken)
        assert name not in taken
        assert is_safe(name)
        taken.add(name)


@MANY
@given(texts, st.integers(1, 4))
def test_taken_names_are_avoided_whatever_they_are(text: str, count: int) -> None:
    taken: set[str] = set()
    for _ in range(count):
        taken.add(identifier(text, frozenset(taken)))
    assert len(taken) == count
    assert identifier(text) in taken


@pytest.mark.parametrize("word", sorted({*keyword.kwlist, *(k.lower() for k in keyword.kwlist)}))
def test_no_identifier_is_a_keyword(word: str) -> None:
    assert not keyword.iskeyword(identifier(word))


def test_no_identifier_is_a_builtin() -> None:
    names = [n for n in dir(builtins) if not n.startswith("__")]
    assert [n for n in names if identifier(n) in names] == []


def test_no_identifier_is_an_attribute_of_a_torch_module() -> None:
    torch = pytest.importorskip("torch")
    names = dir(torch.nn.Module())
    assert [n for n in names if identifier(n) in names] == []


def test_no_identifier_is_an_attribute_of_the_module_that_load_builds() -> None:
    pytest.importorskip("torch")
    from h5port.module.program import Program
    from h5port.runtime.build import build

    empty = Program(name="m", doc="", inputs=[], outputs=[], modules={}, calls=(), values={})
    names = dir(build(empty, {}))
    assert [n for n in names if identifier(n) in names] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lstm_1", "lstm_1"),
        ("Block1/Conv", "block1_conv"),
        ("dense:0", "dense_0"),
        ("1x1", "layer_1x1"),
        ("", "layer"),
        ("___", "layer"),
        ("层", "layer"),
        ("class", "class_"),
        ("forward", "forward_"),
        ('"""); import os', "import_os"),
    ],
)
def test_a_name_stays_as_near_to_the_keras_name_as_can_be(text: str, name: str) -> None:
    assert identifier(text) == name


def test_the_second_of_two_equal_names_gets_a_number() -> None:
    assert identifier("lstm", {"lstm"}) == "lstm_2"
    assert identifier("lstm", {"lstm", "lstm_2"}) == "lstm_3"
    assert identifier("class", {"class_"}) not in ("class", "class_")


structures = st.recursive(
    st.none() | st.integers(0, 9).map(lambda i: f"v{i}"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["key", "other"]), inner, max_size=2)
    ),
    max_leaves=10,
)


@MANY
@given(structures)
def test_names_in_gives_every_name_in_order_and_nothing_else(structure: Any) -> None:
    assert list(names_in(structure)) == re.findall(r"v\d", repr(structure))


@pytest.mark.parametrize(
    ("tensor", "buffer"),
    [("running_mean", True), ("running_std", True), ("num_batches_tracked", True), ("weight", False), ("bias", False)],
)
def test_statistics_and_counters_are_buffers(tensor: str, buffer: bool) -> None:
    assert is_buffer(tensor) == buffer
