"""JSON and YAML of strangers: what is right is read as it stands, everything else is refused and never executed."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import hostile
import pytest
from conftest import genuine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from h5port.archive import documents, open_archive, read_config_file
from h5port.archive.documents import MAX_DEPTH, parse_json, parse_yaml
from h5port.errors import H5PortError

yaml = pytest.importorskip("yaml")


def tree(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Documents with these leaves; texts are rich in what a counter of brackets could stumble over."""
    key = st.text(max_size=5) | st.text('[]{}"\\/:,', max_size=5)
    return st.recursive(
        leaf | key, lambda d: st.lists(d, max_size=4) | st.dictionaries(key, d, max_size=4), max_leaves=20
    )


FINITE = tree(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False))
ANY = tree(st.none() | st.booleans() | st.integers() | st.floats())


def nested(depth: int) -> str:
    """Lists and objects in turn."""
    return (
        "".join('{"a":' if i % 2 else "[" for i in range(depth))
        + "1"
        + "".join("}" if i % 2 else "]" for i in reversed(range(depth)))
    )


# ---- JSON


@settings(deadline=None, max_examples=60)
@given(ANY, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([str, str.encode, "utf-8-sig"]))
def test_json_without_twin_keys_is_read_as_json_reads_it(document: Any, ascii: bool, indent: Any, form: Any) -> None:
    text = json.dumps(document, ensure_ascii=ascii, indent=indent)
    given_ = text.encode(form) if isinstance(form, str) else form(text)
    assert repr(parse_json(given_, "here")) == repr(json.loads(text))  # repr tells NaN, -0.0, 1 and 1.0 and True


@settings(deadline=None, max_examples=200)
@given(st.text('[]{}",:\\ \n01.eE-+ntrulfasNI\x00', max_size=30))
@example('{"a": 1, "a": 2}')
@example('["\\"]", {"a": [[}')
@example('"\\')
def test_any_text_is_read_as_json_reads_it_or_refused(text: str) -> None:
    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("twins")
        return dict(pairs)

    try:
        expected = json.loads(text, object_pairs_hook=no_twins)
    except ValueError:
        with pytest.raises(H5PortError):
            parse_json(text, "here")
    else:
        assert repr(parse_json(text, "here")) == repr(expected)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=1), st.data())
def test_a_key_that_stands_twice_is_refused_by_its_name(document: dict[str, int], data: st.DataObject) -> None:
    twin = data.draw(st.sampled_from(sorted(document)))
    members = [*document.items(), (twin, data.draw(st.integers()))]
    text = ", ".join(f"{json.dumps(k)}: {v}" for k, v in data.draw(st.permutations(members)))
    for place in ("{%s}", '[1, {"deep": {%s}}]'):
        with pytest.raises(H5PortError) as error:
            parse_json(place % text, "here")
        assert error.value.code == "bad-config"
        assert repr(twin) in str(error.value)


@pytest.mark.parametrize("depth", [1, 2, MAX_DEPTH - 1, MAX_DEPTH])
def test_json_up_to_the_limit_of_depth_is_read(depth: int) -> None:
    assert parse_json(nested(depth), "here") == json.loads(nested(depth))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, MAX_DEPTH + 2, 100_000])
@pytest.mark.parametrize("end", ["", "garbage", '"'])
def test_json_beyond_the_limit_of_depth_is_refused(depth: int, end: str) -> None:
    with pytest.raises(H5PortError) as error:
        parse_json(nested(depth) + end, "here")
    assert error.value.code == "unsafe-file"


def test_brackets_inside_texts_and_side_by_side_have_no_depth() -> None:
    document = [*[[]] * 1000, "[" * 1000, '\\"' + "{" * 1000, {"[" * 1000: "]"}]
    assert parse_json(json.dumps(document), "here") == document


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"a": 1',
        "[1] x",
        "nul",
        "{'a': 1}",
        "[1,]",
        '"a\nb"',
        "9" * 1_000_000,
        b"\xff",
        b'{"a": "\xe9"}',
        b"\xff\xfe1\0",
    ],
    ids=lambda text: repr(text[:9]),
)
def test_what_is_no_json_is_a_bad_config(text: str | bytes) -> None:
    with pytest.raises(H5PortError) as error:
        parse_json(text, "here")
    assert error.value.code == "bad-config"
    assert "here" in str(error.value)


