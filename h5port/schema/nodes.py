"""Calls in a graph as configs write them: references to outputs of layers, constants, slices, nested arguments.

`inbound_nodes` of Container / Network / Functional in Keras 1.2.2, 2.2.4, tf.keras 2.4 and 2.15, and of
`functional.py`, `serialization_lib.py` of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.schema.graph import Argument, Constant, Ref, SliceValue


def ends(value: Any, names: set[str], *, keras3: bool) -> Argument:
    """`input_layers` or `output_layers`: a triple, a list of them, or a dict; a list of one means that one."""
    found = argument(value, names, keras3=keras3)
    leaves = list(_leaves(found))
    if not leaves or not all(isinstance(leaf, Ref) for leaf in leaves):
        raise refusal("bad-config", f"the inputs or outputs of a model are {value!r}, which names no layers of it")
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], Ref) else found


def node_of(node: Any, names: set[str], *, keras3: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One entry of inbound_nodes -> positional arguments and keyword arguments."""
    if isinstance(node, dict) and "args" in node and "kwargs" in node:
        return tuple(argument(a, names, keras3=keras3) for a in node["args"]), {
            k: argument(v, names, keras3=keras3) for k, v in node["kwargs"].items()
        }
    if isinstance(node, dict):  # a layer that is called on a dict of tensors
        return ({k: argument(v, names, keras3=keras3) for k, v in node.items()},), {}
    if node and isinstance(node[0], str):  # one reference, not wrapped
        node = [node]
    kwargs: dict[str, Any] = {}
    args = []
    for ref in node:
        if len(ref) > 3 and isinstance(ref[3], dict):
            kwargs = {k: argument(v, names, keras3=keras3) for k, v in ref[3].items()}
        args.append(Constant(ref[2]) if _is_constant(ref) else Ref(ref[0], ref[1], ref[2]))
    return (args[0] if len(args) == 1 else args,), kwargs


def argument(value: Any, names: set[str], *, keras3: bool) -> Argument:
    """A value of a call; `names` are the layers of its model."""
    if keras3 and isinstance(value, dict) and "class_name" in value:
        return _keras3_value(value, names)
    if _is_reference(value, names):
        return Ref(value[0], value[1], value[2])
    if isinstance(value, list):
        return [argument(v, names, keras3=keras3) for v in value]
    if isinstance(value, dict):
        return {k: argument(v, names, keras3=keras3) for k, v in value.items()}
    return value


def _keras3_value(value: dict[str, Any], names: set[str]) -> Argument:
    config = value.get("config")
    match value["class_name"]:
        case "__keras_tensor__":
            layer, node, tensor = config["keras_history"]  # type: ignore[index]
            return Ref(layer, node, tensor)
        case "__tensor__" | "__numpy__":
            return Constant(config["value"], config.get("dtype"))  # type: ignore[index, union-attr]
        case "__slice__":
            parts = [argument(config[k], names, keras3=True) for k in ("start", "stop", "step")]  # type: ignore[index]
            return SliceValue(*parts)
        case "__ellipsis__":
            return ...
        case "__lambda__":
            raise refusal("lambda", "a Python function among the arguments of a call; it is not executed")
        case _:
            return value


def _leaves(structure: Argument) -> Iterator[Any]:
    if isinstance(structure, list | dict):
        for item in structure.values() if isinstance(structure, dict) else structure:
            yield from _leaves(item)
    else:
        yield structure


def _is_reference(value: Any, names: set[str]) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and value[0] in names
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value[1:3])
    )


def _is_constant(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (3, 4) and value[0] == "_CONSTANT_VALUE"
