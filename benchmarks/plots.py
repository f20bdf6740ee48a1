"""The plots of results.json that the README shows."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

OURS, OTHERS, LIMIT = "#1f6f8b", "#b0b0b0", "#444444"
STYLE = {"svg.hashsalt": "h5port", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9}


def draw(results: Path, folder: Path) -> None:
    """convert.svg, growth.svg and speed.svg, and the same as PNG."""
    rows = json.loads(results.read_text())["rows"]
    plots = {"convert": ("bytes", convert), "growth": ("growth", growth), "speed": ("speed", speed)}
    for name, (section, plot) in plots.items():
        chosen = [row for row in rows if row["section"] == section]
        if not chosen:
            continue
        with matplotlib.rc_context(STYLE):
            figure = plot(chosen)
            figure.tight_layout()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=150)


def cases_of(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault(row["case"], []).append(row)
    return cases


def convert(rows: list[dict[str, Any]]) -> Figure:
    """Times of `cp`: bars, one group a case, on a logarithmic axis."""
    return bars(rows, "times cp and sync of the copy", logarithmic=True)


def speed(rows: list[dict[str, Any]]) -> Figure:
    return bars(rows, "times the reference (1.0), batch of 32")


def bars(rows: list[dict[str, Any]], label: str, *, logarithmic: bool = False) -> Figure:
    cases = cases_of(rows)
    heights = [len(of) for of in cases.values()]
    figure = Figure((7, 0.6 + 0.28 * sum(heights) + 0.35 * len(cases)))
    axes = figure.subplots(len(cases), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for ax, (case, of) in zip(axes, cases.items(), strict=True):
        ratios, names = [row["ratio"] for row in of][::-1], [row["route"] for row in of][::-1]
        colors = [OURS if n.startswith("h5port") else OTHERS for n in names]
        drawn = ax.barh(names, ratios, color=colors)
        ax.bar_label(drawn, [f"{r:.2f}" for r in ratios], padding=3)
        ax.set_title(case, loc="left")
        ax.axvline(1, color=LIMIT, linewidth=0.8)
        ax.spines[["top", "right"]].set_visible(False)
        if logarithmic:
            ax.set_xscale("log")
        ax.margins(x=0.12)
    axes[-1].set_xlabel(label)
    return figure


def growth(rows: list[dict[str, Any]]) -> Figure:
    """Seconds by bytes and by layers, both logarithmic, with the slope of the larger half."""
    cases = cases_of(rows)
    figure = Figure((7, 2.8))
    axes = figure.subplots(1, len(cases), squeeze=False)
    for ax, (case, of) in zip(axes[0], cases.items(), strict=True):
        sizes, seconds = [row["size"] for row in of], [median(row["seconds"]) for row in of]
        half = len(sizes) // 2
        slope = np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0] if len(sizes) - half > 1 else np.nan
        ax.loglog(sizes, seconds, "o-", color=OURS)
        ax.set_xlabel(case)
        ax.set_ylabel("seconds, whole process")
        ax.set_title(f"{of[0]['route']}: slope {slope:.2f}", loc="left")
        ax.grid(alpha=0.3)
    return figure
