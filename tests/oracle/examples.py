"""The examples of all declarations as models to build: by themselves, masked, wrapped, called twice, in float64."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
from description import Description, Input, Node

from h5port.layers.base import Example, Layer, example
from h5port.layers.catalogue import LAYERS, OPERATIONS
from h5port.schema.graph import Constant, SliceValue

CONTAINERS = ["keras", "h5", "weights.h5"]
PACKAGES = ("keras", "tf_keras")
SEPARATE = {"MultiHeadAttention", "GroupQueryAttention"}  # called on their inputs, not on a list of them
GONE = {"keras0", "keras1", "keras2"}  # families whose classes neither package has

LSTM: Any = ("LSTM", {"units": 3, "return_sequences": True})
GRU: Any = ("GRU", {"units": 3, "reset_after": False})
CELLS: Any = [("LSTMCell", {"units": 5}), ("GRUCell", {"units": 2}), ("SimpleRNNCell", {"units": 3})]
STACK: Any = ("StackedRNNCells", {"cells": CELLS})

# Examples of the classes that have none of their own, for they wrap others.
MORE: dict[str, tuple[Example, ...]] = {
    "RNN": (
        *(example(cell=cell, return_sequences=True) for cell in CELLS),
        example(cell=STACK),
        example(cell=CELLS, return_state=True, go_backwards=True),
    ),
    "Bidirectional": (
        *(example(layer=LSTM, merge_mode=mode) for mode in ("sum", "mul", "ave", "concat", None)),
        example(layer=GRU, backward_layer=("GRU", {"units": 3, "reset_after": False, "go_backwards": True})),
        example(layer=("RNN", {"cell": STACK, "return_sequences": True})),
    ),
    "TimeDistributed": (
        example(layer=("Dense", {"units": 5, "activation": "softmax"})),
        example(layer=LSTM, on=((6, 5, 4),)),
    ),
}


def layer_examples() -> Iterator[tuple[str, int, Example]]:
    """(class, number, example) of every layer class that a Keras of today has."""
    for name, cls in sorted(LAYERS.items()):
        if cls.last not in GONE:
            yield from ((name, i, e) for i, e in enumerate((*cls.examples, *MORE.get(name, ()))))


def operation_examples() -> Iterator[tuple[str, int, Example]]:
    for name, cls in sorted(OPERATIONS.items()):
        yield from ((name, i, e) for i, e in enumerate(cls.examples))


def inputs_of(name: str, given: Example, *, zeros: bool = False) -> list[Input]:
    """The inputs of an example; ids stay below what the layer knows."""
    options = given.options
    high = next((options[k] for k in ("input_dim", "num_tokens", "num_classes") if isinstance(options.get(k), int)), 5)
    words = options.get("vocabulary") or ["a", "b", "c"]
    return [
        Input(shape=list(shape), dtype=dtype or "float32", high=high, zeros=zeros, words=words)
        for shape, dtype in zip(given.on, given.dtypes, strict=True)
    ]


def arguments(name: str, refs: list[str]) -> list[Any]:
    """What the layer is called on: one tensor, a list, or several."""
    found = [{"ref": r} for r in refs]
    return found if len(found) == 1 or name in SEPARATE else [found]


def operands(value: Any) -> Any:
    """The arguments of an operation's example: its inputs by name, and what stands beside them."""
    match value:
        case str() if value.startswith("x"):
            return {"ref": value}
        case Constant():
            return {"array": value.value, "dtype": value.dtype}
        case SliceValue():
            return {"slice": [value.start, value.stop, value.step]}
        case list() | tuple():
            return [operands(v) for v in value]
    return "..." if value is ... else value


def plain(value: Any) -> Any:
    """Options as JSON."""
    return msgspec.to_builtins(value)


def is_recurrent(cls: type[Layer]) -> bool:
    return "go_backwards" in cls.__struct_fields__


