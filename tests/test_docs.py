"""What is generated is up to date, and what the README shows is true."""

from __future__ import annotations

import importlib.util
import re
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
