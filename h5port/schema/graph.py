"""The typed Keras graph: what crosses from this room to the layers."""

from __future__ import annotations

from typing import Any

import msgspec

Shape = tuple[int | None, ...]


class Ref(msgspec.Struct, frozen=True):
    """Output `tensor` of call number `call` of a layer; `tensor` None means all of its outputs as they come."""

    layer: str
    call: int
    tensor: int | None


class Constant(msgspec.Struct, frozen=True):
    """A value that stands in the graph itself (nested lists of numbers). `dtype` where the file names it."""

    value: Any
    dtype: str | None = None


class SliceValue(msgspec.Struct, frozen=True):
    """A Python slice among the arguments of an operation; its parts are ints, Refs or None."""

    start: Any
    stop: Any
    step: Any


# An argument is a Ref, a Constant, a SliceValue, a plain JSON value, or a list or dict of these.
Argument = Any


class Call(msgspec.Struct, frozen=True):
    """One use of a layer: the k-th of its name."""

    layer: str
    call: int
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]


class LayerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One layer as the config has it, its options under their newest names.

    Options that hold layers (`layer`, `cell`, `cells`, ...) hold `LayerConfig`s. `model` is set for nested models.
    `place` is the path in the config document; `id` tells objects apart: the same id is the same layer. `branch_of`
    is the Merge layer at the head of a Keras 0 or 1 Sequential whose branch it is part of.
    """

    class_name: str
    name: str
    options: dict[str, Any]
    place: str
    id: int
    module: str = ""
    registered_name: str | None = None
    trainable: bool = True
    dtype: str | None = None
    quantization: str | None = None
    batch_shape: Shape | None = None
    build_shape: Any = None
    model: Model | None = None
    branch_of: str = ""

    @property
    def is_operation(self) -> bool:
        return self.module.startswith(("keras.ops", "keras.src.ops"))


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a graph of calls. `inputs` and `outputs` are structures (a Ref, or lists and dicts of Refs).

    is_in_order  whether the config lists each layer after what it is first called on, as Keras does
    upgrades     of the outermost model: the old names that were read as new ones
    """

    name: str
    class_name: str
    layers: dict[str, LayerConfig]
    calls: tuple[Call, ...]
    inputs: Argument
    outputs: Argument
    trainable: bool = True
    is_in_order: bool = True
    upgrades: tuple[str, ...] = ()


def refs(argument: Argument) -> list[Ref]:
    """All Refs in an argument, in order."""
    if isinstance(argument, Ref):
        return [argument]
    if isinstance(argument, dict):
        return [r for v in argument.values() for r in refs(v)]
    if isinstance(argument, list | tuple):
        return [r for v in argument for r in refs(v)]
    if isinstance(argument, SliceValue):
        return refs([argument.start, argument.stop, argument.step])
    return []
