"""How fast, how small: measures every section and writes results.json, the plots and docs/speed.md.

    python benchmarks/run.py [--full] [--only SECTION] [--folder DIR] [--oracle .oracle/bin/python]

The quick mode takes about three minutes, the full one about half an hour and 20 GB of disk. Nothing here is a
test: the figures are those of one machine on one day; what counts are the ratios to a reference measured beside.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import measure
import msgspec
import page
from sections import SECTIONS, Setting

HERE = Path(__file__).parent
PACKAGES = "h5port numpy h5py safetensors msgspec torch".split()
KERAS = "keras tensorflow-cpu numpy".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="models of 1.6 and 6 GB, more rounds")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section alone; others stay as they are")
    parser.add_argument("--folder", type=Path, help="where the models are made; a temporary folder if not given")
    parser.add_argument("--oracle", type=Path, default=HERE.parent / ".oracle" / "bin" / "python")
    given = parser.parse_args()
    oracle = given.oracle.absolute() if given.oracle.exists() else None
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        setting = Setting(Path(folder), given.full, 3 if given.full else 2, oracle)
        rows = [row for name in given.only or SECTIONS for row in measured(name, setting)]
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": measure.machine(),
        "versions": measure.versions(Path(sys.executable), PACKAGES),
        "keras": {} if oracle is None else measure.versions(oracle, KERAS),
        "rows": kept(given.only) + rows if given.only else rows,
    }
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    (HERE / "results.json").write_bytes(text + b"\n")
    (HERE.parent / "docs" / "speed.md").write_text(page.document(HERE / "results.json"), encoding="utf-8")
    from plots import draw

    draw(HERE / "results.json", HERE)


def measured(name: str, setting: Setting) -> list[measure.Row]:
    start, rows = time.monotonic(), []
    for row in SECTIONS[name](setting):
        row.mode = "full" if setting.full else "quick"
        rows.append(row)
        print(told(row), flush=True)
    print(f"-- {name}: {time.monotonic() - start:.0f} s", flush=True)
    return rows


def told(row: measure.Row) -> str:
    text = f"{row.section:8} {row.case:28} {row.route:38}"
    if row.section == "install":
        return text + f"{(row.size or 0) / 1e6:9.2f} MB"
    text += f"{row.median * 1e3:11.1f} ms"
    text += f"{row.peak_mb:9.0f} MB" if row.peak_mb else " " * 12
    text += f"{row.ratio:8.2f}x" if row.ratio is not None else ""
    return text + (f"  (limit {row.limit:g}x)" if row.limit is not None else "")


def kept(only: list[str]) -> list[measure.Row]:
    """The rows of the other sections, as they were measured last."""
    file = HERE / "results.json"
    rows = msgspec.json.decode(file.read_bytes())["rows"] if file.exists() else []
    return [msgspec.convert(r, measure.Row) for r in rows if r["section"] not in only]


if __name__ == "__main__":
    main()
