"""report.json: where every tensor came from, and what was assumed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from h5port.module.program import Program
from h5port.transform.recipe import Recipe

FORMAT = "h5port-report"
VERSION = 1


class TensorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One target tensor: its shape and dtype, its recipe, and the recipe in words."""

    shape: tuple[int, ...]
    dtype: str
    recipe: Recipe
    words: list[str]


class ModuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one layer; `why` where that is no class of torch.nn."""

    type: str
    why: str | None = None


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    sha256: str | None  # None where it was not asked for
    container: str
    writer: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a conversion.

    options    those that were not at their defaults
    nonfinite  how many elements are infinite or NaN, for the tensors that have some; none are looked for by `check`
    """

    source: SourceReport
    h5port: str
    tensors: dict[str, TensorReport]
    parameters: int
    bytes: int
    options: dict[str, Any] = {}
    modules: dict[str, ModuleReport] = {}
    notes: tuple[str, ...] = ()
    dropped: dict[str, str] = {}
    nonfinite: dict[str, int] = {}
    output: str = ""
    format: str = FORMAT
    version: int = VERSION


def tensor_reports(recipes: Mapping[str, Recipe]) -> dict[str, TensorReport]:
    return {n: TensorReport(shape=r.shape(), dtype=r.dtype, recipe=r, words=r.words()) for n, r in recipes.items()}


def module_reports(program: Program, prefix: str = "") -> dict[str, ModuleReport]:
    result: dict[str, ModuleReport] = {}
    for name, spec in program.modules.items():
        result[prefix + name] = ModuleReport(type=spec.type, why=spec.why)
        if spec.program is not None:
            result.update(module_reports(spec.program, f"{prefix}{name}."))
    return result
