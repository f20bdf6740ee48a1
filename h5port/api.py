"""What users call: each function of this module is also a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from h5port.archive import Archive, open_archive, read_config_file
from h5port.errors import refusal
from h5port.layers.catalogue import Lowered, lower_model
from h5port.output import folder, safetensors
from h5port.output.report import Report, SourceReport, module_reports, tensor_reports
from h5port.schema.parse import parse_model
from h5port.schema.writer import Writer, find_writer
from h5port.version import __version__

if TYPE_CHECKING:
    import torch

PathLike = str | Path


def convert(
    source: PathLike,
    out: PathLike | None = None,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Convert a Keras file to a folder with model.safetensors, config.json, model.py and report.json.

    source          a `.h5`, `.keras`, `.weights.h5`, an unzipped `.keras` folder or a `.weights.json`; told by content
    out             the folder to make; `<stem>_torch` in the current folder if not given
    config          the architecture (JSON, YAML or a full file), where `source` holds weights alone
    writer          which Keras wrote it ("keras-2.2.4"), where the file does not say and the numbers depend on it
    source_backend  "auto", "tensorflow" or "theano"
    overwrite       replace an existing folder
    progress        called with the bytes of each tensor written

    Raises H5PortError with every problem found; then nothing is written.
    """
    path = Path(source)
    target = Path(out) if out is not None else default_output(path)
    with open_archive(path) as archive:
        lowered, who = _lower(archive, config, writer, source_backend)
        report = _report(path, archive, lowered, who, target)
        folder.write_folder(
            target, lowered.program, lowered.recipes, report, archive.read, overwrite=overwrite, progress=progress
        )
    return report


def default_output(source: Path) -> Path:
    """`<stem>_torch` in the current folder."""
    stem = source.name
    for suffix in (".weights.h5", ".weights.json", ".h5", ".hdf5", ".keras", ".json", ".hdf", ".h5f"):
        stem = stem.removesuffix(suffix)
    return Path(f"{stem}_torch")


def load(
    path: PathLike,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
) -> torch.nn.Module:
    """The torch module, in eval(), of a folder that `convert` wrote or of a Keras file. Needs the extra h5port[torch].

    It takes the Keras model's inputs in their order (a dict of them if the Keras model does) and gives its outputs in
    their structure. Options as for `convert`.
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

        return build(folder.read_program(where), load_file(where / folder.WEIGHTS))
    with open_archive(where) as archive:
        lowered, _ = _lower(archive, config, writer, source_backend)
        tensors = {}
        for name, recipe in lowered.recipes.items():
            array = torch.from_numpy(np.array(recipe.apply(archive.read), order="C"))
            tensors[name] = array.view(torch.bfloat16) if recipe.dtype == "bfloat16" else array
    return build(lowered.program, tensors)


def state_dict(
    source: PathLike,
    layer: str | None = None,
    *,
    config: PathLike | None = None,
    writer: str | None = None,
    source_backend: str = "auto",
) -> dict[str, np.ndarray[Any, Any]]:
    """The torch-named arrays of the whole model, or of one layer (without its name), for a module of one's own."""
    with open_archive(Path(source)) as archive:
        lowered, _ = _lower(archive, config, writer, source_backend)
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
    source: PathLike, *, config: PathLike | None = None, writer: str | None = None, source_backend: str = "auto"
) -> Report:
    """What `convert` would do, without writing anything. Raises H5PortError with every problem at once."""
    path = Path(source)
    with open_archive(path) as archive:
        lowered, who = _lower(archive, config, writer, source_backend)
        return _report(path, archive, lowered, who, Path())


def _lower(
    archive: Archive, config: PathLike | None, writer: str | None, source_backend: str
) -> tuple[Lowered, Writer]:
    document = read_config_file(Path(config)) if config is not None else archive.config
    if document is None:
        raise refusal(
            "no-architecture",
            "these are weights without an architecture",
            file=str(archive.source),
            remedy="give the model's JSON or YAML as --config, or write the arrays as they are with --raw",
        )
    who = find_writer(archive, document, writer=writer, source_backend=source_backend)
    return lower_model(archive, parse_model(document, who), who), who


def _report(path: Path, archive: Archive, lowered: Lowered, writer: Writer, out: Path) -> Report:
    tensors = tensor_reports(lowered.recipes)
    sizes = [int(np.prod(t.shape)) for t in tensors.values()]
    widths = [np.dtype(safetensors.DTYPES[t.dtype][1]).itemsize for t in tensors.values()]
    return Report(
        source=SourceReport(
            file=path.name, sha256=folder.sha256(path), container=archive.container, writer=str(writer)
        ),
        h5port=__version__,
        tensors=tensors,
        modules=module_reports(lowered.program),
        notes=lowered.notes,
        dropped=lowered.dropped,
        parameters=sum(sizes),
        bytes=sum(s * w for s, w in zip(sizes, widths, strict=True)),
        output=str(out),
    )
