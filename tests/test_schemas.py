"""The published schemas are those of the structs, and what h5port writes follows them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Case, genuine_cases

import h5port

ROOT = Path(__file__).parent.parent


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("schemas_script", ROOT / "scripts" / "schemas.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["config.schema.json", "report.schema.json"])
def test_the_published_schema_is_that_of_the_struct(name: str) -> None:
    assert (ROOT / "schemas" / name).read_bytes() == generator().schema(name), "run scripts/schemas.py"


@pytest.mark.parametrize("case", [c for c in genuine_cases() if c.data["expect"] == "equal"], ids=lambda c: c.id)
def test_what_is_written_follows_the_schema(case: Case, tmp_path: Path) -> None:
    h5port.convert(case.source, tmp_path / "out", **case.options)
    for file in ("config", "report"):
        schema = json.loads((ROOT / "schemas" / f"{file}.schema.json").read_text())
        jsonschema.validate(json.loads((tmp_path / "out" / f"{file}.json").read_text()), schema)


def test_a_config_that_does_not_follow_it_is_told(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "schemas" / "config.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"format": "h5port-module", "version": 1}, schema)
