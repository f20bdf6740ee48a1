"""The files of an output folder: written and read again, refused when strange, the same bytes for the same input."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import FIXTURES, genuine, genuine_cases
from hypothesis import given
from hypothesis import strategies as st
from transform.strategies import FAST, bits

import h5port
from h5port.module.program import VERSION, CallSpec, Document, ModuleSpec, Program, TensorSpec, ValueSpec
from h5port.output import folder
from h5port.output.report import Report, SourceReport, module_reports, tensor_reports

FILES = [folder.WEIGHTS, folder.CONFIG, folder.CODE, folder.REPORT]
SAMPLES = ["keras-2.2.4-tf1.12/gru_mask_seq", "keras-3.15.1-torch/nested_multi_output", "tf_keras-2.21/dict_inputs_zip"]
SOURCE = genuine(SAMPLES[0])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)
arguments = st.dictionaries(st.text(max_size=5), json_values, max_size=3)


def program(args: dict[str, Any], name: str = "model", inner: Program | None = None) -> Program:
    """A program with something in every field."""
    modules = {"dense": ModuleSpec(type="Linear", args=args, tensors={"weight": TensorSpec((3, 2), "float32", False)})}
    if inner is not None:
        modules["inner"] = ModuleSpec(type="Program", program=inner, why="a nested model")
    return Program(
        name=name,
        doc=f"Keras model {name!r}",
        inputs={"a": "a", "b": "b"},
        outputs=["y", ["a"]],
        modules=modules,
        calls=(
            CallSpec(target="@dense", inputs=("a",), outputs=("y",)),
            CallSpec(target="last_steps", inputs=("@dense", ["a", None, ["b"]], None), outputs=("z", "w"), args=args),
        ),
        values={"a": ValueSpec(shape=(None, 3), role="input"), "b": ValueSpec(dtype="bool"), "y": ValueSpec(shape=())},
    )


def empty_report(of: Program) -> Report:
    source = SourceReport(file="model.h5", sha256="0" * 64, container="h5", writer="keras-2.2.4 (tensorflow)")
    return Report(
        source=source,
        h5port="1",
        tensors=tensor_reports({}),
        modules=module_reports(of),
        notes=("a note",),
        dropped={"optimizer": "not needed"},
        parameters=0,
        bytes=0,
    )


def write_config(out: Path, data: bytes) -> Path:
    """A folder with this config.json and nothing else."""
    out.mkdir(exist_ok=True)
    (out / folder.CONFIG).write_bytes(data)
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folder")


# ---- write, then read


@FAST
@given(arguments, st.text(max_size=10))
def test_a_program_reads_back_as_it_was_written(place: Path, args: Any, name: str) -> None:
    wanted = program({"more": args}, name, program(args))
    assert folder.read_program(write_config(place / "any", folder.to_json(Document(program=wanted)))) == wanted


def test_a_folder_holds_the_four_files_and_reads_back(tmp_path: Path) -> None:
    wanted = program({})
    report = empty_report(wanted)
    simple = msgspec.structs.replace(
        wanted, inputs=["a", "b"], calls=wanted.calls[:1], outputs=["y"], modules={"dense": linear()}
    )
    origin = folder.Origin({}.__getitem__, lambda: None, lambda: report.source.sha256)
    folder.write_folder(tmp_path / "out", simple, {}, report, origin, overwrite=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert folder.is_folder(tmp_path / "out")
    assert folder.read_program(tmp_path / "out") == simple
    assert folder.read_report(tmp_path / "out") == report


def linear() -> ModuleSpec:
    return ModuleSpec(type="Linear", args={"in_features": 2, "out_features": 3})


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")], ids=str)
def test_a_number_that_json_has_not_is_never_lost_in_silence(number: float, tmp_path: Path) -> None:
    wanted = program({"value": number})
    try:
        data = folder.to_json(Document(program=wanted))
    except (ValueError, h5port.H5PortError):
        return  # refusing to write it is as good
    read = folder.read_program(write_config(tmp_path / "out", data))
    assert repr(read.modules["dense"].args) == repr(wanted.modules["dense"].args)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The samples, each converted once."""
    out = tmp_path_factory.mktemp("converted")
    for sample in SAMPLES:
        case = genuine(sample)
        h5port.convert(case.source, out / sample, **case.options)
    return {sample: out / sample for sample in SAMPLES}


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_convert_wrote_reads_and_writes_again_to_the_same_bytes(sample: str, converted: dict[str, Path]) -> None:
    out = converted[sample]
    assert folder.to_json(Document(program=folder.read_program(out))) == (out / folder.CONFIG).read_bytes()
    assert folder.to_json(folder.read_report(out)) == (out / folder.REPORT).read_bytes()


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_folder_holds_the_program_that_load_builds(sample: str, converted: dict[str, Path]) -> None:
    pytest.importorskip("torch")
    case = genuine(sample)
    assert folder.read_program(converted[sample]) == h5port.load(case.source, **case.options).program


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_report_accounts_for_every_tensor_and_byte(sample: str, converted: dict[str, Path]) -> None:
    case, report = genuine(sample), folder.read_report(converted[sample])
    data = (converted[sample] / folder.WEIGHTS).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.pop("__metadata__")
    assert (metadata["source_sha256"], metadata["writer"]) == (report.source.sha256, report.source.writer)
    assert report.source.sha256 == folder.sha256(case.source)
    assert {n: list(t.shape) for n, t in report.tensors.items()} == {n: t["shape"] for n, t in header.items()}
    assert report.bytes == max(t["data_offsets"][1] for t in header.values())
    assert report.parameters == sum(math.prod(t["shape"]) for t in header.values())
    assert all(t.recipe.shape() == t.shape and t.words == t.recipe.words() for t in report.tensors.values())


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_recipes_of_the_report_make_what_state_dict_gives(sample: str, converted: dict[str, Path]) -> None:
    case, report = genuine(sample), folder.read_report(converted[sample])
    arrays = h5port.state_dict(case.source, **case.options)
    assert set(arrays) == set(report.tensors)
    assert all(arrays[n].shape == t.shape for n, t in report.tensors.items())
    from safetensors.numpy import load_file

    assert {n: bits(a) for n, a in load_file(converted[sample] / folder.WEIGHTS).items()} == {
        n: bits(a) for n, a in arrays.items()
    }


