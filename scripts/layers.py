"""Writes docs/layers.md, the list of all declared layers, from the declarations."""

from __future__ import annotations

from pathlib import Path

import msgspec

from h5port.layers.base import Layer
from h5port.layers.catalogue import LAYERS, OPERATIONS

HEAD = """# Layers

Written by `scripts/layers.py` from the declarations. Options are those of Keras 3.15, or of the last Keras that had the
layer; older names and defaults are understood. Options that change nothing at inference (initializers, regularizers,
constraints, seeds) are accepted by all.

"""


def options(cls: type[Layer]) -> str:
    """The options with their defaults."""
    fields = msgspec.structs.fields(cls)
    shown = [f"`{f.name}`" if f.required else f"`{f.name}={f.default!r}`" for f in fields]
    return ", ".join(shown) or "-"


def table(declared: dict[str, type[Layer]]) -> list[str]:
    rows = [f"| {name} | {options(cls)} |" for name, cls in sorted(declared.items())]
    return ["| class | options |", "|---|---|", *rows]


def document() -> str:
    return HEAD + "\n".join([*table(LAYERS), "", "## Operation nodes of Keras 3", "", *table(OPERATIONS), ""])


if __name__ == "__main__":
    (Path(__file__).parent.parent / "docs" / "layers.md").write_text(document(), encoding="utf-8")
