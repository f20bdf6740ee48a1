"""The command `h5port`: every option is a keyword of the function of the same name in `h5port.api`.

Exit statuses: 0 done; 2 wrong use; 3 the file; 4 the config; 5 a layer; 6 the weights; 7 the output; 8 a package is
missing; 1 a defect of h5port itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from h5port import api, custom, many
from h5port.errors import CODES, H5PortError
from h5port.inspection import Inspection, LayerInfo
from h5port.output.report import Report
from h5port.schema.writer import BACKENDS
from h5port.version import __version__

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _options(*options: Decorator) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_READING = _options(
    click.option("--config", metavar="ARCH", help="The architecture (JSON, YAML or a full file) of weights alone."),
    click.option("--writer", metavar="NAME-VERSION", help="The Keras that wrote the file, such as keras-2.2.4."),
    click.option(
        "--source-backend",
        type=click.Choice(["auto", *BACKENDS]),
        default="auto",
        show_default=True,
        help="The backend of the Keras that wrote the file.",
    ),
    click.option(
        "--custom", "custom_file", metavar="FILE.py", help="Python file of yours that registers replacements."
    ),
)
_CONVERTING = _options(
    _READING,
    click.option("--partial", is_flag=True, help="Leave a stub in the place of what cannot be converted."),
    click.option("--stack-recurrent", is_flag=True, help="Join equal recurrent layers into one with num_layers=N."),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="h5port")
def main() -> None:
    """Keras models become PyTorch modules, without Keras and without TensorFlow."""


@main.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    metavar="OUT",
    help="The folder to make, or the one to make <stem>_torch in for many models. [default: the current folder]",
)
@_CONVERTING
@click.option("--raw", is_flag=True, help="Write every array under its Keras path to one .safetensors file.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--hash/--no-hash", default=True, help="Write the SHA-256 of MODEL into the report.  [default: hash]")
@click.option("--jobs", type=click.IntRange(1), help="Processes that convert many models. [default: one a core]")
@_JSON
def convert(
    models: tuple[str, ...], out: str | None, jobs: int | None, as_json: bool, custom_file: str | None, **options: Any
) -> None:
    """Convert MODEL to a folder with model.safetensors, config.json, model.py and report.json.

    Several models are converted side by side, each into a folder of its own. One that is refused stops no other; what
    is there already, made of the same file with the same options, is left: a run that was stopped goes on.
    """
    if len(models) > 1:
        with _refusals(as_json):
            outcomes = _convert_many(models, out or ".", jobs, as_json, custom_file, options)
        sys.exit(next((CODES[o.problems[0].code][0] for o in outcomes if o.problems), 0))
    with _refusals(as_json), _progress() as progress:
        _run_custom(custom_file)
        report = api.convert(models[0], out, progress=progress, **options)
    if as_json:
        _print_json(report)
        return
    click.echo(f"{report.output}: {len(report.tensors)} tensors, {report.parameters:,} parameters")
    _print_notes(report)


def _convert_many(
    models: tuple[str, ...],
    out: str,
    jobs: int | None,
    as_json: bool,
    custom_file: str | None,
    options: dict[str, Any],
) -> list[many.Outcome]:
    """Each outcome is printed as it comes; with --json, all of them at the end."""

    def show(outcome: many.Outcome, done: int, total: int) -> None:
        text = f"[{done}/{total}] {outcome.source}: "
        if outcome.report is not None:
            text += f"{outcome.output}{' was there' if outcome.resumed else ''}"
            click.echo(text)
        else:
            click.echo(text + str(H5PortError(outcome.problems)), err=True)

    progress = None if as_json else show
    outcomes = many.convert_many(models, out, jobs=jobs, custom_file=custom_file, progress=progress, **options)
    if as_json:
        _print_json(outcomes)
    else:
        converted, there = sum(o.report is not None for o in outcomes), sum(o.resumed for o in outcomes)
        click.echo(f"{converted} of {len(outcomes)} models are in {out}, {there} of them from before")
    return outcomes


@main.command()
@click.argument("model", metavar="MODEL")
@_READING
@_JSON
def inspect(model: str, as_json: bool, custom_file: str | None, **options: Any) -> None:
    """Show what MODEL is: its writer, its layers, what each becomes and what is not supported."""
    with _refusals(as_json):
        _run_custom(custom_file)
        found = api.inspect(model, **options)
    if as_json:
        _print_json(found)
    else:
        _print_inspection(found)


@main.command()
@click.argument("model", metavar="MODEL")
@_CONVERTING
@_JSON
def check(model: str, as_json: bool, custom_file: str | None, **options: Any) -> None:
    """Say whether MODEL can be converted, with every problem at once; write nothing."""
    with _refusals(as_json):
        _run_custom(custom_file)
        report = api.check(model, **options)
    if as_json:
        _print_json(report)
        return
    click.echo(f"{report.source.file}: can be converted ({report.source.writer}, {report.parameters:,} parameters)")
    _print_notes(report)


@main.command()
@click.argument("out", metavar="OUT")
@click.argument("tensor", metavar="TENSOR")
@_JSON
def explain(out: str, tensor: str, as_json: bool) -> None:
    """Say where TENSOR of the folder OUT came from: source, part and steps."""
    with _refusals(as_json):
        text = api.explain(out, tensor)
    click.echo(msgspec.json.encode({"tensor": tensor, "words": text.splitlines()}).decode() if as_json else text)


def _run_custom(file: str | None) -> None:
    if file is not None:
        custom.run_file(Path(file))


@contextmanager
def _refusals(as_json: bool) -> Iterator[None]:
    """A refusal ends the command: its text (or, with --json, its problems) and its exit status."""
    try:
        yield
    except H5PortError as error:
        _end(error, as_json)


def _end(error: H5PortError, as_json: bool) -> NoReturn:
    if as_json:
        _print_json({"problems": error.problems})
    else:
        click.echo(f"h5port: {error}", err=True)
    sys.exit(error.exit_status)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal for work that takes longer than a second; nothing when piped or under NO_COLOR."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        yield None
        return
    start, bar, shown = time.monotonic(), None, 0

    def show(done: int, total: int) -> None:
        nonlocal bar, shown
        if bar is None and time.monotonic() - start > 1:
            bar = click.progressbar(length=total, label="writing", file=sys.stderr)
            bar.__enter__()
        if bar is not None:
            bar.update(done - shown)
            shown = done

    try:
        yield show
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_notes(report: Report) -> None:
    for note in report.notes:
        click.echo(f"  note: {note}")
    for array, reason in report.dropped.items():
        click.echo(f"  left out: {array} ({reason})")
    for tensor, count in report.nonfinite.items():
        click.echo(f"  not finite: {count:,} elements of {tensor}, as in the file")


def _print_inspection(found: Inspection) -> None:
    click.echo(f"{found.file}: {found.container}, written by {found.writer or 'an unknown Keras'}")
    if found.model is not None:
        click.echo(f"model {found.model}: {found.parameters:,} parameters")
    rows = list(_rows(found.layers, 1))
    widths = [max((len(r[i]) for r in rows), default=0) for i in range(4)]
    for row in rows:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() + row[4])
    if not found.layers:
        for array in found.arrays:
            click.echo(f"  {array.path}  {array.dtype} {list(array.shape)}")
    for note in found.notes:
        click.echo(f"  note: {note}")
    for problem in found.problems:
        click.echo(f"  problem: {problem}")


def _rows(layers: list[LayerInfo], depth: int) -> Iterator[tuple[str, str, str, str, str]]:
    """name (class), output shapes, parameters, what it becomes, and what is wrong with it."""
    for layer in layers:
        shapes = ", ".join("?" if s is None else str(tuple(s)).replace("None", "?") for s in layer.outputs)
        becomes = ", ".join(layer.becomes)
        problem = f"  NOT SUPPORTED: {layer.problem}" if layer.problem else f"  ({layer.why})" if layer.why else ""
        yield f"{'  ' * depth}{layer.name} ({layer.class_name})", shapes, f"{layer.parameters:,}", becomes, problem
        yield from _rows(layer.layers, depth + 1)
