"""What users call: `convert`, `load`, `state_dict`, `inspect`, `check` and `explain`. Each is a command, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from h5port import custom as replacements
from h5port.archive import Archive, open_archive, read_config_file
from h5port.errors import H5PortError, Problem, refusal
from h5port.inspection import Inspection, inspection
from h5port.layers.catalogue import Lowered, lower_model
from h5port.module.passes import stack_recurrent as stacked
from h5port.output import folder, safetensors
from h5port.output.report import Report, SourceReport, module_reports, tensor_reports
from h5port.schema.graph import Model
from h5port.schema.parse import parse_model
from h5port.schema.writer import Writer, find_writer
from h5port.transform.recipe import Recipe, Source
from h5port.version import __version__

if TYPE_CHECKING:
    import torch

PathLike = str | Path
Progress = Callable[[int, int], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is to be read; every function takes these as keywords.

    config           the architecture (JSON, YAML, or a full file), where the source holds weights alone
    writer           which Keras wrote it ("keras-2.2.4"), where the file does not say and the numbers depend on it
    source_backend   "auto", "tensorflow", "theano", "jax" or "torch"
    custom           replacements for layers, {class or layer name: factory}, beside those of `h5port.register`
    partial          convert all the rest where a layer cannot be converted, and leave a stub in its place
    stack_recurrent  join consecutive equal recurrent layers into one module with num_layers=N where that is exact
    """

    config: PathLike | None = None
    writer: str | None = None
    source_backend: str = "auto"
    custom: Mapping[str, Any] | None = None
    partial: bool = False
    stack_recurrent: bool = False

    def asked(self) -> dict[str, Any]:
        """Those that are not at their defaults, for the report: an architecture by SHA-256, replacements by name."""
        defaults = msgspec.structs.asdict(Options())
        given = {name: v for name, v in msgspec.structs.asdict(self).items() if v != defaults[name]}
        if self.config is not None:
            given["config"] = folder.sha256(Path(self.config))
        given["custom"] = sorted(replacements.known(self.custom))
        return {name: v for name, v in given.items() if v}


