"""What is built: models written as JSON, the one thing that both environments of the oracle know.

A value is named: "x0", "x1" are the inputs of a model, "n0", "n1" what its nodes give, "n2:1" the second output of
node 2. An argument of a node is `{"ref": NAME}`, `{"array": [...], "dtype": ...}`, `{"slice": [start, stop, step]}`,
`"..."`, a list or dict of arguments, or a JSON value. Among options, `["LSTMCell", {...}]` is a layer.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Input(TypedDict, total=False):
    """An input of a model.

    shape   without the batch
    dtype   "float32", "int32", "bool", "string" ...
    batch   where the batch is fixed (stateful layers)
    high    integers are below it
    zeros   rows of differing validity: begun, interrupted, ended by steps of zeros, all zeros, none
    words   strings are among these
    """

    shape: list[int | None]
    dtype: str
    batch: int | None
    high: int
    zeros: bool
    words: list[str]


class Node(TypedDict, total=False):
    """One call. Exactly one of `layer`, `op`, `model` and `again` says what is called.

    layer, op  a class of Keras' layers, or of its operations (keras/src/ops), with its `config`
    model      a nested model
    again      the number of the node whose layer or model is called once more
    around     class names of wrappers, the innermost first: "TimeDistributed", "Bidirectional"
    args       what it is called on
    pick       instead of `args`: numbers that choose among the values there are, the newest first; the builder tries
               a few and drops the node if Keras takes none. `rank` (with the batch) and `dtype` narrow the choice
    joined     whether the picked values are one list
    """

    layer: str
    op: str
    model: Description
    again: int
    around: list[str]
    config: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    pick: list[int]
    rank: int
    dtype: str
    joined: bool


class Description(TypedDict, total=False):
    """A model, and how it is saved.

    classes     the classes it is made for: what ONLY= chooses by
    package     "keras" or "tf_keras"
    containers  "keras", "h5", "weights.h5"
    sequential  a Sequential of the nodes, each called on the one before
    outputs     value names; "leaves": whatever no node takes; "all": every value
    policy      the dtype policy of all layers
    structure   "list" or "dict": how the model takes its inputs and gives its outputs
    """

    id: str
    kind: str
    classes: list[str]
    package: str
    containers: list[str]
    sequential: bool
    inputs: list[Input]
    nodes: list[Node]
    outputs: list[str] | str
    policy: str
    structure: str
    seed: int


class Mutant(TypedDict, total=False):
    """An architecture with one value changed, beside the weights of the case that it was made of."""

    id: str
    kind: str
    classes: list[str]
    package: str
    folder: str
    changed: str
    document: dict[str, Any]
    inputs: list[Input]
    seed: int
