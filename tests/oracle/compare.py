"""h5port on cases that a genuine Keras has computed: the same numbers, or a refusal by name."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import traceback
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from examples import is_plain

import h5port

Array = np.ndarray[Any, np.dtype[Any]]
What = Literal["equal", "refused", "failed"]

# Refusals that say a genuine file is wrong: they are never right here. (A changed config may be anything.)
FALSE = frozenset(
    """not-found not-keras damaged-file unsafe-file incomplete-file no-architecture no-weights bad-config unknown-option
    missing-weights unused-weights shape-mismatch ambiguous-weights ambiguous-writer ambiguous-backend""".split()
)


class Outcome(msgspec.Struct, frozen=True):
    """What became of a case. `text` says what differs, or the refusal; `code` is the refusal's."""

    folder: str
    what: What
    text: str = ""
    code: str = ""


def compare(folder: str) -> Outcome:
    """One case, read directly; one in eight also by way of a converted folder and its model.py."""
    torch.set_num_threads(1)
    place = Path(folder)
    case = json.loads((place / "case.json").read_text())
    try:
        modules = [h5port.load(place / case["model"], **options_of(case, place))]
        with tempfile.TemporaryDirectory() as out:
            if sum(map(ord, case["id"])) % 8 == 0:
                modules.append(printed(case, place, Path(out) / "out"))
            found = [differences(case, place, module) for module in modules]
    except h5port.H5PortError as error:
        return refused(folder, case, error)
    except Exception as error:  # a crash is what is looked for
        at = traceback.extract_tb(error.__traceback__)[-1]
        if at.name.startswith("_check") or "index out of range in self" in str(error):
            # what a module finds out only when it runs: an id that is in no row of an embedding, for one
            return Outcome(folder, "refused", str(error)[:400], "when run")
        where = f"{Path(at.filename).name}:{at.lineno}"
        return Outcome(folder, "failed", f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:300]}")
    text = next((f"{way}{t}" for way, t in zip(("", "model.py: "), found, strict=False) if t), "")
    return Outcome(folder, "failed" if text else "equal", text)


def refused(folder: str, case: dict[str, Any], error: h5port.H5PortError) -> Outcome:
    text = " ".join(str(error).split())[:400]
    codes = {p.code for p in error.problems}
    plain = case["family"] == "example" and is_plain(case["id"])
    wrong = case["family"] != "mutant" and (plain or codes & FALSE)
    return Outcome(folder, "failed" if wrong else "refused", text, error.code)


def options_of(case: dict[str, Any], place: Path) -> dict[str, Any]:
    config = {"config": place / case["config"]} if case["config"] else {}
    return {**case["options"], **config}


def printed(case: dict[str, Any], place: Path, out: Path) -> Any:
    """The model of model.py."""
    h5port.convert(place / case["model"], out, **options_of(case, place))
    spec = importlib.util.spec_from_file_location("converted_model", out / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def differences(case: dict[str, Any], place: Path, module: Any) -> str:
    """What differs, by output; "" if nothing does."""
    with np.load(place / "golden.npz", allow_pickle=False) as golden:
        for call in range(case["calls"]):
            prefix = f"call{call}." if call else ""
            inputs, expected = (numbered(golden, prefix + end) for end in ("in", "out"))
            got = run(module, case, inputs)
            if len(got) != len(expected):
                return f"{len(got)} outputs, {len(expected)} expected"
            texts = [difference(g, e, case["tolerance"]) for g, e in zip(got, expected, strict=True)]
            found = "; ".join(f"output {i}: {t}" for i, t in enumerate(texts) if t)
            if found:
                return (f"call {call}: " if call else "") + found
    return ""


def numbered(golden: Any, prefix: str) -> list[Array]:
    return [golden[f"{prefix}{i}"] for i in range(sum(name.startswith(prefix) for name in golden.files))]


def run(module: Any, case: dict[str, Any], inputs: list[Array]) -> list[Any]:
    """The outputs as a flat list, in the order of the case."""
    tensors = [a.tolist() if a.dtype.kind == "U" else torch.from_numpy(a) for a in inputs]
    names = case["inputs"]
    with torch.inference_mode():
        outputs = module(*tensors) if names == "list" else module(dict(zip(names, tensors, strict=True)))
    if isinstance(case["outputs"], list):
        return [outputs[n] for n in case["outputs"]]
    return flat(outputs)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = [value[k] for k in sorted(value)]
    if isinstance(value, list | tuple) and not (value and isinstance(value[0], str | list)):
        return [t for v in value for t in flat(v)]
    return [value]


def difference(got: Any, expected: Array, tolerance: float) -> str:
    """ "" if both are equal within a part of the largest number."""
    if isinstance(got, torch.Tensor):
        got = (got.float() if got.dtype == torch.bfloat16 else got).numpy()
    mine = np.asarray(got)
    if mine.shape != expected.shape:
        return f"shape {mine.shape}, not {expected.shape}"
    if expected.dtype.kind in "Ub":
        return "" if (mine.astype(expected.dtype) == expected).all() else "other values"
    x, y = mine.astype(float), expected.astype(float)
    if (np.isnan(x) != np.isnan(y)).any():
        return "NaN in one of them"
    with np.errstate(invalid="ignore"):
        d = np.abs(x - y)
    d[(x == y) | np.isnan(y)] = 0
    scale = max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0)))
    worst = float(d.max(initial=0)) / scale
    return "" if worst <= tolerance else f"differs by {worst:.1e} of the scale (tolerance {tolerance:.0e})"