# ---- refusals


def refused(out: Path) -> str:
    with pytest.raises(h5port.H5PortError) as error:
        folder.read_program(out)
    assert error.value.code == "bad-output"
    assert str(out / folder.CONFIG) in str(error.value)
    return str(error.value)


def code_of_reading(out: Path) -> str | None:
    """The code of the refusal; None if a program was read."""
    try:
        folder.read_program(out)
    except h5port.H5PortError as error:
        return error.code
    return None


@pytest.mark.parametrize("version", [VERSION + 1, 1000])
def test_a_newer_config_is_refused_by_its_version_whatever_is_in_it(version: int, tmp_path: Path) -> None:
    data = {"format": "h5port-module", "version": version, "program": {"unheard": "of"}}
    message = refused(write_config(tmp_path / "out", json.dumps(data).encode()))
    assert f"version {version}" in message
    assert "newer h5port" in message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe{}",
        b'{"format": "h5port-module"',
        b'{"format": "h5port-module", "version": 1}',
        b'{"format": "h5port-module", "version": "1", "program": {}}',
        b'{"format": "h5port-module", "version": 1, "program": null}',
        b'{"format": "h5port-report", "version": 1}',
        b'{"model_type": "bert", "hidden_size": 768}',
        pytest.param(b"[" * 100_000, id="a deep list"),
        pytest.param(b'{"a":' * 100_000, id="a deep object"),
        pytest.param(
            b'{"format": "h5port-module", "version": 1, "program": ' + b'{"inputs":' * 100_000, id="deep inputs"
        ),
        pytest.param(b'{"version": ' + b"9" * 100_000 + b"}", id="a long number"),
    ],
)
def test_what_is_no_config_is_refused(data: bytes, tmp_path: Path) -> None:
    refused(write_config(tmp_path / "out", data))