def variants(name: str, given: Example) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what is done to it, description without its head) of one example."""
    cls, count = LAYERS[name], len(given.on)
    node = Node(layer=name, config=plain(given.options))
    refs = [f"x{i}" for i in range(count)]
    inputs = inputs_of(name, given)
    yield "plain", {"inputs": inputs, "nodes": [node | {"args": arguments(name, refs)}], "containers": CONTAINERS}
    yield (
        "float64",
        {
            "inputs": [i | {"dtype": "float64"} if i["dtype"].startswith("float") else i for i in inputs],
            "nodes": [node | {"args": arguments(name, refs)}],
            "policy": "float64",
        },
    )
    if any(x["dtype"].startswith("float") for x in inputs):
        whole = [i | {"dtype": "int32"} if i["dtype"].startswith("float") else i for i in inputs]
        yield "whole", {"inputs": whole, "nodes": [node | {"args": arguments(name, refs)}]}
    reader = Node(layer="SimpleRNN", config={"units": 2, "return_sequences": True}, pick=[0], rank=3)
    twice = [f"x{i + count}" for i in range(count)]
    yield (
        "twice",
        {
            "inputs": inputs * 2,
            "nodes": [node | {"args": arguments(name, refs)}, {"again": 0, "args": arguments(name, twice)}],
        },
    )
    around = ["Bidirectional"] if is_recurrent(cls) else []
    zeros = inputs_of(name, given, zeros=True)
    maskable = [i for i, x in enumerate(inputs) if len(x["shape"]) > 1 and x["dtype"].startswith("float")]
    for masked in {tuple(maskable), tuple(maskable[:1])} - {()}:
        masks: list[Node] = [Node(layer="Masking", args=[{"ref": f"x{i}"}]) for i in masked]
        refs_masked = [f"n{masked.index(i)}" if i in masked else f"x{i}" for i in range(count)]
        args = arguments(name, refs_masked)
        yield f"masked{len(masked)}", {"inputs": zeros, "nodes": [*masks, node | {"args": args}, reader]}
        if around:
            yield "masked-bi", {"inputs": zeros, "nodes": [*masks, node | {"args": args, "around": around}, reader]}
    if any(x["dtype"].startswith("int") for x in inputs):
        yield "zeros", {"inputs": zeros, "nodes": [node | {"args": arguments(name, refs)}, reader]}
    if count > 1:
        return
    deeper = [i | {"shape": [3, *i["shape"]]} for i in zeros]
    inside = node | {"around": [*around, "TimeDistributed"]}
    yield "timed", {"inputs": deeper, "nodes": [inside | {"args": [{"ref": "x0"}]}]}
    if inputs[0]["dtype"].startswith("float"):
        masking = Node(layer="Masking", args=[{"ref": "x0"}])
        yield "timed-masked", {"inputs": deeper, "nodes": [masking, inside | {"args": [{"ref": "n0"}]}, reader]}


def descriptions() -> Iterator[Description]:
    """All of them, for each package that may have the class; each variant in one of the containers in turn."""
    for name, i, given in layer_examples():
        for what, body in variants(name, given):
            for package in PACKAGES:
                yield described(f"{name}-{i}-{what}-{package}", "example", [name], package, body)
    for name, i, given in operation_examples():
        inputs = inputs_of(name, given)
        args = given.args or [f"x{k}" for k in range(len(inputs))]
        node = Node(op=name, config=plain(given.options), args=operands(args))
        body = {"inputs": inputs, "nodes": [node], "containers": ["keras"]}
        yield described(f"op-{name}-{i}-keras", "example", [name], "keras", body)


def is_plain(id: str) -> bool:
    """Whether the description of this id is an example as it stands, which must be exact."""
    return id.startswith("op-") or "-plain-" in id


def described(id: str, kind: str, classes: list[str], package: str, body: dict[str, Any]) -> Description:
    seed = zlib.crc32(id.encode())
    # what the builder writes into a description must not reach another one
    body = msgspec.json.decode(msgspec.json.encode(body))
    head = {"id": id, "kind": kind, "classes": classes, "package": package, "seed": seed}
    return {"containers": [CONTAINERS[seed % 3]], **body, **head}  # type: ignore[typeddict-item]
