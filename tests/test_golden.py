"""Genuine files of genuine Kerases give the numbers that their Keras computed, by all three ways."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Case, genuine_cases

import h5port

torch = pytest.importorskip("torch")

EQUAL = [c for c in genuine_cases() if c.data["expect"] == "equal"]
REFUSED = [c for c in genuine_cases() if c.data["expect"] == "refused"]


def load_directly(case: Case, out: Path) -> Any:
    return h5port.load(case.source, **case.options)


def load_folder(case: Case, out: Path) -> Any:
    h5port.convert(case.source, out, **case.options)
    return h5port.load(out)


def load_model_py(case: Case, out: Path) -> Any:
    h5port.convert(case.source, out, **case.options)
    spec = importlib.util.spec_from_file_location("converted_model", out / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


@pytest.mark.parametrize("way", [load_directly, load_folder, load_model_py])
@pytest.mark.parametrize("case", EQUAL, ids=lambda c: c.id)
def test_outputs_equal_those_of_the_writer(case: Case, way: Any, tmp_path: Path) -> None:
    module = way(case, tmp_path / "out")
    assert not module.training
    for inputs, expected in case.calls():
        with torch.inference_mode():
            got = run(module, case, inputs)
        assert len(got) == len(expected)
        for mine, theirs in zip(got, expected, strict=True):
            assert tuple(mine.shape) == theirs.shape
            scale = max(1.0, float(np.abs(theirs).max(initial=0)))
            np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=case.data["tolerance"] * scale)


def run(module: Any, case: Case, inputs: list[np.ndarray]) -> list[Any]:
    """The outputs as a flat list, in the order of the case."""
    tensors = [torch.from_numpy(a) for a in inputs]
    names = case.data["inputs"]
    outputs = module(*tensors) if names == "list" else module(dict(zip(names, tensors, strict=True)))
    if isinstance(case.data["outputs"], list):
        assert sorted(outputs) == sorted(case.data["outputs"])
        return [outputs[n] for n in case.data["outputs"]]
    return flat(outputs)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in flat(v)] if isinstance(value, list | tuple) else [value]


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.id)
def test_what_cannot_be_exact_is_refused_by_name(case: Case, tmp_path: Path) -> None:
    with pytest.raises(h5port.H5PortError) as error:
        h5port.convert(case.source, tmp_path / "out", **case.options)
    for name in case.data["refused"]["names"]:
        assert name in str(error.value)
    assert not (tmp_path / "out").exists()
