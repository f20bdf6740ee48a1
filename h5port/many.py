"""Many files: each is converted by itself, by whatever executor there is, and one that is refused stops no other."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from h5port import api
from h5port import custom as replacements
from h5port.errors import H5PortError, Problem, refusal
from h5port.output import folder
from h5port.output.report import Report
from h5port.version import __version__


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file: a report, or the problems that stand in its way.

    resumed  the output was there already, made of the same bytes with the same options by this h5port
    """

    source: str
    output: str
    report: Report | None = None
    problems: tuple[Problem, ...] = ()
    resumed: bool = False


class Task(msgspec.Struct, frozen=True):
    """One file to convert, and how: what an executor is given."""

    source: str
    output: str
    options: api.Options
    raw: bool
    overwrite: bool
    hash: bool
    custom_file: str | None


Progress = Callable[[Outcome, int, int], None]


def convert_many(
    sources: Iterable[api.PathLike],
    out: api.PathLike,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    config: api.PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    custom: Mapping[str, Any] | None = None,
    custom_file: api.PathLike | None = None,
    partial: bool = False,
    stack_recurrent: bool = False,
    raw: bool = False,
    overwrite: bool = False,
    hash: bool = True,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Convert every source into a folder of its own in `out`; gives what became of each, in their order.

    executor     any `concurrent.futures.Executor`; a pool of processes if not given, for which a script needs
                 `if __name__ == "__main__":`
    jobs         how many processes that pool has; one a core if not given
    custom_file  a Python file that registers replacements, run once in each process; those of `custom` and of
                 `h5port.register` must be importable there
    overwrite    convert again what is there. Without it, an output that was made of the same bytes with the same
                 options by this h5port is left as it is, and any other is refused: a run that was stopped goes on
    progress     called with (outcome, files done, files in all) as each is done

    An output is named after its file, as by `convert`, and after the folders above it where names would be the same.
    The other options are those of `convert`. Raises H5PortError only if the call is wrong: refusals of files are in
    their outcomes, and so are defects (code "defect"), such as a process that died.
    """
    options = api.Options(
        config=config,
        writer=writer,
        source_backend=source_backend,
        custom=replacements.known(custom),  # other processes do not have what was registered in this one
        partial=partial,
        stack_recurrent=stack_recurrent,
    )
    if executor is None:
        _check_sendable(options)
    paths = [Path(s) for s in sources]
    suffix = ".safetensors" if raw else "_torch"
    tasks = [
        Task(str(path), str(Path(out) / (name + suffix)), options, raw, overwrite, hash, _text(custom_file))
        for path, name in zip(paths, output_names(paths), strict=True)
    ]
    found: dict[str, Outcome] = {}
    for outcome in _outcomes(tasks, executor, jobs):
        found[outcome.output] = outcome
        if progress is not None:
            progress(outcome, len(found), len(tasks))
    return [found[task.output] for task in tasks]


def _check_sendable(options: api.Options) -> None:
    try:
        pickle.dumps(options)
    except Exception as error:  # whatever pickle or the object itself raises
        raise refusal(
            "bad-argument",
            f"the replacements cannot be sent to another process ({error})",
            remedy="define them in a module, or in a file that is given as custom_file",
        ) from None


def output_names(sources: list[Path]) -> list[str]:
    """A name for each source, all different: its stem, or as many folders above it as are needed, or its whole name."""
    whole = [s.resolve() for s in sources]
    if len(set(whole)) < len(whole):
        twice = next(str(s) for s, w in zip(sources, whole, strict=True) if whole.count(w) > 1)
        raise refusal("bad-argument", "this file is given twice", file=twice)
    for last in (api.stem, lambda path: path.name):
        for depth in range(max((len(w.parts) for w in whole), default=1)):
            names = ["-".join([*_above(w, depth), last(w)]) for w in whole]
            if len({n.casefold() for n in names}) == len(names):
                return names
    raise refusal("bad-argument", "the outputs of these files would have the same names")


def _above(path: Path, depth: int) -> tuple[str, ...]:
    """So many of the folders that a file is in, the nearest last."""
    parts = path.parent.parts[1:]
    return parts[max(len(parts) - depth, 0) :]


def _text(path: api.PathLike | None) -> str | None:
    return None if path is None else str(path)


def _outcomes(tasks: list[Task], executor: Executor | None, jobs: int | None) -> Iterator[Outcome]:
    """As they come."""
    futures: dict[Future[Outcome], Task] = {}
    died: list[Task] = []
    with _pool(jobs) if executor is None else nullcontext(executor) as pool:
        try:
            for task in tasks:
                try:
                    futures[pool.submit(convert_one, task)] = task
                except BrokenExecutor:
                    died.append(task)
            for future in as_completed(futures):
                outcome = _outcome(future, futures[future])
                if outcome is None:
                    died.append(futures[future])
                else:
                    yield outcome
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    if executor is None:
        yield from _one_by_one(died)
    else:
        yield from (_defect(task, "a process of the executor died") for task in died)


def _one_by_one(tasks: list[Task]) -> Iterator[Outcome]:
    """What was left when a process died, one after the other, so that the file that ends it is known."""
    todo = iter(tasks)
    task = next(todo, None)
    while task is not None:
        with _pool(1) as pool:
            while task is not None:
                outcome = _outcome(pool.submit(convert_one, task), task)
                yield outcome or _defect(task, "the process that converted this file died")
                task = next(todo, None)
                if outcome is None:
                    break


def _pool(processes: int | None) -> Executor:
    """New processes: a copy of this one would hang on the locks that its threads hold."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))


def _outcome(future: Future[Outcome], task: Task) -> Outcome | None:
    """None if the process died."""
    try:
        return future.result()
    except BrokenExecutor:
        return None
    except Exception as error:  # whatever the executor raises
        return _defect(task, f"{type(error).__name__}: {error}")


def _defect(task: Task, what: str) -> Outcome:
    remedy = "convert it alone to see where; please report it"
    problem = Problem(code="defect", message=what, file=task.source, remedy=remedy)
    return Outcome(source=task.source, output=task.output, problems=(problem,))


_run_once = functools.cache(replacements.run_file)


def convert_one(task: Task) -> Outcome:
    """The work of an executor. Raises nothing but what ends the process."""
    try:
        if task.custom_file is not None:
            _run_once(Path(task.custom_file))
        there = None if task.overwrite or task.raw else _is_made(task)
        report = there or api.convert(
            task.source,
            task.output,
            raw=task.raw,
            overwrite=task.overwrite,
            hash=task.hash,
            **msgspec.structs.asdict(task.options),
        )
    except H5PortError as error:
        return Outcome(source=task.source, output=task.output, problems=error.problems)
    except Exception as error:
        return _defect(task, f"{type(error).__name__}: {error}")
    return Outcome(source=task.source, output=task.output, report=report, resumed=there is not None)


def _is_made(task: Task) -> Report | None:
    """The report of an output that is what converting would give again."""
    output = Path(task.output)
    if not folder.is_folder(output):
        return None
    report = folder.read_report(output)
    same = report.h5port == __version__ and report.options == task.options.asked()
    return report if same and report.source.sha256 == folder.sha256(Path(task.source)) else None
