"""Passes over programs: each takes a program and gives a program."""

from __future__ import annotations

from typing import Any

import msgspec

from h5port.module.program import EFFECTS, CallSpec, Program, names_in


def simplify(program: Program) -> Program:
    """Drop what nobody reads: casts that change nothing, masks that are never used, modules that are never called."""
    return drop_unread(drop_same_casts(program))


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


def _rename(operand: Any, names: dict[str, str]) -> Any:
    if isinstance(operand, str):
        return names.get(operand, operand)
    if isinstance(operand, dict):
        return {k: _rename(v, names) for k, v in operand.items()}
    if isinstance(operand, list | tuple):
        return type(operand)(_rename(v, names) for v in operand)
    return operand