@FAST
@given(st.binary(max_size=40))
def test_random_bytes_are_refused(place: Path, data: bytes) -> None:
    refused(write_config(place / "bytes", data))


@FAST
@given(data=st.data())
def test_a_config_with_a_field_of_another_kind_is_refused_or_another_program(
    place: Path, converted: dict[str, Path], data: st.DataObject
) -> None:
    """One field anywhere in a genuine config is replaced: never another error than our own."""
    config = json.loads((converted[SAMPLES[1]] / folder.CONFIG).read_bytes())
    at: Any = config
    while True:
        key = data.draw(st.sampled_from(sorted(at)) if isinstance(at, dict) else st.integers(0, len(at) - 1))
        if not (isinstance(at[key], dict | list) and at[key] and data.draw(st.integers(0, 3))):
            break
        at = at[key]
    at[key] = data.draw(json_values)
    out = write_config(place / "changed", json.dumps(config).encode())
    assert code_of_reading(out) in (None, "bad-output")


def test_a_report_that_is_none_is_refused(tmp_path: Path) -> None:
    for data in (None, b"", b"{}", b'{"a":' * 100_000):
        if data is not None:
            (tmp_path / folder.REPORT).write_bytes(data)
        with pytest.raises(h5port.H5PortError) as error:
            folder.read_report(tmp_path)
        assert error.value.code == "bad-output"


def test_a_folder_without_both_files_is_no_output(tmp_path: Path) -> None:
    assert not folder.is_folder(tmp_path)
    for name in (folder.CONFIG, folder.WEIGHTS):
        (tmp_path / name).mkdir()
    assert not folder.is_folder(tmp_path)


# ---- determinism

CONVERT = """
import sys
import h5port
for i, source in enumerate(sys.argv[1:]):
    h5port.convert(source, f"out{i}")
"""


def test_two_runs_give_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    sources = [str(genuine(s).source) for s in SAMPLES]
    results = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", CONVERT, *sources], check=True, cwd=tmp_path / seed, env=env)
        results.append(
            {p.relative_to(tmp_path / seed).as_posix(): p.read_bytes() for p in (tmp_path / seed).glob("*/*")}
        )
    assert len(results[0]) == len(FILES) * len(sources)
    assert results[0] == results[1]


@pytest.mark.parametrize("name", [folder.WEIGHTS, folder.CONFIG, folder.CODE])
def test_no_file_but_the_report_says_where_the_files_are(name: str, converted: dict[str, Path]) -> None:
    data = (converted[SAMPLES[0]] / name).read_bytes()
    assert str(FIXTURES).encode() not in data
    assert str(converted[SAMPLES[0]]).encode() not in data


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_source_whose_name_is_no_utf_8_is_converted_or_refused(tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"mod\xffel.h5")
    shutil.copy(SOURCE.source, strange)
    try:
        h5port.convert(strange, tmp_path / "out")
    except h5port.H5PortError:
        assert not (tmp_path / "out").exists()
    else:
        assert folder.read_program(tmp_path / "out").calls
        assert folder.read_report(tmp_path / "out").source.sha256 == folder.sha256(strange)


def test_the_hash_of_a_folder_depends_on_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"1")
    one = folder.sha256(tmp_path)
    (tmp_path / "deep" / "b").write_bytes(b"2")
    assert folder.sha256(tmp_path) != one
    assert folder.sha256(tmp_path / "deep") == folder.sha256(tmp_path)


def test_the_samples_are_genuine() -> None:
    assert set(SAMPLES) <= {c.id for c in genuine_cases() if c.data["expect"] == "equal"}
