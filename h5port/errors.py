"""What h5port refuses, and how it says so.

Every refusal is an `H5PortError` holding one or more `Problem`s. A problem has a stable code (the keys of
`CODES`), the place in the file and in the config, what is wrong, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

# code -> (exit status of the command line, what it means)
CODES: dict[str, tuple[int, str]] = {
    "not-found": (3, "there is no file at this path"),
    "not-keras": (3, "the file is something else than a Keras model"),
    "damaged-file": (3, "the file is cut short or damaged"),
    "unsafe-file": (3, "the file holds something that a model has no use for: a link, data stored elsewhere, a bomb"),
    "incomplete-file": (3, "a layer is listed in the file but its arrays are not there"),
    "no-architecture": (4, "weights without a config"),
    "no-weights": (4, "a config without weights"),
    "bad-config": (4, "the config does not follow the format"),
    "ambiguous-writer": (4, "the numbers depend on which Keras wrote the file, and it does not say"),
    "ambiguous-backend": (4, "the numbers depend on the backend of the writer, and the file does not say"),
    "unknown-layer": (5, "a layer class that h5port does not know"),
    "unsupported-layer": (5, "a layer class of Keras that has no exact form in PyTorch, or holds code"),
    "lambda": (5, "a Lambda layer: its code is never executed"),
    "unknown-option": (5, "an option of a layer that h5port does not know"),
    "unsupported-option": (5, "a value of an option that has no exact PyTorch form here"),
    "unknown-activation": (5, "an activation function that is not in the file"),
    "unsupported-graph": (5, "a graph that cannot be converted exactly"),
    "missing-weights": (6, "a variable of the config has no array in the file"),
    "unused-weights": (6, "an array of the file belongs to no variable of the config"),
    "shape-mismatch": (6, "an array does not have the shape that the config asks for"),
    "ambiguous-weights": (6, "the arrays of a layer cannot be told apart"),
    "output-exists": (7, "the output folder exists"),
    "bad-output": (7, "the folder to load is not one that h5port wrote, or was written by a newer h5port"),
    "missing-extra": (8, "an optional package is needed for this"),
    "defect": (1, "h5port itself failed on this file, or a process that it ran did: please report it"),
    "bad-argument": (2, "an option of the call is not one of those offered"),
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that stands in the way, written for a person who has only this text."""

    code: str
    message: str
    file: str | None = None
    layer: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        place = ", ".join(p for p in (self.file, f"layer {self.layer}" if self.layer else None) if p)
        text = f"[{self.code}] " + (f"{place}: " if place else "") + self.message
        return text + (f" -> {self.remedy}" if self.remedy else "")


class H5PortError(Exception):
    """A refusal: `problems` lists everything that was found, `code` is the first one's."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    @property
    def code(self) -> str:
        return self.problems[0].code

    @property
    def exit_status(self) -> int:
        return CODES[self.code][0]

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return f"{len(self.problems)} problems:\n" + "\n".join(f"  {p}" for p in self.problems)


def refusal(
    code: str, message: str, *, file: str | None = None, layer: str | None = None, remedy: str | None = None
) -> H5PortError:
    """An error with one problem, ready to be raised."""
    if code not in CODES:
        raise KeyError(f"no such error code: {code}")
    return H5PortError([Problem(code=code, message=message, file=file, layer=layer, remedy=remedy)])


class Problems:
    """Collects the refusals of independent steps, so that one run reports them all."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    @contextmanager
    def collect(self, *, file: str | None = None, layer: str | None = None) -> Iterator[None]:
        """Catch the refusals of the block; fill in the place where they do not name one."""
        try:
            yield
        except H5PortError as error:
            for p in error.problems:
                self.found.append(msgspec.structs.replace(p, file=p.file or file, layer=p.layer or layer))

    def add(self, code: str, message: str, *, file: str | None = None, remedy: str | None = None) -> None:
        self.found.append(Problem(code=code, message=message, file=file, remedy=remedy))

    def raise_if_any(self) -> None:
        if self.found:
            raise H5PortError(dict.fromkeys(self.found))
