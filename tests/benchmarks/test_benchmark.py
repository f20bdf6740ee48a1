"""The benchmark's models are models, and its plots can be drawn. What it measures is tested nowhere: it is a figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import h5port

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import inputs  # noqa: E402

MODELS = {
    "mixed": inputs.mixed(8, 2),
    "stack": inputs.stack(units=4),
    "masked": [inputs.masking(), *inputs.stack("GRU", units=4, reset_after=False)],
    "images": inputs.images((4, 8)),
    "chain": inputs.chain(20),
}


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_benchmark_can_be_converted(name: str, suffix: str, tmp_path: Path) -> None:
    layers, source = MODELS[name], tmp_path / f"model{suffix}"
    inputs.write(source, layers)
    report = h5port.convert(source, tmp_path / "out")
    assert report.source.container == ("keras-zip" if suffix == ".keras" else "h5-full")
    weights = sum(t.recipe.fill is None for t in report.tensors.values())
    assert weights == sum(len(layer.variables) for layer in layers)
    assert report.bytes >= inputs.bytes_of(layers)


def test_the_plots_of_the_results_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import plots

    def row(section: str, case: str, route: str, ratio: float | None, size: float | None = None) -> dict[str, object]:
        found = {"section": section, "case": case, "route": route, "seconds": [1.0, 2.0], "ratio": ratio, "size": size}
        return {**found, "peak_mb": None, "limit": None}

    rows = [row("bytes", "1 GB", "cp and sync", 1.0), row("bytes", "1 GB", "h5port", 1.2)]
    rows += [row("growth", what, "h5port", None, size) for what in ("bytes", "layers") for size in (10, 100, 1000)]
    rows += [row("speed", "2 BiLSTM", "h5port", 1.0)]
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows}))
    plots.draw(tmp_path / "results.json", tmp_path)
    drawn = {f.name for f in tmp_path.iterdir()} - {"results.json"}
    assert drawn == {f"{n}.{e}" for n in ("convert", "growth", "speed") for e in ("svg", "png")}


def test_the_page_of_the_results_is_up_to_date() -> None:
    import page

    text = (BENCHMARKS.parent / "docs" / "speed.md").read_text(encoding="utf-8")
    assert text == page.document(BENCHMARKS / "results.json")
