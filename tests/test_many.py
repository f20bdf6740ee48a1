"""Many files: one outcome each, whatever executor runs them; what is done is not done again."""

from __future__ import annotations

import shutil
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import FIXTURES, genuine
from hypothesis import given, reject
from hypothesis import strategies as st

import h5port
from h5port.many import Outcome, output_names

GOOD = FIXTURES / "made" / "bilstm_keras231" / "model.h5"
REFUSED = genuine("tf_keras-2.21/custom_lstm_activation").source


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two models, one that is refused and one that is no model."""
    (tmp_path / "in").mkdir()
    copies = [Path(shutil.copy(s, tmp_path / "in" / n)) for s, n in ((GOOD, "a.h5"), (REFUSED, "b.h5"), (GOOD, "c.h5"))]
    (tmp_path / "in" / "d.h5").write_bytes(b"no model")
    return [*copies, tmp_path / "in" / "d.h5"]


def convert(files: list[Path], out: Path, executor: Executor | None = None, **options: object) -> list[Outcome]:
    if executor is not None:
        return h5port.convert_many(files, out, executor=executor, **options)
    with ThreadPoolExecutor(2) as threads:
        return h5port.convert_many(files, out, executor=threads, **options)


def states(outcomes: list[Outcome]) -> list[str]:
    return [o.problems[0].code if o.problems else "there" if o.resumed else "done" for o in outcomes]


def contents(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def test_each_file_has_its_outcome_in_the_order_of_the_files(files: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    found = convert(files, tmp_path / "out", progress=lambda o, done, total: seen.append((o.source, done, total)))
    assert [o.source for o in found] == [str(f) for f in files]
    assert states(found) == ["done", "unknown-activation", "done", "not-keras"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_torch", "c_torch"]
    assert {s for s, _, _ in seen} == {str(f) for f in files}
    assert [(done, total) for _, done, total in seen] == [(i, 4) for i in range(1, 5)]


def test_an_output_is_what_convert_writes(files: list[Path], tmp_path: Path) -> None:
    (outcome,) = convert(files[:1], tmp_path / "many")
    h5port.convert(files[0], tmp_path / "one")
    made, alone = contents(Path(outcome.output)), contents(tmp_path / "one")
    for found in (made, alone):
        found["report.json"] = b"\n".join(x for x in found["report.json"].split(b"\n") if b'"output"' not in x)
    assert made == alone


def test_a_run_that_was_stopped_goes_on(files: list[Path], tmp_path: Path) -> None:
    convert(files[:1], tmp_path / "out")
    before = (tmp_path / "out" / "a_torch" / "report.json").stat()
    found = convert(files, tmp_path / "out")
    assert states(found) == ["there", "unknown-activation", "done", "not-keras"]
    assert found[0].report is not None
    assert (tmp_path / "out" / "a_torch" / "report.json").stat() == before


@pytest.mark.parametrize("change", ["bytes", "options", "no hash", "not ours"])
def test_an_output_of_something_else_is_refused_and_can_be_replaced(
    change: str, files: list[Path], tmp_path: Path
) -> None:
    out, options = tmp_path / "out", {}
    convert(files[:1], out, hash=change != "no hash")
    if change == "bytes":
        shutil.copy(genuine("keras-2.2.4-tf1.12/bi_lstm_stack").source, files[0])
    elif change == "options":
        options = {"stack_recurrent": True}
    elif change == "not ours":
        shutil.rmtree(out / "a_torch")
        (out / "a_torch").mkdir()
        (out / "a_torch" / "mine").write_text("")
    assert states(convert(files[:1], out, **options)) == ["output-exists"]
    if change != "not ours":
        assert states(convert(files[:1], out, overwrite=True, **options)) == ["done"]


def test_processes_convert_with_the_replacements_of_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("import h5port\nh5port.register('Lambda')(lambda config, tensors: None)\n")
    case = genuine("keras-2.2.4-tf1.12/bi_lstm_stack")
    (outcome,) = h5port.convert_many([case.source], tmp_path / "out", jobs=1, custom_file=mine)
    assert outcome.report is not None
    assert outcome.report.options == {"custom": ["Lambda"]}


@pytest.mark.parametrize("is_mended", [True, False])
def test_a_process_that_dies_takes_no_other_file_with_it(is_mended: bool, files: list[Path], tmp_path: Path) -> None:
    mark, deadly = tmp_path / "mark", tmp_path / "deadly.py"
    deadly.write_text(f"""
import os, pathlib
mark = pathlib.Path({str(mark)!r})
if not mark.exists() or not {is_mended}:
    mark.touch()
    os._exit(9)
""")
    found = h5port.convert_many(files[:3], tmp_path / "out", jobs=1, custom_file=deadly)
    assert states(found) == (["done", "unknown-activation", "done"] if is_mended else ["defect"] * 3)


def test_replacements_that_cannot_be_sent_to_a_process_are_refused_at_once(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(h5port.H5PortError, match="custom_file") as error:
        h5port.convert_many(files, tmp_path / "out", custom={"X": lambda config, tensors: None})
    assert error.value.code == "bad-argument"


class Broken(Executor):
    """All its processes are dead."""

    def submit(self, function: object, /, *args: object, **kwargs: object) -> Future[object]:
        raise BrokenExecutor


def test_an_executor_whose_processes_are_dead_is_a_defect_of_each_file(files: list[Path], tmp_path: Path) -> None:
    assert states(convert(files, tmp_path / "out", Broken())) == ["defect"] * 4


def test_a_cluster_of_dask_serves(files: list[Path], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = convert(files, tmp_path / "out", client.get_executor())
    assert states(found) == ["done", "unknown-activation", "done", "not-keras"]


def test_a_file_that_is_given_twice_is_refused(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(h5port.H5PortError, match="twice"):
        convert([files[0], files[0].parent / "." / files[0].name], tmp_path / "out")


def test_names_say_no_more_than_is_needed() -> None:
    def names(*paths: str) -> list[str]:
        return output_names([Path("/x") / p for p in paths])

    assert names("a.h5", "b.weights.h5") == ["a", "b"]
    assert names("1/m.h5", "2/m.h5") == ["1-m", "2-m"]
    assert names("m.h5", "m.keras") == ["m.h5", "m.keras"]


PATHS = st.lists(st.lists(st.sampled_from(["a", "b", "m.h5", "m.keras", "M.h5"]), min_size=1, max_size=4), min_size=1)


@given(paths=PATHS)
def test_names_are_different_or_refused(paths: list[list[str]]) -> None:
    found = [Path("/x").joinpath(*p) for p in dict.fromkeys(map(tuple, paths))]
    try:
        names = output_names(found)
    except h5port.H5PortError:  # names that some systems take for one
        reject()
    assert len({n.lower() for n in names}) == len(names) == len(found)
    assert not any("/" in n for n in names)