# ---- YAML


@settings(deadline=None, max_examples=40)
@given(FINITE)
def test_yaml_of_a_json_document_is_that_document(document: Any) -> None:
    assert repr(parse_yaml(yaml.safe_dump(document, sort_keys=False), "here")) == repr(document)


@settings(deadline=None, max_examples=40)
@given(tree(st.integers() | st.tuples(st.integers(), st.none()) | st.tuples()))
def test_python_tuples_of_keras_yaml_are_lists(document: Any) -> None:
    """`model.to_yaml()` of Keras 1 and 2 was yaml.dump: it writes tags of Python, and anchors for what is shared."""
    shared = (1, 2)
    text = yaml.dump({"document": document, "one": shared, "two": shared})
    assert "&id001 !!python/tuple" in text
    expected = json.loads(json.dumps({"document": document, "one": shared, "two": shared}))
    assert parse_yaml(text, "here") == expected


def test_python_unicode_of_keras_yaml_is_text() -> None:
    assert parse_yaml("name: !!python/unicode 'dense_1'\n", "here") == {"name": "dense_1"}


TAGS = [
    "!!python/object/apply:builtins.open [{path!r}, w]",
    "!!python/object/new:builtins.open [{path!r}, w]",
    "!!python/object/apply:os.mkdir [{path!r}]",
    "!!python/object:h5port.errors.Problem {{code: x}}",
    "!!python/name:builtins.open",
    "!!python/module:antigravity",
    "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [{path!r}]",
    "!own {{a: 1}}",
]


