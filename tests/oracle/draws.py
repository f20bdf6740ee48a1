"""Random models, drawn by hypothesis: single layers with odd options and sizes, and functional graphs of all layers.

Options are drawn by the types of the declarations, so a new layer is drawn without a line here. What Keras does not
take is left out by the builder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import msgspec
from description import Description, Input, Node
from examples import (
    CONTAINERS,
    PACKAGES,
    arguments,
    described,
    inputs_of,
    is_recurrent,
    layer_examples,
    operation_examples,
    plain,
)
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from h5port.layers.activations import NAMES
from h5port.layers.base import Example, Layer
from h5port.layers.catalogue import LAYERS

ACTIVATIONS = sorted(NAMES)
SIZES = (1, 2, 3, 5, 6, 9)
FEW = st.integers(0, 3)
CHOICES: dict[str, list[Any]] = {  # options whose declarations tell no more than that they are strings
    "activation": ACTIVATIONS,
    "recurrent_activation": ["sigmoid", "hard_sigmoid", "tanh", "relu", "linear"],
    "padding": ["valid", "same", "causal"],
    "data_format": ["channels_last", "channels_first", None],
    "merge_mode": ["concat", "sum", "mul", "ave", None],
    "interpolation": ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area"],
}
KEPT = {"layer", "backward_layer", "cell", "cells", "vocabulary", "noise_shape", "dtype", "pool_mode"}


def drawn(strategy: st.SearchStrategy[Any], count: int, at: int) -> list[Any]:
    """`count` values at the most; the same for the same seed."""
    found: list[Any] = []

    @seed(at)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


# ---- options


def option(name: str, of: Any, value: Any) -> st.SearchStrategy[Any]:
    """Other values of an option, near the one of the example."""
    kinds = get_args(of) if get_origin(of) not in (None, list, tuple, Literal) else (of,)
    for kind in kinds:
        if get_origin(kind) is Literal:
            literals: list[Any] = list(get_args(kind))
            return st.sampled_from(literals)
    if name in CHOICES:
        return st.sampled_from(CHOICES[name])
    if isinstance(value, bool) or bool in kinds:
        return st.booleans()
    if isinstance(value, list | tuple) and value and all(isinstance(v, int) for v in value):
        return st.lists(st.integers(1, 4), min_size=len(value), max_size=len(value))
    if isinstance(value, int):
        return st.one_of(st.integers(1, 6), st.sampled_from([-1, -2, 0]))
    if isinstance(value, float):
        return st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.7, 2.5, -0.3, 1e-3])
    if value is None and int in kinds:
        return st.sampled_from([None, 1, 2, 3, -1])
    if value is None and float in kinds:
        return st.sampled_from([None, 0.0, 0.3, 2.0])
    return st.just(value)


@st.composite
def options(draw: Any, cls: type[Layer], given: dict[str, Any]) -> dict[str, Any]:
    """The options of an example, up to four of them changed."""
    fields = [f for f in msgspec.structs.fields(cls) if f.name not in KEPT]
    result = dict(plain(given))
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name)) if fields else []
    for field in chosen:
        known = field.default if field.default is not msgspec.NODEFAULT else None
        result[field.name] = draw(option(field.name, field.type, result.get(field.name, known)))
    return result


# ---- single layers


@st.composite
def layers(draw: Any, name: str, example: Example) -> dict[str, Any]:
    """One layer with drawn options on inputs of drawn sizes, masked or not, wrapped or not."""
    cls = LAYERS[name]
    node = Node(layer=name, config=draw(options(cls, example.options)))
    inputs = inputs_of(name, example, zeros=draw(st.booleans()))
    sizes: dict[int, int] = {}  # equal sizes stay equal
    if draw(st.booleans()):
        for n in sorted({n for x in inputs for n in x["shape"] if n}):
            sizes[n] = draw(st.sampled_from((n, n, *SIZES)))
    nodes: list[Node] = []
    refs = [f"x{i}" for i in range(len(inputs))]
    wrappers = ["Bidirectional"] * is_recurrent(cls) + ["TimeDistributed"] * (len(inputs) == 1)
    around = [w for w in wrappers if draw(FEW) == 0]
    for i, x in enumerate(inputs):
        x["shape"] = [sizes.get(n or 0, n) for n in x["shape"]]
        if "TimeDistributed" in around:
            x["shape"].insert(0, draw(st.sampled_from([1, 3])))
        if node["config"].get("stateful"):
            x["batch"] = 5
        elif x["shape"] and draw(FEW) == 0:
            x["shape"][0] = None
        if x.get("zeros") and len(x["shape"]) > 1 and x["dtype"].startswith("float") and draw(FEW):
            refs[i] = f"n{len(nodes)}"
            nodes.append(Node(layer="Masking", args=[{"ref": f"x{i}"}]))
    nodes.append(node | {"args": arguments(name, refs), "around": around})
    if len(nodes) > 1:
        nodes.append(Node(layer="GRU", config={"units": 2, "return_sequences": True}, pick=[0], rank=3))
    policy = draw(st.sampled_from([None, None, None, "float64"]))
    if policy:
        inputs = [i | {"dtype": policy} if i["dtype"].startswith("float") else i for i in inputs]
    return {"inputs": inputs, "nodes": nodes, **({"policy": policy} if policy else {})}


# ---- graphs


def ranks(example: Example) -> set[int]:
    return {len(shape) + 1 for shape in example.on}


EXAMPLES = list(layer_examples())
OPERATIONS = [e for e in operation_examples() if e[2].args is None and not e[2].dtype]
BY_RANK = {r: [e for e in EXAMPLES if ranks(e[2]) == {r} and e[2].dtype is None] for r in range(2, 6)}
MERGES = [e for e in EXAMPLES if len(e[2].on) > 1 and e[2].dtype is None]
RECURRENT = [e for e in EXAMPLES if is_recurrent(LAYERS[e[0]])]
PICKS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5])


@st.composite
def layer_node(draw: Any, candidates: list[tuple[str, int, Example]]) -> Node:
    name, _, example = draw(st.sampled_from(candidates))
    cls = LAYERS[name]
    config = draw(options(cls, example.options)) if draw(st.booleans()) else plain(example.options)
    config.pop("stateful", None)
    count = len(example.on)
    node = Node(layer=name, config=config, pick=[draw(PICKS) for _ in range(count)], rank=len(example.on[0]) + 1)
    if count > 1:
        node["joined"] = len(arguments(name, ["x0"] * count)) == 1
    if is_recurrent(cls) and draw(FEW) == 0:
        node["around"] = ["Bidirectional"]
    elif count == 1 and len(example.on[0]) == 1 and draw(FEW) == 0:
        node["around"], node["rank"] = ["TimeDistributed"], 3
    return node


@st.composite
def operation_node(draw: Any) -> Node:
    name, _, example = draw(st.sampled_from(OPERATIONS))
    picks = [draw(PICKS) for _ in example.on]
    return Node(op=name, config=plain(example.options), pick=picks, rank=len(example.on[0]) + 1)


@st.composite
def any_node(draw: Any, package: str, count: int, *, inner: bool = False) -> Node:
    """A layer, a merge, a mask, an operation, a nested model, or a node called once more."""
    kinds = ["layer"] * 6 + ["merge"] * 2 + ["recurrent", "masking", "again", "model"]
    if package == "keras" and OPERATIONS:
        kinds += ["op"] * 2
    kind = draw(st.sampled_from(kinds))
    if kind == "again" and count:
        return Node(again=draw(st.integers(0, count - 1)), pick=[draw(PICKS)])
    if kind == "model" and not inner:
        nodes = [draw(any_node(package, i, inner=True)) for i in range(draw(st.integers(1, 4)))]
        picks = [draw(PICKS) for _ in range(draw(st.integers(1, 2)))]
        return Node(model=Description(nodes=nodes), pick=picks, joined=len(picks) > 1)
    if kind == "op":
        return draw(operation_node())
    if kind == "masking":
        return Node(layer="Masking", config={}, pick=[draw(PICKS)], rank=3)
    if kind == "merge" and MERGES:
        return draw(layer_node(MERGES))  # type: ignore[no-any-return]
    if kind == "recurrent":
        return draw(layer_node(RECURRENT))  # type: ignore[no-any-return]
    by_rank = [found for found in BY_RANK.values() if found]
    return draw(layer_node(draw(st.sampled_from(by_rank))))  # type: ignore[no-any-return]


@st.composite
def graphs(draw: Any) -> dict[str, Any]:
    """A functional graph of one to three inputs and up to twelve nodes."""
    package = draw(st.sampled_from(PACKAGES))
    inputs: list[Input] = []
    nodes: list[Node] = []
    for i in range(draw(st.integers(1, 3))):
        rank = draw(st.sampled_from([1, 2, 2, 2, 3, 3, 4]))
        shape: list[int | None] = [draw(st.sampled_from(SIZES)) for _ in range(rank)]
        ids = rank == 1 and draw(st.booleans())
        x = Input(shape=shape, dtype="int32" if ids else "float32", zeros=draw(st.booleans()), high=5)
        inputs.append(x)
        if ids:
            config = {"input_dim": 6, "output_dim": draw(st.sampled_from(SIZES)), "mask_zero": x["zeros"]}
            nodes.append(Node(layer="Embedding", config=config, args=[{"ref": f"x{i}"}]))
        elif x["zeros"] and rank == 2:
            nodes.append(Node(layer="Masking", config={}, args=[{"ref": f"x{i}"}]))
    for _ in range(draw(st.integers(2, 12))):
        nodes.append(draw(any_node(package, len(nodes))))
    return {
        "package": package,
        "containers": [draw(st.sampled_from(CONTAINERS))],
        "inputs": inputs,
        "nodes": nodes,
        "structure": draw(st.sampled_from(["list", "list", "dict"])),
        "policy": draw(st.sampled_from([None, None, None, None, "float64"])),
    }


def classes_in(nodes: list[Node]) -> list[str]:
    """The classes of the nodes, nested ones included."""
    own = [n.get("layer") or n.get("op") or "" for n in nodes]
    return [c for c in own if c] + [c for n in nodes if "model" in n for c in classes_in(n["model"]["nodes"])]


# ---- all of a run


class Draws:
    """Draws for the genuine Kerases that there are: `signatures` says which options each of their classes has."""

    def __init__(self, signatures: dict[str, dict[str, list[str]]], at: int) -> None:
        self.signatures, self.at = signatures, at

    def layers(self, count: int, wanted: Callable[[str], bool]) -> list[Description]:
        """About `count` single layers, evenly over all examples."""
        known = [(n, e) for n, _, e in layer_examples() if wanted(n) and any(n in s for s in self.signatures.values())]
        found: list[Description] = []
        each = -(-count // max(1, len(known)))
        for number, (name, example) in enumerate(known):
            packages = [p for p in PACKAGES if name in self.signatures[p]]
            for i, body in enumerate(drawn(layers(name, example), each, self.at + number)):
                package = packages[(i + number) % len(packages)]
                self.take_known_options(body["nodes"], package)
                id = f"{name}-drawn-{self.at}-{number}-{i}-{package}"
                found.append(described(id, "layer", [name], package, body))
        return sorted(found, key=lambda d: d["seed"])[:count]

    def graphs(self, count: int) -> list[Description]:
        """`count` graphs, no two of the same classes in the same order."""
        found: dict[tuple[str, ...], Description] = {}
        for batch in range(8 if count else 0):
            for i, body in enumerate(drawn(graphs(), count, self.at * 8 + batch)):
                self.take_known_options(body["nodes"], body["package"])
                names = classes_in(body["nodes"])
                id = f"graph-{self.at}-{batch}-{i}"
                found.setdefault(tuple(names), described(id, "graph", sorted({*names}), body["package"], body))
            if len(found) >= count:
                break
        return list(found.values())[:count]

    def take_known_options(self, nodes: list[Node], package: str) -> None:
        """Leave out the options that this package does not have."""
        for node in nodes:
            known = self.signatures[package].get(node.get("layer", ""))
            if known is not None:
                node["config"] = {k: v for k, v in node.get("config", {}).items() if k in known}
            self.take_known_options(node.get("model", {}).get("nodes", []), package)
