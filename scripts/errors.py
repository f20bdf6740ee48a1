"""Writes docs/errors.md, the list of error codes and exit statuses."""

from __future__ import annotations

from pathlib import Path

from h5port.errors import CODES

HEAD = """# Errors

Written by `scripts/errors.py`. Every refusal is an `h5port.H5PortError`: `error.problems` lists everything that was
found, each with a stable code, the place in the file and in the config, and what to do next. The command ends with the
exit status of the first problem; 0 means done, 1 a defect of h5port itself.

| code | exit status | meaning |
|---|---|---|
"""


def document() -> str:
    return HEAD + "".join(f"| `{code}` | {status} | {meaning} |\n" for code, (status, meaning) in CODES.items())


if __name__ == "__main__":
    (Path(__file__).parent.parent / "docs" / "errors.md").write_text(document(), encoding="utf-8")
