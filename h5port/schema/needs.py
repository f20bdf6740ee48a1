"""What each layer must find in the file, and the binding's answer."""

from __future__ import annotations

from typing import Literal

import msgspec

from h5port.archive import StoredArray

Label = tuple[str, ...]  # the path of a layer in the config: ("encoder", "bidirectional_1", "forward", "cell")


class Variable(msgspec.Struct, frozen=True):
    """A variable of a layer. In `shape` None stands for any size; shape None for any shape.

    optional  it need not be in the file
    of  the child whose variable it is: a wrapper may list one of the wrapped layer's as its own, too
    """

    name: str
    shape: tuple[int | None, ...] | None = None
    trainable: bool = True
    optional: bool = False
    of: str = ""

    def fits(self, shape: tuple[int, ...]) -> bool:
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            w is None or w == s for w, s in zip(self.shape, shape, strict=True)
        )


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A layer, a cell or a model as the stores see it.

    name        the last part of its label
    attribute   what the path stores call it below its parent; "" for the layers of a model
    class_name  the Python class, which the path stores name it after
    opaque      a class that h5port does not know: whatever is stored for it belongs to it
    optional    its variables need not be in the file
    branch_of   the Merge layer at the head of a Keras 0 or 1 Sequential whose branch it is part of
    is_in_order whether a model lists its layers as Keras does
    """

    name: str
    class_name: str
    id: int
    attribute: str = ""
    kind: Literal["layer", "model", "operation"] = "layer"
    variables: tuple[Variable, ...] = ()
    children: tuple[Need, ...] = ()
    trainable: bool = True
    opaque: bool = False
    branch_of: str = ""
    optional: bool = False
    is_in_order: bool = True


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Each variable's array. `dropped` are arrays that belong to no variable, with the reason.

    places  where a path store keeps what belongs to a layer
    """

    arrays: dict[tuple[Label, str], StoredArray]
    dropped: dict[str, str]
    notes: tuple[str, ...]
    places: dict[Label, str] = {}

    def of(self, label: Label) -> dict[str, StoredArray]:
        return {variable: a for (at, variable), a in self.arrays.items() if at == label}


def has_variables(need: Need) -> bool:
    """Whether the layer or anything below it has weights."""
    return need.opaque or bool(need.variables) or any(has_variables(c) for c in need.children)
