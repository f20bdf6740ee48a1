"""What all tests share: the fixtures, and how a case is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parent.parent / "fixtures"


@dataclass(frozen=True)
class Case:
    """A genuine file with the inputs it was given and the outputs that its Keras computed."""

    id: str
    folder: Path
    data: dict[str, Any]

    @property
    def source(self) -> Path:
        return self.folder / self.data["model"]

    @property
    def options(self) -> dict[str, Any]:
        config = {"config": self.folder / self.data["config"]} if self.data["config"] else {}
        return {**self.data["options"], **config}

    def calls(self) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
        """(inputs, outputs) of each call, one after the other."""
        with np.load(self.folder / "golden.npz", allow_pickle=False) as golden:
            prefixes = ["", *(f"call{k}." for k in range(1, self.data["calls"]))]
            return [tuple(_numbered(golden, prefix + end) for end in ("in", "out")) for prefix in prefixes]


def _numbered(golden: Any, prefix: str) -> list[np.ndarray]:
    count = sum(name.startswith(prefix) for name in golden.files)
    return [golden[f"{prefix}{i}"] for i in range(count)]


def genuine_cases() -> list[Case]:
    """All cases of the fixtures, by id."""
    files = sorted(FIXTURES.rglob("case.json"))
    found = [(f.parent, json.loads(f.read_text(encoding="utf-8"))) for f in files]
    return [Case(data["id"], folder, data) for folder, data in found]


def genuine(case_id: str) -> Case:
    """The case of this id, such as "keras-2.2.4-tf1.12/bi_lstm_stack"."""
    folder = FIXTURES / "genuine" / case_id
    return Case(case_id, folder, json.loads((folder / "case.json").read_text(encoding="utf-8")))
