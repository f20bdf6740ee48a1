"""h5port against genuine Kerases: builds there, compares here, counts, and keeps what fails.

    python tests/oracle/run.py --python .oracle/bin/python [--only CLASS] [--seed N] [--graphs N] [--mutants N] ...

Every example of every declaration, varied layers, random graphs, the failures of earlier runs (failures/*.json), and
architectures with one value changed. Exit status 1 if h5port computes other numbers than the Keras, crashes, or
refuses what it declares to be exact.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import draws
import examples
import msgspec
import mutations
from compare import Outcome, compare
from description import Description, Mutant

HERE = Path(__file__).parent
FAILURES = HERE / "failures"
PROCESSES = 2
PATIENCE = 120  # seconds without a result after which a job is given up; the first one waits for imports
KEPT = 20  # failures that one run writes down


class Oracle:
    """The environment with the genuine Kerases: jobs in, case folders out."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.parts = 0

    def signatures(self) -> dict[str, dict[str, list[str]]]:
        """package -> layer class -> its options."""
        out = subprocess.run([self.python, HERE / "signatures.py"], check=True, capture_output=True, text=True).stdout
        found: dict[str, dict[str, list[str]]] = json.loads(out.splitlines()[-1])
        return found

    def run(self, jobs: list[Any]) -> list[dict[str, Any]]:
        """The results of all jobs; two processes at a time."""
        parts = [jobs[i::PROCESSES] for i in range(PROCESSES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            return [r for part in pool.map(self._part, parts) for r in part]

    def _part(self, jobs: list[Any]) -> list[dict[str, Any]]:
        """One process after another, for as long as there is something left: a job may take the process with it."""
        self.parts += 1
        base = self.folder / f"part{self.parts}"
        jobs_file, results_file = base.with_suffix(".json"), base.with_suffix(".jsonl")
        jobs_file.write_bytes(msgspec.json.encode(jobs))
        results: list[dict[str, Any]] = []
        while len(results) < len(jobs):
            with base.with_suffix(".log").open("a") as log:
                command = [
                    str(a) for a in (self.python, HERE / "build.py", jobs_file, results_file, self.folder, len(results))
                ]
                _run_while_it_goes_on(command, results_file, log)
            results = (
                [json.loads(line) for line in results_file.read_text().splitlines()] if results_file.exists() else []
            )
            if len(results) < len(jobs):
                died = {"id": jobs[len(results)]["id"], "folders": [], "why": "the process of this Keras died"}
                with results_file.open("a") as file:
                    file.write(json.dumps(died) + "\n")
                results.append(died)
        return results


def _run_while_it_goes_on(command: list[str], results_file: Path, log: Any) -> None:
    """Run a process to its end, or until a job takes longer than PATIENCE: some changed models keep Keras forever."""
    with subprocess.Popen(command, stdout=log, stderr=log) as process:
        size = -1
        while process.poll() is None:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                before, size = size, results_file.stat().st_size if results_file.exists() else 0
                if size == before:
                    process.kill()


class Tally:
    """What became of the cases of each kind, and the failures."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}
        self.codes: Counter[str] = Counter()
        self.failed: list[Outcome] = []
        self.unbuilt: list[dict[str, Any]] = []

    def add(self, kind: str, results: list[dict[str, Any]], outcomes: list[Outcome]) -> None:
        row = self.rows.setdefault(kind, Counter())
        row["asked"] += len(results)
        row["built"] += sum(bool(r["folders"]) for r in results)
        row.update(o.what for o in outcomes)
        self.codes.update(o.code for o in outcomes if o.what == "refused")
        self.failed += [o for o in outcomes if o.what == "failed"]
        self.unbuilt += [r for r in results if not r["folders"]]

    def report(self) -> None:
        columns = ("asked", "built", "equal", "refused", "failed")
        print(f"{'':10}" + "".join(f"{c:>9}" for c in columns))
        for kind, row in self.rows.items():
            print(f"{kind:10}" + "".join(f"{row[c]:>9}" for c in columns))
        if self.codes:
            print("refused: " + ", ".join(f"{code} {n}" for code, n in self.codes.most_common()))


def compared(results: list[dict[str, Any]]) -> list[Outcome]:
    folders = [f for r in results for f in r["folders"]]
    with ProcessPoolExecutor(PROCESSES) as pool:
        return list(pool.map(compare, folders, chunksize=8))


def kept() -> Iterator[Any]:
    """What failed before and was written down."""
    for file in sorted(FAILURES.glob("*.json")):
        yield json.loads(file.read_text())


def keep(outcome: Outcome) -> None:
    """Write the description of a failure down, so that it is built again in each run."""
    place = Path(outcome.folder)
    case = json.loads((place / "case.json").read_text())
    if case["family"] == "mutant":
        source = Path(case["model"]).parent
        description = json.loads((source / "description.json").read_text())
        description |= {"document": json.loads((place / "arch.json").read_text()), "changed": case["tests"]}
    else:
        description = json.loads((place / "description.json").read_text())
        description["containers"] = [case["container"]]
    description |= {"id": f"failure-{case['id'].replace('/', '-')}", "kind": "failure", "differs": outcome.text[:300]}
    FAILURES.mkdir(exist_ok=True)
    (FAILURES / f"{description['id']}.json").write_text(json.dumps(description, indent=1) + "\n")


def wanted_by(only: str | None) -> Callable[[Iterable[str]], bool]:
    return lambda classes: only is None or only in classes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="the Python of the oracle's environment")
    parser.add_argument("--only", help="cases of this layer or operation class alone")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--variants", type=int, default=600, help="examples masked, wrapped, called twice ...")
    parser.add_argument("--kind", default="", help="variants of this kind alone: whole, masked, timed ...")
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=600)
    parser.add_argument("--mutants", type=int, default=3500)
    parser.add_argument("--no-examples", action="store_true")
    parser.add_argument("--keep", action="store_true", help="write failures down in failures/")
    parser.add_argument("--folder", type=Path, help="where the cases are left; a temporary folder if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return run(given, Oracle(given.python.absolute(), folder.absolute()))


def run(given: argparse.Namespace, oracle: Oracle) -> int:
    start, tally, wanted = time.monotonic(), Tally(), wanted_by(given.only)
    draw = draws.Draws(oracle.signatures(), given.seed)
    described: dict[str, list[Description]] = {
        "failures": [d for d in kept() if wanted(d["classes"])],
        **({} if given.no_examples else of_examples(given, wanted)),
        "layers": draw.layers(given.layers, lambda name: wanted([name])),
        "graphs": [d for d in draw.graphs(given.graphs) if wanted(d["classes"])],
    }
    jobs = [d for of_kind in described.values() for d in of_kind]
    results = {r["id"]: r for r in oracle.run(jobs)}
    for kind, of_kind in described.items():
        of_this = [results[d["id"]] for d in of_kind]
        tally.add(kind, of_this, compared(of_this))
    bases = [f for r in results.values() for f in r["folders"] if f.endswith("/weights.h5")]
    changed: list[Mutant] = list(mutations.mutants(sorted(bases), given.mutants, given.seed))
    loaded = oracle.run(changed)
    tally.add("mutants", loaded, compared(loaded))
    for outcome in tally.failed:
        print(f"FAILED {told(outcome)}")
    for outcome in tally.failed[:KEPT] if given.keep else []:
        keep(outcome)
    tally.report()
    print(f"seed {given.seed}, {time.monotonic() - start:.0f} s, {len(tally.failed)} failed")
    (oracle.folder / "unbuilt.json").write_text(json.dumps(tally.unbuilt, indent=1))
    return 1 if tally.failed or not (given.no_examples or tally.rows["examples"]["equal"]) else 0


def of_examples(given: argparse.Namespace, wanted: Callable[[Iterable[str]], bool]) -> dict[str, list[Description]]:
    """All examples as they are, and as many of their variants as are asked for."""
    every = [d for d in examples.descriptions() if wanted(d["classes"])]
    plain = [d for d in every if examples.is_plain(d["id"])]
    others = [d for d in every if not examples.is_plain(d["id"]) and given.kind in d["id"]]
    return {
        "examples": plain,
        "variants": random.Random(given.seed).sample(others, min(given.variants, len(others))),
    }


def told(outcome: Outcome) -> str:
    """One line: which case, what was done to it, what differs."""
    case = json.loads((Path(outcome.folder) / "case.json").read_text())
    return f"{case['id']} ({', '.join(case['layers'])}; {case['tests']}): {outcome.text}"


if __name__ == "__main__":
    sys.exit(main())
