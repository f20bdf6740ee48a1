"""Replacements for layers that are code of somebody else: torch modules of the user's own, by class or layer name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from h5port.errors import refusal

# A factory takes the layer's config (a dict) and its stored arrays (name -> torch.Tensor) and gives a module. It may
# have the attributes `supports_masking` (the input's mask goes on behind it) and `output_shape(config, input_shape)`.
Factory = Callable[[dict[str, Any], dict[str, Any]], Any]
F = TypeVar("F", bound=Factory)

REGISTRY: dict[str, Factory] = {}


def register(name: str) -> Callable[[F], F]:
    """Make a torch replacement known, under the name of a Keras class or of one layer.

    The decorated class (or function) is called as `factory(config, tensors)` when a model is loaded; the module it
    gives is called on the layer's inputs.
    """

    def remember(factory: F) -> F:
        REGISTRY[name] = factory
        return factory

    return remember


def known(custom: Mapping[str, Factory] | None) -> dict[str, Factory]:
    """Those of a call, before those that are registered."""
    return {**REGISTRY, **(custom or {})}


def run_file(path: Path) -> None:
    """Run the user's own Python file, which registers its replacements."""
    spec = importlib.util.spec_from_file_location("h5port_custom_" + path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise refusal("not-found", f"there is no Python file {path}", remedy="give the file that registers the layers")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
