"""What `inspect` tells: the file, its writer, the tree of layers, and what each becomes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from h5port.archive import Archive
from h5port.errors import Problem
from h5port.layers.engine import Lowered
from h5port.schema.graph import LayerConfig, Model
from h5port.schema.needs import Label
from h5port.schema.writer import Writer


class LayerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One layer. `outputs` are shapes (None: not known); `parameters` counts elements; `becomes` are module types."""

    name: str
    class_name: str
    outputs: list[list[int | None] | None] = []
    parameters: int = 0
    trainable: bool = True
    becomes: list[str] = []
    why: str | None = None
    problem: str | None = None
    layers: list[LayerInfo] = []


class ArrayInfo(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    shape: tuple[int, ...]
    dtype: str


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A Keras file at a glance. `layers` is empty where there is no architecture; then `arrays` is what is known."""

    file: str
    container: str
    writer: str | None
    model: str | None
    parameters: int
    layers: list[LayerInfo]
    arrays: list[ArrayInfo]
    notes: tuple[str, ...]
    dropped: dict[str, str]
    problems: tuple[Problem, ...]


def inspection(
    archive: Archive, writer: Writer | None, model: Model | None, lowered: Lowered | None, problems: Iterable[Problem]
) -> Inspection:
    problems = tuple(problems)
    return Inspection(
        file=archive.source.name,
        container=archive.container,
        writer=str(writer) if writer is not None else archive.mark.version,
        model=model.name if model is not None else None,
        parameters=sum(math.prod(a.shape) for a in archive.arrays.values()),
        layers=_layers(model, (), lowered, problems) if model is not None else [],
        arrays=[ArrayInfo(path=a.path, shape=a.shape, dtype=a.dtype) for a in archive.arrays.values()],
        notes=lowered.notes if lowered is not None else (),
        dropped=lowered.dropped if lowered is not None else {},
        problems=problems,
    )


def _layers(model: Model, above: Label, lowered: Lowered | None, problems: tuple[Problem, ...]) -> list[LayerInfo]:
    return [_layer(c, (*above, n), lowered, problems) for n, c in model.layers.items()]


def _layer(config: LayerConfig, label: Label, lowered: Lowered | None, problems: tuple[Problem, ...]) -> LayerInfo:
    place = "/".join(label)
    mine = [
        p for p in problems if p.layer in (place, config.place) or (p.layer or "").startswith(f"{config.place}.config.")
    ]
    made = [m for at, of in (lowered.made if lowered else {}).items() if at[: len(label)] == label for m in of]
    outputs = (lowered.outputs if lowered else {}).get(label, [])
    return LayerInfo(
        name=config.name,
        class_name=config.class_name,
        outputs=[list(v.shape) if v.shape is not None else None for v in outputs],
        parameters=_parameters(label, lowered),
        trainable=config.trainable,
        becomes=[] if config.model is not None else [kind for kind, _ in made],
        why=None if config.model is not None else next((why for _, why in made if why), None),
        problem=mine[0].message if mine else None,
        layers=_layers(config.model, label, lowered, problems) if config.model is not None else [],
    )


def _parameters(label: Label, lowered: Lowered | None) -> int:
    if lowered is None:
        return 0
    return sum(math.prod(shape) for at, shape in lowered.bound if at[: len(label)] == label)
