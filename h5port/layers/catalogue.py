"""Every file of `layers` and `ops` is found by itself, and imported when a class that it names is met in a model."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from h5port import layers, ops
from h5port.layers import base, engine
from h5port.layers.engine import Lowered
from h5port.schema.graph import LayerConfig, Model

LAYERS: Mapping[str, type[base.Layer]]  # all of them: see __getattr__
OPERATIONS: Mapping[str, type[base.Layer]]

__all__ = ["LAYERS", "OPERATIONS", "Lowered", "load", "load_all", "lower_model"]


@functools.cache
def _files() -> dict[str, str]:
    """Each module of both rooms with its text."""
    found = {}
    for room in (layers, ops):
        for file in pkgutil.iter_modules(room.__path__):
            path = Path(room.__path__[0]) / f"{file.name}.py"
            found[f"{room.__name__}.{file.name}"] = path.read_text(encoding="utf-8") if path.is_file() else ""
    return found


def load(names: Iterable[str]) -> None:
    """Import the declarations of these classes; if one is nowhere, it is in none of all files."""
    for name in names:
        _load(name)


@functools.cache
def _load(name: str) -> None:
    for module, text in _files().items():
        if not text or f'"{name}"' in text:
            importlib.import_module(module)
    if name not in base.LAYERS and name not in base.OPERATIONS:
        load_all()


def load_all() -> None:
    for module in _files():
        importlib.import_module(module)


def __getattr__(name: str) -> Any:
    """`LAYERS` and `OPERATIONS`, when all files are imported."""
    if name not in ("LAYERS", "OPERATIONS"):
        raise AttributeError(name)
    load_all()
    return getattr(base, name)


def lower_model(archive: Any, model: Model, *args: Any, **kwargs: Any) -> Lowered:
    """`engine.lower_model`, with the declarations that the model needs."""
    load(dict.fromkeys(_classes(model)))
    return engine.lower_model(archive, model, *args, **kwargs)


def _classes(value: Any) -> Iterator[str]:
    """The classes of all layers of a model, and of those among their options."""
    match value:
        case Model():
            yield from _classes(list(value.layers.values()))
        case LayerConfig():
            yield value.class_name
            yield from _classes(value.options)
            yield from _classes(value.model)
        case dict():
            yield from _classes(list(value.values()))
        case list() | tuple():
            for item in value:
                yield from _classes(item)
