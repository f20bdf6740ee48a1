"""Runs h5port on files found in the wild and compares with what their Keras computed.

A difference of up to 2e-5 of the scale is told, not failed: on some trained models the Keras that wrote the file
differs as much from itself, by rounding alone, when it computes a row by itself or in a batch.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDING = 2e-5


def difference(text: str) -> float | None:
    """The difference that a result speaks of; 0 where there is none, None where it is something else."""
    found = re.search(r"differs by (\S+) of the scale", text)
    return 0.0 if not text else float(found[1]) if found else None


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        command = [sys.executable, "../shared/check.py", "corpus", "--core", "--json", str(results)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        rows = json.loads(results.read_text())
    right = wrong = 0
    for row in rows:
        differences = [difference(text) for text in row["results"].values()]
        worst = max((d for d in differences if d is not None), default=0.0)
        if None in differences or worst > ROUNDING:
            wrong += 1
            print(f"wrong: {row['id']}: {row['results']}")
        elif worst:
            print(f"rounding: {row['id']} differs by {worst:.2e}")
        else:
            right += 1
    print(f"corpus: {right} of {len(rows)} within their tolerance, {wrong} wrong")
    return int(wrong > 0 or not rows)


if __name__ == "__main__":
    raise SystemExit(main())
