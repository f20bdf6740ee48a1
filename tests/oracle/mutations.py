"""Architectures with one value changed, made of cases that a genuine Keras saved as weights and JSON."""

from __future__ import annotations

import copy
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from description import Mutant

Place = tuple[str | int, ...]
STRINGS = ("linear", "relu", "tanh", "sigmoid", "softmax", "same", "valid", "causal", "channels_first", "channels_last")
QUIET = ("_initializer", "_regularizer", "_constraint", "registered_name", "module", "build_config", "shared_object_id")
DROPPED = object()


def mutants(folders: list[str], count: int, at: int) -> Iterator[Mutant]:
    """`count` of them, evenly over the cases in turn; two in a thousand of what only tells how weights began."""
    rng = random.Random(at)
    cases = [read(f) for f in folders]
    pool = strings_by_key(document for _, _, document in cases)
    rng.shuffle(cases)
    for i in range(count if cases else 0):
        folder, description, document = cases[i % len(cases)]
        changed, text = change(document, pool, rng)
        yield Mutant(
            id=f"mutant-{at}-{i}",
            kind="mutant",
            classes=description["classes"],
            package=description["package"],
            folder=folder,
            changed=f"{description['id']}: {text}",
            document=changed,
            inputs=description["inputs"],
            seed=description["seed"],
        )


def read(folder: str) -> tuple[str, Any, Any]:
    place = Path(folder)
    return folder, json.loads((place / "description.json").read_text()), json.loads((place / "arch.json").read_text())


def strings_by_key(documents: Iterator[Any]) -> dict[str, list[str]]:
    """Which strings stand at a key, in any of the documents."""
    found: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        for place, value in places(document):
            if isinstance(value, str):
                found[str(place[-1])].add(value)
    return {key: sorted(values) for key, values in found.items()}


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value in the configs of layers, deep ones too."""
    items: Iterator[tuple[str | int, Any]]
    items = (
        iter(value.items()) if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else iter(())
    )
    for key, item in items:
        here = (*at, key)
        if at.count("config") > 1 and "layers" in at and "inbound_nodes" not in at:
            yield here, item
        yield from places(item, here)


def change(document: Any, pool: dict[str, list[str]], rng: random.Random) -> tuple[Any, str]:
    """A copy with one value changed, and what was changed."""
    found = list(places(document))
    loud = [f for f in found if not any(str(key).endswith(QUIET) for key in f[0])]
    place, value = rng.choice(found if rng.random() < 0.1 else loud or found)
    result = copy.deepcopy(document)
    holder = result
    for key in place[:-1]:
        holder = holder[key]
    where = ".".join(map(str, place))
    if isinstance(holder, dict) and rng.random() < 0.05:
        key, new = rng.choice([("zeta", 1), ("scale", True), ("units", 3), ("axis", 1), ("mask_value", 2.0)])
        holder[key] = new
        return result, f"{where} beside it {key} = {new!r}"
    new = other(str(place[-1]), value, pool, rng)
    if new is DROPPED and isinstance(holder, dict):
        del holder[place[-1]]
        return result, f"{where} dropped"
    holder[place[-1]] = None if new is DROPPED else new
    return result, f"{where}: {value!r} -> {holder[place[-1]]!r}"[:300]


def other(key: str, value: Any, pool: dict[str, list[str]], rng: random.Random) -> Any:
    """Another value of the same kind; now and then null, a wrong kind, or no value at all."""
    if rng.random() < 0.08:
        return DROPPED
    if rng.random() < 0.08:
        return None
    if rng.random() < 0.05:
        return rng.choice([0, 1, 2.5, "linear", True, [], [1, 2], {}, "no such thing"])
    match value:
        case bool():
            return not value
        case int():
            return rng.choice([value + 1, value - 1, -value, 2 * value, 0, 1, 2, value + 0.5])
        case float():
            return rng.choice([value + 0.5, -value, 0.0, 1.0, value * 2, 1, 1e-2])
        case str():
            return rng.choice([*pool.get(key, []), *rng.sample(STRINGS, 3)])
        case [] | None:
            return rng.choice([0, 1, 2, 0.5, True, "relu", [1], "channels_first"])
        case list():
            return rng.choice([value[::-1], value[:-1], [*value, 1], value[0]])
        case _:
            return DROPPED