@pytest.mark.parametrize("place", ["{}", "class_name: {}", "- !!python/tuple [{}]", "? {}\n: 1"])
@pytest.mark.parametrize("tag", TAGS)
def test_python_objects_in_yaml_are_refused_and_never_made(tag: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "executed"
    with pytest.raises(H5PortError) as error:
        parse_yaml(place.format(tag.format(path=str(path))), "here")
    assert error.value.code == "bad-config"
    assert not path.exists()
    assert "antigravity" not in sys.modules


def is_json_or_refused(text: str) -> None:
    with suppress(H5PortError):
        document = parse_yaml(text, "here")
        assert repr(json.loads(json.dumps(document))) == repr(document)


@settings(deadline=None)
@given(st.text("ab[]{}&*!?|>-:,#'\"% \n012._<=~x\0", max_size=25))
def test_any_text_is_read_as_yaml_or_refused(text: str) -> None:
    is_json_or_refused(text)


NOT_JSON = """
2001-01-01 | 2001-99-99 | {2001-01-01: 1} | !!timestamp abc | !!int abc | !!int '' | 0b_ | 0x_ | !!float abc
!!bool abc | {1: 2} | {~: 1} | {[a]: b} | {{a: b}: c} | !!set {a, b} | !!omap [a: 1] | !!pairs [a: 1]
!!binary aGk= | !!binary é | !!python/tuple abc | !!python/unicode [a] | *nowhere
"""


@pytest.mark.parametrize(
    "text", [t.strip() for t in NOT_JSON.replace("\n", "|").strip("|").split("|")] + ["9" * 6000, "\0"]
)
def test_yaml_holds_what_json_can_say_or_is_refused(text: str) -> None:
    is_json_or_refused(f"a: {text}")


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x: {a: 1, a: 1}", "- {? a : 1, 'a': 2}"])
def test_a_key_that_stands_twice_in_yaml_is_refused(text: str) -> None:
    with pytest.raises(H5PortError) as error:
        parse_yaml(text, "here")
    assert error.value.code == "bad-config"
    assert "'a'" in str(error.value)


DEEP: dict[str, Callable[[int], str]] = {
    "flow": lambda n: "[" * n + "]" * n,
    "block": lambda n: "- " * n + "a",
    "json": nested,
    "aliases": lambda n: "- &a0 []\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(1, n)),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 400])
def test_yaml_beyond_the_limit_of_depth_is_refused(kind: str, depth: int) -> None:
    with pytest.raises(H5PortError) as error:
        parse_yaml(DEEP[kind](depth), "here")
    assert error.value.code in {"unsafe-file", "bad-config"}


@pytest.mark.parametrize("text", ["&a [*a]", "&a {b: *a}", "a: &a\n  b: [1, *a]"])
def test_yaml_inside_itself_is_refused(text: str) -> None:
    with pytest.raises(H5PortError) as error:
        parse_yaml(text, "here")
    assert error.value.code in {"unsafe-file", "bad-config"}


def test_aliases_cannot_multiply() -> None:
    """Ten lines that stand for 9 ** 10 values: whoever walks over them never ends."""
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(H5PortError) as error:
        parse_yaml("\n".join(lines), "here")
    assert error.value.code == "unsafe-file"


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(H5PortError) as error:
        parse_yaml("a: 1", "here")
    assert error.value.code == "missing-extra"
    assert "h5port[yaml]" in str(error.value)


# ---- documents in files


@pytest.mark.parametrize("read", [read_config_file, lambda path: open_archive(path).config], ids=["config", "archive"])
@pytest.mark.parametrize(
    ("build", "code"),
    [
        (hostile.too_deep_json, "unsafe-file"),
        (hostile.json_key_twice, "bad-config"),
        (hostile.json_not_utf8, "bad-config"),
        (hostile.json_huge_integer, "bad-config"),
        (hostile.yaml_not_utf8, "bad-config"),
        (hostile.yaml_python_object, "bad-config"),
    ],
    ids=hostile.label,
)
def test_a_bad_document_is_refused(
    build: hostile.Builder, code: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = build(tmp_path)
    with pytest.raises(H5PortError) as error:
        read(path)
    assert error.value.code == code
    assert str(path) in str(error.value)
    assert not hostile.proof_of_execution(tmp_path).exists()


def test_nan_and_infinity_are_accepted_as_keras_writes_them(tmp_path: Path) -> None:
    config = read_config_file(hostile.json_with_nan(tmp_path))
    assert repr(config["config"]) == "{'mask_value': nan, 'high': inf}"


def genuine_json(folder: Path) -> Path:
    return genuine("keras-0.3.3-theano/lstm_embed").options["config"]


def genuine_yaml(folder: Path) -> Path:
    return genuine("keras-2.2.4-theano/weights_yaml").options["config"]


@pytest.mark.parametrize(
    ("source", "dump"),
    [
        pytest.param(genuine_json, json.dumps, id="json"),
        pytest.param(genuine_json, partial(json.dumps, ensure_ascii=False, indent=2), id="json-indented"),
        pytest.param(genuine_json, lambda text: "\ufeff" + json.dumps(text), id="json-with-byte-order-mark"),
        pytest.param(hostile.architecture_yaml, yaml.dump, id="small-yaml"),
        pytest.param(genuine_yaml, yaml.dump, id="yaml"),
        pytest.param(genuine_yaml, partial(yaml.dump, width=10**9), id="yaml-in-one-line"),
    ],
)
def test_a_document_that_was_dumped_twice_is_the_document(
    source: hostile.Builder, dump: Callable[[str], str], tmp_path: Path
) -> None:
    once, twice = source(tmp_path), tmp_path / "twice"
    twice.write_text(dump(once.read_text(encoding="utf-8")), encoding="utf-8")
    assert read_config_file(twice) == read_config_file(once)


@pytest.mark.parametrize("start", ["{", "class_name: ", '"'])
def test_a_document_over_the_limit_is_refused_before_it_is_read(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 10_000)
    path = tmp_path / "arch"
    path.write_bytes(start.encode() + b" " * 5000)
    with path.open("r+b") as f:
        f.truncate(2**26)  # a hole on disk
    tracemalloc.start()
    try:
        with pytest.raises(H5PortError) as error:
            read_config_file(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert error.value.code == "unsafe-file"
