"""JSON and YAML documents of strangers: read within limits, without surprises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from h5port.errors import H5PortError, refusal

MAX_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 256
MAX_VALUES = 5_000_000


def parse_json(text: str | bytes, where: str) -> Any:
    """The document; NaN and infinities are allowed, since genuine Keras configs carry them.

    Refused: more than `MAX_BYTES` bytes or `MAX_DEPTH` levels, a key twice in one object, text after the end.
    """
    if len(text) > MAX_BYTES:
        raise refusal("unsafe-file", f"a config of {len(text)} bytes", file=where, remedy=f"the limit is {MAX_BYTES}")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise refusal("bad-config", f"the config is not UTF-8: {error}", file=where) from None
    if _depth(text) > MAX_DEPTH:
        raise refusal("unsafe-file", f"a config nested deeper than {MAX_DEPTH} levels", file=where)

    if re.search(r"\\u[dD][89a-fA-F]", text) and not _is_text(text):
        raise refusal("bad-config", "the config holds half of a character (a lone surrogate)", file=where)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            seen: set[str] = set()
            twice = next(k for k, _ in items if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise refusal("bad-config", f"the key {twice!r} stands twice in one object", file=where)
        return result

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except ValueError as error:
        raise refusal("bad-config", f"not valid JSON: {error}", file=where, remedy="fetch the file again") from None


# A string, closed or not, or a bracket. (Without the open end, a text of many escapes would take quadratic time.)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)|[\[\]{}]', re.DOTALL)


def _is_text(text: str) -> bool:
    """Whether the strings of a JSON document can be written as UTF-8."""
    for token in _TOKEN.findall(text):
        try:
            json.loads(token).encode()
        except UnicodeEncodeError:
            return False
        except ValueError:
            continue
    return True


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in _TOKEN.findall(text):
        if token in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in "]}":
            depth -= 1
    return deepest


def parse_yaml(text: str, where: str) -> Any:
    """The document, by PyYAML's SafeLoader with the two tags that Keras' own files use.

    Refused: what JSON cannot hold (dates, bytes, keys that are no text), a key twice in one mapping, and documents
    that are too deep or, by their aliases, too large.
    """
    try:
        import yaml
    except ImportError:
        remedy = "pip install 'h5port[yaml]'"
        raise refusal("missing-extra", "reading YAML needs PyYAML", file=where, remedy=remedy) from None

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [k.value for k, _ in node.value]
            twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
            if twice is not None:
                raise ValueError(f"the key {twice!r} stands twice in one mapping")
            return super().construct_mapping(node, deep)

    def sequence(loader: Any, node: Any) -> Any:
        return list(loader.construct_sequence(node, deep=True))

    def scalar(loader: Any, node: Any) -> Any:
        return loader.construct_scalar(node)

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", sequence)
    Loader.add_constructor("tag:yaml.org,2002:python/unicode", scalar)
    if len(text) > MAX_BYTES:
        raise refusal("unsafe-file", f"a config of {len(text)} characters", file=where)
    try:
        document = yaml.load(text, Loader=Loader)
        _check_plain(document, where)
    except H5PortError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise refusal("bad-config", f"not YAML that can be read safely: {error}", file=where) from None
    return document


def _check_plain(document: Any, where: str) -> None:
    """Refuse what JSON has not, and more values or levels than a config has. An alias counts as often as it stands."""
    todo, count = [(document, 1)], 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if depth > MAX_DEPTH + 1 or count > MAX_VALUES:
            what = f"deeper than {MAX_DEPTH} levels, or of more than {MAX_VALUES} values"
            raise refusal("unsafe-file", f"a config {what}", file=where)
        if isinstance(value, dict):
            if not all(isinstance(k, str) for k in value):
                raise ValueError("a key that is no text")
            todo += [(v, depth + 1) for v in value.values()]
        elif isinstance(value, list):
            todo += [(v, depth + 1) for v in value]
        elif not isinstance(value, bool | int | float | str | None) or type(value).__module__ != "builtins":
            raise ValueError(f"a value of type {type(value).__name__}")


def read_document(path: Path, kind: str) -> Any:
    """The document in a JSON or YAML file. Some people dump the text of `to_json()` once more: undone here."""
    if path.stat().st_size > MAX_BYTES:
        raise refusal("unsafe-file", f"a config of more than {MAX_BYTES} bytes", file=str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal("bad-config", f"the text is not UTF-8: {error}", file=str(path)) from None
    document = _parse_text(text, kind, str(path))
    if not isinstance(document, str):
        return document
    return _parse_text(document, "json" if document.lstrip()[:1] in ("{", "[") else "yaml", str(path))


def _parse_text(text: str, kind: str, where: str) -> Any:
    """YAML dumped twice begins with a quote, as JSON dumped twice does: what is not the one is tried as the other."""
    if kind == "yaml":
        return parse_yaml(text, where)
    try:
        return parse_json(text, where)
    except H5PortError as error:
        if not text.lstrip().startswith('"') or error.code != "bad-config":
            raise
        return parse_yaml(text, where)
