"""Writes docs/layers.md, the list of all classes of Keras' layers and of all operations, from the declarations."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from h5port.layers.base import Layer
from h5port.layers.catalogue import LAYERS, OPERATIONS
from h5port.layers.refused import REFUSED
from h5port.schema import upgrade

ROOT = Path(__file__).parent.parent

HEAD = """# Layers

Written by `scripts/layers.py` from the declarations: every class of `keras.layers` of Keras 3.15, tf_keras 2.21 and
Keras 1.2 (abstract ones left out), and what else is declared. Options are those of Keras 3.15, or of the last Keras
that had the layer; older names and defaults are understood. Options that change nothing at inference (initializers,
regularizers, constraints, seeds) are accepted by all. Any layer, a refused one too, can be replaced by a module of
your own: `h5port.register`.

"""

REPLACED = {"Lambda": "it holds Python code, which is never executed"}


def classes() -> dict[str, list[str]]:
    """Release -> the classes of its `layers` module. `scripts/keras_classes.py` asks the Kerases themselves."""
    found: dict[str, list[str]] = json.loads((ROOT / "scripts" / "keras_classes.json").read_text(encoding="utf-8"))
    return found


def status(name: str) -> str:
    """What becomes of a class; "" if nothing is said of it."""
    if name in REPLACED:
        return f"by a registered replacement: {REPLACED[name]}"
    newest = upgrade.class_name(name)
    if newest in REFUSED:
        return f"refused: {REFUSED[newest]}"
    return ("exact" if newest == name else f"exact, as {newest}") if newest in LAYERS else ""


def options(cls: type[Layer]) -> str:
    """The options with their defaults."""
    fields = msgspec.structs.fields(cls)
    shown = [f"`{f.name}`" if f.required else f"`{f.name}={f.default!r}`" for f in fields]
    return ", ".join(shown) or "-"


def table_of_layers() -> list[str]:
    known = classes()
    names = sorted({n for of in known.values() for n in of} | set(LAYERS))
    rows = [
        f"| {n} | {' | '.join('+' if n in of else '' for of in known.values())} | {status(n)} | "
        f"{options(LAYERS[n]) if n in LAYERS else ''} |"
        for n in names
    ]
    return [f"| class | {' | '.join(known)} | | options |", "|---|" + "---|" * (len(known) + 2), *rows]


def counts() -> str:
    lines = []
    for release, names in classes().items():
        said = [status(n).partition(":")[0].partition(",")[0] for n in names]
        parts = [f"{said.count(s)} {s or 'not declared'}" for s in dict.fromkeys(sorted(said))]
        lines.append(f"- {release}: {len(names)} classes, {', '.join(parts)}")
    return "\n".join(lines) + "\n"


def table(declared: dict[str, type[Layer]]) -> list[str]:
    rows = [f"| {name} | {options(cls)} |" for name, cls in sorted(declared.items())]
    return ["| class | options |", "|---|---|", *rows]


def document() -> str:
    parts = [counts(), *table_of_layers(), "", "## Operation nodes of Keras 3", "", *table(OPERATIONS), ""]
    return HEAD + "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "layers.md").write_text(document(), encoding="utf-8")
    print(counts(), end="")
