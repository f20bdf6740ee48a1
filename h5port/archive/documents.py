"""JSON and YAML documents of strangers: read within limits, without surprises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from h5port.errors import refusal

MAX_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 256


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


def _is_text(text: str) -> bool:
    """Whether the strings of a JSON document can be written as UTF-8."""
    for literal in re.findall(r'"(?:[^"\\]|\\.)*"', text):
        try:
            json.loads(literal).encode()
        except UnicodeEncodeError:
            return False
        except ValueError:
            continue
    return True


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def parse_yaml(text: str, where: str) -> Any:
    """The document, by PyYAML's SafeLoader with the two tags that Keras' own files use."""
    try:
        import yaml
    except ImportError:
        raise refusal(
            "missing-extra", "reading YAML needs PyYAML", file=where, remedy="pip install 'h5port[yaml]'"
        ) from None

    class Loader(yaml.SafeLoader):
        pass

    def sequence(loader: Any, node: Any) -> Any:
        return list(loader.construct_sequence(node, deep=True))

    def scalar(loader: Any, node: Any) -> Any:
        return loader.construct_scalar(node)

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", sequence)
    Loader.add_constructor("tag:yaml.org,2002:python/unicode", scalar)
    if len(text) > MAX_BYTES:
        raise refusal("unsafe-file", f"a config of {len(text)} characters", file=where)
    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise refusal("bad-config", f"not YAML that can be read safely: {error}", file=where) from None


def read_document(path: Path, kind: str) -> Any:
    """The document in a JSON or YAML file. Some people dump the text of `to_json()` once more: undone here."""
    data = path.read_bytes()
    parse = parse_json if kind == "json" else parse_yaml
    document = parse(data.decode("utf-8-sig", "replace"), str(path))
    return parse(document, str(path)) if isinstance(document, str) else document
