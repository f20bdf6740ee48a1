"""What users call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from h5port.archive import open_archive, read_config_file
from h5port.errors import refusal
from h5port.layers import catalogue as _catalogue  # noqa: F401
from h5port.layers.engine import lower_model
from h5port.schema.parse import parse_model
from h5port.schema.writer import find_writer


def load(path, *, config=None, writer=None, source_backend="auto", custom=None):
    import numpy as np
    import torch
    from h5port.runtime.build import build
    with open_archive(Path(path)) as archive:
        document = read_config_file(Path(config)) if config else archive.config
        if document is None:
            raise refusal("no-architecture", "weights without an architecture", file=str(path), remedy="give the model's JSON as --config")
        who = find_writer(archive, document, writer=writer, source_backend=source_backend)
        lowered = lower_model(archive, parse_model(document, who), who)
        tensors = {}
        for n, r in lowered.recipes.items():
            a = np.array(r.apply(archive.read), order="C")
            tensors[n] = torch.from_numpy(a.copy()) if r.dtype != "bfloat16" else torch.from_numpy(a.copy()).view(torch.bfloat16)
        return build(lowered.program, tensors)
