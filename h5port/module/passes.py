"""Passes over programs: each takes a program and gives a program."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, TypeVar

import msgspec

from h5port.module.program import EFFECTS, CallSpec, Program, names_in

R = TypeVar("R")  # recipes are only renamed here


def simplify(program: Program) -> Program:
    """Drop what nobody reads: casts that change nothing, masks that are never used, modules that are never called;
    and let convolutions pad for themselves."""
    return drop_unread(fold_padding(drop_same_casts(program)))


def drop_unread(program: Program) -> Program:
    """Calls whose outputs nobody reads, the values they gave and the modules without tensors they used."""
    read = set(names_in(program.outputs))
    kept: list[CallSpec] = []
    for call in reversed(program.calls):
        if call.target in EFFECTS or read & set(call.outputs):
            kept.append(call)
            read |= set(names_in(call.inputs)) | {call.target}
    kept.reverse()
    written = {o for c in kept for o in c.outputs} | set(names_in(program.inputs))
    values = {n: v for n, v in program.values.items() if n in written}
    modules = {n: m for n, m in program.modules.items() if f"@{n}" in read or m.tensors or m.program}
    return msgspec.structs.replace(program, calls=tuple(kept), values=values, modules=modules)


def drop_same_casts(program: Program) -> Program:
    """A cast of a cast reads the first one's input when the last one is to integers or both are the same."""
    dtype = {n: v.dtype for n, v in program.values.items()}
    inputs = set(names_in(program.inputs))
    same: dict[str, str] = {}
    kept = []
    for call in program.calls:
        renamed = msgspec.structs.replace(call, inputs=_rename(call.inputs, same))
        source = str(renamed.inputs[0]) if renamed.inputs else ""
        if call.target == "cast" and source not in inputs and dtype.get(source) == call.args["to"]:
            same[call.outputs[0]] = source
        else:
            kept.append(renamed)
    return msgspec.structs.replace(program, calls=tuple(kept), outputs=_rename(program.outputs, same))


def fold_padding(program: Program) -> Program:
    """Zeros alike before and after each axis become the `padding` of the convolution that alone reads them."""
    pads = {c.outputs[0]: c for c in program.calls if c.target == "pad_zeros" and c.args["widths"] == _mirrored(c)}
    reads = Counter(n for c in program.calls for n in (c.target, *names_in(c.inputs)))
    reads.update(names_in(program.outputs))
    modules = dict(program.modules)
    folded: dict[str, CallSpec] = {}  # output of the convolution -> the call of the padding
    for call in program.calls:
        module, pad = modules.get(call.target.removeprefix("@")), pads.get(str(call.inputs[0]) if call.inputs else "")
        if module is None or pad is None or not re.fullmatch(r"Conv\dd", module.type) or "padding" in module.args:
            continue
        if reads[call.target] == reads[pad.outputs[0]] == 1:
            sides = pad.args["widths"][::-2]
            padding = sides[0] if len(set(sides)) == 1 else sides
            modules[call.target[1:]] = msgspec.structs.replace(module, args={**module.args, "padding": padding})
            folded[call.outputs[0]] = pad
    calls = (
        msgspec.structs.replace(c, inputs=folded[c.outputs[0]].inputs) if c.outputs and c.outputs[0] in folded else c
        for c in program.calls
    )
    return msgspec.structs.replace(program, modules=modules, calls=tuple(calls))


def _mirrored(pad: CallSpec) -> list[int]:
    """The widths of a padding with each axis the other way round."""
    widths: list[int] = pad.args["widths"]
    return [n for before, after in zip(widths[::2], widths[1::2], strict=True) for n in (after, before)]


def stack_recurrent(program: Program, recipes: dict[str, R]) -> tuple[Program, dict[str, R]]:
    """Join consecutive equal recurrent layers into one module with num_layers=N, where that is exact: torch's own
    modules, unmasked, each fed by all outputs of the one before and by nothing else."""
    while (pair := _stackable(program)) is not None:
        program, recipes = _join(program, recipes, *pair)
    return program, recipes


def _stackable(program: Program) -> tuple[CallSpec, CallSpec] | None:
    reads = Counter(n for c in program.calls for n in names_in(c.inputs))
    reads.update(names_in(program.outputs))
    by_output = {c.outputs[0]: c for c in program.calls if c.target == "rnn_outputs"}
    for second in program.calls:
        if second.target not in ("rnn_outputs", "last_steps"):
            continue
        first = by_output.get(str(second.inputs[1]))
        if first is None or reads[first.outputs[0]] != 1:
            continue
        lower, upper = (str(c.inputs[0]) for c in (first, second))
        if lower != upper and reads[lower] == reads[upper] == 1 and _equal(program, lower[1:], upper[1:]):
            return first, second
    return None


def _equal(program: Program, lower: str, upper: str) -> bool:
    one, two = program.modules[lower], program.modules[upper]
    same = {k: v for k, v in one.args.items() if k not in ("input_size", "num_layers")}
    other = {k: v for k, v in two.args.items() if k not in ("input_size", "num_layers")}
    width = one.args["hidden_size"] * (2 if one.args.get("bidirectional") else 1)
    return one.type == two.type and same == other and two.args["input_size"] == width


def _join(program: Program, recipes: dict[str, R], first: CallSpec, second: CallSpec) -> tuple[Program, dict[str, R]]:
    lower, upper = str(first.inputs[0])[1:], str(second.inputs[0])[1:]
    below = program.modules[lower].args.get("num_layers", 1)
    above = program.modules[upper].args.get("num_layers", 1)
    names = {t: re.sub(r"_l(\d+)", lambda m: f"_l{int(m[1]) + below}", t) for t in program.modules[upper].tensors}
    one, two = program.modules[lower], program.modules[upper]
    joined = msgspec.structs.replace(
        one,
        args={**one.args, "num_layers": below + above},
        tensors={**one.tensors, **{names[t]: s for t, s in two.tensors.items()}},
    )
    modules = {n: joined if n == lower else m for n, m in program.modules.items() if n != upper}
    call = msgspec.structs.replace(second, inputs=(f"@{lower}", first.inputs[1]))
    calls = tuple(call if c is second else c for c in program.calls if c is not first)
    moved = {f"{upper}.{t}": f"{lower}.{n}" for t, n in names.items()}
    values = {n: v for n, v in program.values.items() if n != first.outputs[0]}
    return (
        msgspec.structs.replace(program, modules=modules, calls=calls, values=values),
        {moved.get(n, n): r for n, r in recipes.items()},
    )


def _rename(operand: Any, names: dict[str, str]) -> Any:
    if isinstance(operand, str):
        return names.get(operand, operand)
    if isinstance(operand, dict):
        return {k: _rename(v, names) for k, v in operand.items()}
    if isinstance(operand, list | tuple):
        return type(operand)(_rename(v, names) for v in operand)
    return operand