def convert(
    source: PathLike,
    out: PathLike | None = None,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    custom: Mapping[str, Any] | None = None,
    partial: bool = False,
    stack_recurrent: bool = False,
    raw: bool = False,
    overwrite: bool = False,
    hash: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Convert a Keras file to a folder with model.safetensors, config.json, model.py and report.json.

    source     a `.h5`, `.keras`, `.weights.h5`, an unzipped `.keras` folder or a `.weights.json`; told by content
    out        the folder to make; `<stem>_torch` in the current folder if not given
    raw        write every stored array under its Keras path, unchanged, to one file (`<stem>.safetensors`) instead
    overwrite  replace what is there
    hash       write the SHA-256 of the source into the report and into the metadata of the weights
    progress   called with (bytes written, bytes in all)

    The other options are those of `Options`. Raises H5PortError with every problem found; then nothing is written.
    """
    path = Path(source)
    if raw:
        target = Path(out) if out is not None else Path(f"{stem(path)}.safetensors")
        return _convert_raw(path, target, overwrite=overwrite, hash=hash, progress=progress)
    target = Path(out) if out is not None else default_output(path)
    folder.check_free(target, overwrite=overwrite)
    options = Options(
        config=config,
        writer=writer,
        source_backend=source_backend,
        custom=custom,
        partial=partial,
        stack_recurrent=stack_recurrent,
    )
    with _lowered(path, options) as (archive, lowered, who), _origin(archive, hash=hash) as origin:
        report = _report(archive, lowered, who, options, folder.NO_DIGEST if hash else None, target)
        return folder.write_folder(
            target,
            lowered.program,
            lowered.recipes,
            report,
            origin,
            overwrite=overwrite,
            progress=_counter(report.bytes, progress),
        )


def default_output(source: Path) -> Path:
    """`<stem>_torch` in the current folder."""
    return Path(f"{stem(source)}_torch")


def stem(source: Path) -> str:
    """The name of a file without what says that it is a Keras model."""
    name = source.resolve().name
    for suffix in (".weights.h5", ".weights.json", ".h5", ".hdf5", ".keras", ".json", ".hdf", ".h5f"):
        name = name.removesuffix(suffix)
    return name


def load(
    path: PathLike,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    custom: Mapping[str, Any] | None = None,
    partial: bool = False,
    stack_recurrent: bool = False,
) -> torch.nn.Module:
    """The torch module, in eval(), of a folder that `convert` wrote or of a Keras file. Needs the extra h5port[torch].

    It takes the Keras model's inputs in their order (a dict of them if the Keras model does) and gives its outputs in
    their structure. The options are those of `Options`; a folder needs none but `custom`.
    """
    try:
        import torch
    except ImportError:
        raise refusal(
            "missing-extra",
            "h5port.load needs torch",
            remedy="pip install 'h5port[torch]'; everything else works without it",
        ) from None
    from h5port.runtime.build import build

    where = Path(path)
    if folder.is_folder(where):
        from safetensors.torch import load_file

        return build(folder.read_program(where), load_file(where / folder.WEIGHTS), replacements.known(custom))
    options = Options(
        config=config,
        writer=writer,
        source_backend=source_backend,
        custom=custom,
        partial=partial,
        stack_recurrent=stack_recurrent,
    )
    with _lowered(where, options) as (archive, lowered, _):
        archive.verify()
        tensors = {}
        for name, recipe in lowered.recipes.items():
            array = torch.from_numpy(np.array(recipe.apply(archive.read), order="C"))
            tensors[name] = array.view(torch.bfloat16) if recipe.dtype == "bfloat16" else array
    return build(lowered.program, tensors, replacements.known(custom))


def state_dict(
    source: PathLike,
    layer: str | None = None,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    custom: Mapping[str, Any] | None = None,
    partial: bool = False,
    stack_recurrent: bool = False,
) -> dict[str, np.ndarray[Any, Any]]:
    """The torch-named arrays of the whole model, or of one layer (without its name), for a module of one's own.

    bfloat16 arrays come as their bits (uint16). The options are those of `Options`.
    """
    options = Options(
        config=config,
        writer=writer,
        source_backend=source_backend,
        custom=custom,
        partial=partial,
        stack_recurrent=stack_recurrent,
    )
    with _lowered(Path(source), options) as (archive, lowered, _):
        archive.verify()
        names = {n: n for n in lowered.recipes}
        if layer is not None:
            prefix = lowered.layers.get(layer, layer) + "."
            names = {n: n[len(prefix) :] for n in names if n.startswith(prefix)}
            if not names:
                known = sorted({n.rsplit(".", 1)[0] for n in lowered.recipes})
                raise refusal(
                    "bad-argument", f"no layer {layer!r} with weights", file=str(source), remedy=f"one of {known}"
                )
        return {short: np.array(lowered.recipes[n].apply(archive.read), order="C") for n, short in names.items()}


def check(
    source: PathLike,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    custom: Mapping[str, Any] | None = None,
    partial: bool = False,
    stack_recurrent: bool = False,
) -> Report:
    """What `convert` would report, without writing anything. Raises H5PortError with every problem at once."""
    options = Options(
        config=config,
        writer=writer,
        source_backend=source_backend,
        custom=custom,
        partial=partial,
        stack_recurrent=stack_recurrent,
    )
    with _lowered(Path(source), options) as (archive, lowered, who):
        archive.verify()
        return _report(archive, lowered, who, options, folder.sha256(archive.source), None)


def inspect(
    source: PathLike,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    custom: Mapping[str, Any] | None = None,
) -> Inspection:
    """What the file is, who wrote it, its layers with what each becomes, and everything that stands in the way.

    Raises H5PortError only if this is no Keras file at all; problems of the model are listed in the result.
    """
    options = Options(config=config, writer=writer, source_backend=source_backend, custom=custom)
    with open_archive(Path(source)) as archive:
        who: Writer | None = None
        model: Model | None = None
        lowered: Lowered | None = None
        problems: tuple[Problem, ...] = ()
        try:
            model, who = _parse(archive, options)
            lowered = lower_model(archive, model, who, custom=replacements.known(custom))
            problems = lowered.problems
        except H5PortError as error:
            problems = error.problems
        return inspection(archive, who, model, lowered, problems)


def explain(out: PathLike, tensor: str) -> str:
    """Where a tensor of an output folder came from, in words: source, part, steps."""
    report = folder.read_report(Path(out))
    found = report.tensors.get(tensor)
    if found is None:
        near = [n for n in report.tensors if tensor in n] or sorted(report.tensors)
        raise refusal("bad-argument", f"no tensor {tensor!r} in {out}", remedy=f"one of {near[:20]}")
    head = f"{tensor}: {found.dtype} {list(found.shape)}, from {report.source.file} ({report.source.writer})"
    return "\n".join([head, *(f"  {line}" for line in found.words)])


# ---- the way through the rooms


@contextmanager
def _lowered(path: Path, options: Options) -> Iterator[tuple[Archive, Lowered, Writer]]:
    """The open file and the program that it becomes; refused if anything stands in the way."""
    with open_archive(path) as archive:
        model, who = _parse(archive, options)
        lowered = lower_model(archive, model, who, partial=options.partial, custom=replacements.known(options.custom))
        if lowered.problems:
            raise H5PortError(lowered.problems)
        if options.stack_recurrent:
            program, recipes = stacked(lowered.program, lowered.recipes)
            lowered = msgspec.structs.replace(lowered, program=program, recipes=recipes)
        yield archive, lowered, who


@contextmanager
def _origin(archive: Archive, *, hash: bool) -> Iterator[folder.Origin]:
    """The source for the writer. Its bytes are verified, and hashed if that is asked for, while others work on them."""
    with ThreadPoolExecutor(2) as pool:
        verified = pool.submit(archive.verify)
        digest = pool.submit(folder.sha256, archive.source) if hash else None

        def witness() -> str | None:
            verified.result()
            return None if digest is None else digest.result()

        yield folder.Origin(archive.read, archive.release, witness)


def _parse(archive: Archive, options: Options) -> tuple[Model, Writer]:
    document = read_config_file(Path(options.config)) if options.config is not None else archive.config
    if document is None:
        raise refusal(
            "no-architecture",
            "these are weights without an architecture",
            file=str(archive.source),
            remedy="give the model's JSON or YAML as --config, or write the arrays as they are with --raw",
        )
    who = find_writer(archive, document, writer=options.writer, source_backend=options.source_backend)
    return parse_model(document, who), who


def _counter(total: int, progress: Progress | None) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    return count


def _convert_raw(path: Path, target: Path, *, overwrite: bool, hash: bool, progress: Progress | None) -> Report:
    with open_archive(path, any_hdf5=True) as archive, _origin(archive, hash=hash) as origin:
        recipes = {n: Recipe(sources=(Source(n, a.shape),), dtype=a.dtype) for n, a in archive.arrays.items()}
        source = _source_report(archive, "not asked", folder.NO_DIGEST if hash else None)
        report = _report_of(recipes, source, target)
        counter = _counter(report.bytes, progress)
        return folder.write_raw(target, recipes, report, origin, overwrite=overwrite, progress=counter)


def _source_report(archive: Archive, writer: str, sha256: str | None) -> SourceReport:
    name = archive.source.name.encode("utf-8", "backslashreplace").decode()
    return SourceReport(file=name, sha256=sha256, container=archive.container, writer=writer)


def _report_of(recipes: Mapping[str, Recipe], source: SourceReport, out: Path | None, **more: Any) -> Report:
    tensors = tensor_reports(recipes)
    sizes = {n: int(np.prod(t.shape, dtype=np.int64)) for n, t in tensors.items()}
    return Report(
        source=source,
        h5port=__version__,
        tensors=tensors,
        parameters=sum(sizes.values()),
        bytes=sum(s * safetensors.width(tensors[n].dtype) for n, s in sizes.items()),
        output="" if out is None else str(out),
        **more,
    )


def _report(
    archive: Archive, lowered: Lowered, writer: Writer, options: Options, sha256: str | None, out: Path | None
) -> Report:
    return _report_of(
        lowered.recipes,
        _source_report(archive, str(writer), sha256),
        out,
        options=options.asked(),
        modules=module_reports(lowered.program),
        notes=lowered.notes,
        dropped=lowered.dropped,
    )
