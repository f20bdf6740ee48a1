"""What is generated is up to date, and what the README shows is true."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import FIXTURES

ROOT = Path(__file__).parent.parent


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["layers", "errors"])
def test_the_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == script(name).document()


def test_every_class_of_the_three_kerases_has_a_word() -> None:
    layers = script("layers")
    assert [n for names in layers.classes().values() for n in names if not layers.status(n)] == []


def test_the_two_lines_of_the_readme_load_an_lstm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(lstm = .*?)```", text, re.DOTALL)[1]
    (tmp_path / "model.h5").write_bytes((FIXTURES / "made" / "bilstm_keras231" / "model.h5").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec("import torch, h5port\n" + code.replace('"bidirectional_1"', '"bilstm_1"'), {})


def test_links_of_the_documents_lead_to_files() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


WALK = """
from synthetic import synthetic

lowered = synthetic(("Doubled", {"units": 3})).lower()
print([c.target for c in lowered.program.calls], {n: r.shape() for n, r in lowered.recipes.items()})
"""


def test_a_layer_added_as_the_guide_says_is_one_file(tmp_path: Path) -> None:
    """The class of CONTRIBUTING.md in a file of its own, in a copy of the package; nothing else is touched."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = textwrap.dedent(re.search(r"```python\n(.*?@declares.*?)```", text, re.DOTALL)[1])
    head = (ROOT / "h5port" / "layers" / "core.py").read_text(encoding="utf-8").split("\n\n\n")[0].split('"""')[2]
    shutil.copytree(ROOT / "h5port", tmp_path / "h5port", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "h5port" / "layers" / "doubled.py").write_text(f"{head}\n\n{code}", encoding="utf-8")
    (tmp_path / "walk.py").write_text(WALK, encoding="utf-8")
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'tests' / 'layers'}"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "walk.py")],
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'@doubled_at_0', 'add'" in done.stdout
    assert "(3, 4)" in done.stdout
