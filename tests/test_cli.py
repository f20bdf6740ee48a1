"""The command: its options, its exit statuses, and what it prints where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import FIXTURES, genuine

import h5port
from h5port.cli import main
from h5port.errors import CODES

MODEL = str(FIXTURES / "made" / "bilstm_keras231" / "model.h5")


def run(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def test_convert_makes_the_folder_and_says_where(tmp_path: Path) -> None:
    result = run("convert", MODEL, "-o", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert str(tmp_path / "out") in result.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.py",
        "model.safetensors",
        "report.json",
    ]


def test_the_folder_is_named_after_the_file_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("convert", MODEL).exit_code == 0
    assert (tmp_path / "model_torch" / "config.json").is_file()


@pytest.mark.parametrize("command", [["inspect"], ["check"], ["convert", "-o", "OUT"]])
def test_json_is_json_and_nothing_else(command: list[str], tmp_path: Path) -> None:
    args = [str(tmp_path / "out") if a == "OUT" else a for a in command]
    result = run(args[0], MODEL, *args[1:], "--json")
    assert result.exit_code == 0
    json.loads(result.stdout)


def test_a_refusal_goes_to_stderr_with_its_exit_status() -> None:
    case = genuine("tf_keras-2.21/custom_lstm_activation")
    result = run("check", str(case.source))
    assert result.exit_code == CODES["unknown-activation"][0]
    assert result.stdout == ""
    assert "square_it" in result.stderr


def test_a_refusal_with_json_lists_the_problems() -> None:
    case = genuine("tf_keras-2.21/custom_lstm_activation")
    result = run("check", str(case.source), "--json")
    assert [p["code"] for p in json.loads(result.stdout)["problems"]] == ["unknown-activation"]


def test_explain_prints_source_and_steps(tmp_path: Path) -> None:
    run("convert", MODEL, "-o", str(tmp_path / "out"))
    result = run("explain", str(tmp_path / "out"), "bilstm_2.weight_hh_l0")
    assert "recurrent_kernel" in result.stdout


def test_every_option_is_a_keyword_of_the_function_of_the_same_name() -> None:
    import inspect

    spelled = {"as_json": None, "custom_file": "custom", "model": "source", "models": "source", "jobs": None}
    for name, command in main.commands.items():
        function = getattr(h5port, name)
        keywords = inspect.signature(function).parameters
        for parameter in command.params:
            keyword = spelled.get(parameter.name, parameter.name)
            assert keyword is None or keyword in keywords, f"{name} {parameter.name}"


def test_many_models_go_into_folders_of_their_own(tmp_path: Path) -> None:
    other = str(genuine("keras-2.2.4-tf1.12/bi_lstm_stack").source)
    bad = str(genuine("tf_keras-2.21/custom_lstm_activation").source)
    out = tmp_path / "out"
    first = run("convert", MODEL, bad, "-o", str(out), "--jobs", "1")
    assert first.exit_code == CODES["unknown-activation"][0]
    assert "square_it" in first.stderr
    assert "1 of 2 models" in first.stdout
    command = [sys.executable, "-m", "h5port", "convert", MODEL, other, "-o", str(out), "--json"]
    again = subprocess.run(command, capture_output=True, check=True)
    assert [o["resumed"] for o in json.loads(again.stdout)] == [True, False]
    assert len([p for p in out.iterdir() if (p / "config.json").is_file()]) == 2


def test_piped_output_has_no_bar_and_no_escape_codes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "h5port", "convert", MODEL, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "FORCE_COLOR": "1"})
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stderr == b""


def test_the_version_is_printed() -> None:
    assert h5port.__version__ in run("--version").stdout


def test_a_file_of_replacements_is_run_only_when_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch, h5port\n"
        "@h5port.register('lstm')\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self, config, tensors):\n        super().__init__()\n"
        "    def forward(self, x):\n        return x[:, -1]\n"
    )
    case = genuine("tf_keras-2.21/custom_lstm_activation")
    command = [sys.executable, "-m", "h5port", "check", str(case.source)]
    without = subprocess.run(command, check=False, capture_output=True)
    assert without.returncode == CODES["unknown-activation"][0]
    subprocess.run([*command, "--custom", str(file)], check=True, capture_output=True)


def test_the_bar_shows_only_on_a_terminal_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    from h5port import cli

    monkeypatch.setattr(cli.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    with cli._progress() as progress:
        assert progress is None
