"""A PyTorch program as data: what `config.json` holds, what `model.py` prints, what the runtime builds.

A call's inputs are value names, "@name" for a module, numbers, None, or lists of these. Its target is "@name" for a
module of this program, otherwise a function of `runtime/functions/`. Argument values are JSON; a function
among them is {"function": name, "args": {...}}.
"""

from __future__ import annotations

import builtins
import keyword
import math
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
    """A module: a torch.nn class, a shim of runtime/shims/, "Program" (a nested model) or "Custom"."""

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

# Names that a layer cannot have in Python: those of torch.nn.Module and of what h5port adds to it, of builtins, and
# of what model.py imports or defines.
_MODULE_NAMES = frozenset(
    """add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval extra_repr
    float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia
    named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
    share_memory state_dict to to_empty train training type xpu zero_grad""".split()
)
_OUR_NAMES = frozenset(
    "self torch nn np re json argument partial load below inputs weights custom program reset_states".split()
)
_TAKEN = _MODULE_NAMES | _OUR_NAMES | frozenset(dir(builtins))


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


def encoded(value: Any) -> Any:
    """An argument as JSON can hold it: numbers that JSON has not are written as {"float": "inf"}."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, dict):
        return {k: encoded(v) for k, v in value.items()}
    return [encoded(v) for v in value] if isinstance(value, list | tuple) else value


def decoded(value: Any) -> Any:
    """The inverse of `encoded`."""
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in ("inf", "-inf", "nan"):
            return float(value["float"])
        return {k: decoded(v) for k, v in value.items()}
    return [decoded(v) for v in value] if isinstance(value, list | tuple) else value


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
