"""A PyTorch program as data: what `config.json` holds, what `model.py` prints, what the runtime builds.

A call's inputs are value names, "@name" for a module, numbers, None, or lists of these. Its target is "@name" for a
module of this program, otherwise a function of `runtime/functions.py`. Argument values are JSON; a function
among them is {"function": name, "args": {...}}.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Any

import msgspec

FORMAT = "h5port-module"
VERSION = 1

Shape = tuple[int | None, ...]
Operand = Any  # str, number, None or a list of operands


class TensorSpec(msgspec.Struct, frozen=True):
    """A parameter or buffer of a module, as stored in model.safetensors."""

    shape: tuple[int, ...]
    dtype: str
    trainable: bool = True


class ModuleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module: a torch.nn class, a shim of runtime/shims.py, "Program" (a nested model) or "Custom"."""

    type: str
    args: dict[str, Any] = {}
    tensors: dict[str, TensorSpec] = {}
    program: Program | None = None
    why: str | None = None  # why this is no class of torch.nn


class CallSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """outputs = target(*inputs, **args)."""

    target: str
    inputs: tuple[Operand, ...]
    outputs: tuple[str, ...]
    args: dict[str, Any] = {}


class ValueSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a value. `shape` None: not even the rank. role: "input", "mask" or ""."""

    shape: Shape | None = None
    dtype: str = "float32"
    role: str = ""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One model: `inputs` is a list of value names, or a dict of them by name; `outputs` a structure of them."""

    name: str
    doc: str
    inputs: Any
    outputs: Any
    modules: dict[str, ModuleSpec]
    calls: tuple[CallSpec, ...]
    values: dict[str, ValueSpec]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """config.json."""

    format: str = FORMAT
    version: int = VERSION
    program: Program


# Functions that do something beside giving a value: they are kept though nobody reads what they give.
EFFECTS = frozenset({"remember"})

_TAKEN = frozenset(
    """self super init torch nn math load model forward inputs training extra_repr children modules parameters buffers
    state_dict register_buffer register_parameter add_module train eval float double half to type cpu cuda apply
    share_memory zero_grad requires_grad_ dump_patches call_super_init compile named_children named_modules
    named_parameters named_buffers get_parameter get_submodule get_buffer reset_states t int bool str len list dict
    tuple range min max sum abs set map zip any all print open id object partial""".split()
)


def identifier(name: str, taken: set[str] | frozenset[str] = frozenset()) -> str:
    """A Python identifier of [a-z0-9_] for a Keras name, unlike `taken`, the keywords and the names of nn.Module."""
    word = re.sub(r"[^a-z0-9_]+", "_", name.lower().replace("/", "_")).strip("_") or "layer"
    if word[0].isdigit():
        word = f"layer_{word}"
    if word in _TAKEN or keyword.iskeyword(word):
        word = f"{word}_"
    result, n = word, 1
    while result in taken:
        n += 1
        result = f"{word}_{n}"
    return result


def is_buffer(tensor: str) -> bool:
    """Statistics and counters of a module: not parameters, never trained."""
    return tensor.startswith(("running_", "num_batches_"))


def names_in(operand: Operand) -> Iterator[str]:
    """All value and module names in an operand or a structure of them."""
    if isinstance(operand, str):
        yield operand
    elif isinstance(operand, list | tuple):
        for o in operand:
            yield from names_in(o)
    elif isinstance(operand, dict):
        for o in operand.values():
            yield from names_in(o)
