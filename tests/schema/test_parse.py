"""Config documents of every dialect become the graph that they mean; broken ones are refused by name."""

from __future__ import annotations

import copy
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Case, genuine, genuine_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from h5port.archive import Archive, open_archive, read_config_file
from h5port.errors import H5PortError
from h5port.layers.base import need_of
from h5port.layers.catalogue import LAYERS
from h5port.schema import upgrade
from h5port.schema.graph import Call, Constant, LayerConfig, Model, Ref, SliceValue, refs
from h5port.schema.parse import parse_model
from h5port.schema.writer import Writer, find_writer, release

LAW = settings(max_examples=40, deadline=None)
Json = Any


def parse(config: Json, version: str) -> Model:
    return parse_model(config, Writer(candidates=(release(version),), backend="tensorflow"))


def refused(code: str, config: Json, version: str) -> str:
    """The text of the refusal, which must have this code."""
    with pytest.raises(H5PortError) as error:
        parse(config, version)
    assert error.value.code == code
    return str(error.value)


def node(layer: str, call: int = 0, tensor: int = 0, *kwargs: dict[str, Any]) -> list[Any]:
    return [layer, call, tensor, *kwargs]


def tensor(layer: str, call: int = 0, output: int = 0) -> Json:
    """A tensor among the arguments of Keras 3."""
    history = {"shape": [None, 4], "dtype": "float32", "keras_history": [layer, call, output]}
    return {"class_name": "__keras_tensor__", "config": history}


def layer(class_name: str, name: str, inbound: list[Any] | None = None, **options: Any) -> Json:
    return {
        "class_name": class_name,
        "name": name,
        "config": {"name": name, **options},
        "inbound_nodes": inbound or [],
    }


def source(name: str, key: str = "batch_input_shape") -> Json:
    return layer("InputLayer", name, **{key: [None, 4]})


def functional(layers: list[Json], inputs: Json, outputs: Json, name: str = "m", **entry: Any) -> Json:
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Model", "config": config, **entry}


def calls(model: Model) -> list[tuple[str, int, list[Any], dict[str, Any]]]:
    return [(c.layer, c.call, list(c.args), c.kwargs) for c in model.calls]


# ---- one graph in four dialects


@dataclass(frozen=True)
class Graph:
    """What is meant: each layer's calls (none: an input) with their arguments, in the order of the config."""

    layers: dict[str, list[list[tuple[str, int]]]]
    outputs: list[tuple[str, int]]

    @property
    def inputs(self) -> list[str]:
        return [name for name, of in self.layers.items() if not of]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random acyclic graphs with shared layers, their layers listed in any order."""
    layers: dict[str, list[list[tuple[str, int]]]] = {f"in{i}": [] for i in range(draw(st.integers(1, 3)))}
    values = [(name, 0) for name in layers]
    for k in range(draw(st.integers(1, 7))):
        arguments = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
        shared = [n for n, of in layers.items() if of and len(of[0]) == len(arguments) == 1]
        name = draw(st.sampled_from([f"n{k}", *shared]))
        layers.setdefault(name, []).append(arguments)
        values.append((name, len(layers[name]) - 1))
    order = draw(st.permutations(list(layers)))
    outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
    return Graph({name: layers[name] for name in order}, outputs)


Inbound = Callable[[list[tuple[str, int]]], Json]


def triples(arguments: list[tuple[str, int]]) -> Json:
    return [node(*a) for a in arguments]


def triples_with_kwargs(arguments: list[tuple[str, int]]) -> Json:
    return [node(*a, 0, {}) for a in arguments]


def unwrapped(arguments: list[tuple[str, int]]) -> Json:
    found = triples_with_kwargs(arguments)
    return found[0] if len(found) == 1 else found


def args_and_kwargs(arguments: list[tuple[str, int]]) -> Json:
    found = [tensor(*a) for a in arguments]
    return {"args": [found[0] if len(found) == 1 else found], "kwargs": {}}


def collapsed(ends: list[Json]) -> Json:
    return ends[0] if len(ends) == 1 else ends


def listed(ends: list[Json]) -> Json:
    return ends


# version -> (how a call is written, how the inputs and outputs of the model are, the key of the input's shape)
DIALECTS: dict[str, tuple[Inbound, Callable[[list[Json]], Json], str]] = {
    "1.2.2": (triples, listed, "batch_input_shape"),
    "2.2.4": (triples_with_kwargs, listed, "batch_input_shape"),
    "tf-2.8": (unwrapped, listed, "batch_input_shape"),
    "3.3.3": (args_and_kwargs, listed, "batch_shape"),
    "3.15.1": (args_and_kwargs, collapsed, "batch_shape"),
}


def written(graph: Graph, version: str) -> Json:
    call, ends, shape = DIALECTS[version]
    layers = [
        layer("Dense" if len(of[0]) == 1 else "Add", name, [call(a) for a in of]) if of else source(name, shape)
        for name, of in graph.layers.items()
    ]
    inputs, outputs = [node(n) for n in graph.inputs], [node(*o) for o in graph.outputs]
    return functional(layers, ends(inputs), ends(outputs))


def one_or_list(found: list[Ref]) -> Ref | list[Ref]:
    return found[0] if len(found) == 1 else found


@LAW
@given(graphs())
def test_the_same_graph_in_every_dialect_is_the_same_model(graph: Graph) -> None:
    found = {version: parse(written(graph, version), version) for version in DIALECTS}
    for model in found.values():
        assert model.inputs == one_or_list([Ref(n, 0, 0) for n in graph.inputs])
        assert model.outputs == one_or_list([Ref(n, k, 0) for n, k in graph.outputs])
        assert list(model.layers) == list(graph.layers)
        assert {c: model.layers[c].batch_shape for c in graph.inputs} == dict.fromkeys(graph.inputs, (None, 4))
        meant = {
            (n, k): ([one_or_list([Ref(*a, 0) for a in arguments])], {})
            for n, of in graph.layers.items()
            for k, arguments in enumerate(of)
        }
        assert len(model.calls) == len(meant)
        assert {(n, k): (args, kwargs) for n, k, args, kwargs in calls(model)} == meant
    assert len({str(m.calls) for m in found.values()}) == 1


@LAW
@given(graphs(), st.sampled_from(list(DIALECTS)))
def test_calls_come_after_what_they_need_whatever_the_order_of_the_layers(graph: Graph, version: str) -> None:
    check_model(parse(written(graph, version), version))


def check_model(model: Model) -> None:
    """The promises of a Model to the layers: every reference means something that is there, and comes before."""
    ends = refs(model.inputs)
    assert ends
    assert len(set(ends)) == len(ends)
    assert all(model.layers[r.layer].class_name == "InputLayer" and (r.call, r.tensor) == (0, 0) for r in ends)
    done = {(r.layer, r.call) for r in ends}
    for call in model.calls:
        assert call.layer in model.layers
        assert all((r.layer, r.call) in done for r in refs([*call.args, call.kwargs]))
        assert (call.layer, call.call) not in done
        done.add((call.layer, call.call))
    assert refs(model.outputs)
    assert all((r.layer, r.call) in done for r in refs(model.outputs))
    for inner in model.layers.values():
        if inner.model is not None:
            check_model(inner.model)


NESTED = [("1.2.2", 1), ("2.0.8", 1), ("2.3.1", 1), ("tf-2.2", 1), ("tf-2.15", 1), ("3.0.5", 0), ("3.15.1", 0)]


def nested(version: str, first: int, *, sequential: bool = False) -> Json:
    """A model that is called twice, the second time on its own output."""
    call, ends, shape = DIALECTS["3.15.1" if version.startswith("3") else "tf-2.8"]
    layers = [source("x", shape), layer("Dense", "d", [call([("x", 0)])])]
    if sequential:
        inner = {"class_name": "Sequential", "config": {"name": "in", "layers": layers}}
    else:
        inner = functional(layers, ends([node("x")]), ends([node("d")]), "in")
    inbound = [call([("x", 0)]), call([("in", first)])]
    outer = [source("x", shape), {**inner, "name": "in", "inbound_nodes": inbound}]
    last = first + 1 if sequential else 2  # Keras 3 counts a functional model's own node here, and only here
    return functional(outer, ends([node("x")]), ends([node("in", last)]))


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(("version", "first"), NESTED)
def test_the_first_call_of_a_nested_model_is_call_0(version: str, first: int, sequential: bool) -> None:
    model = parse(nested(version, first, sequential=sequential), version)
    assert calls(model) == [("in", 0, [Ref("x", 0, 0)], {}), ("in", 1, [Ref("in", 0, 0)], {})]
    assert model.outputs == Ref("in", 1, 0)
    inner = model.layers["in"].model
    assert inner
    assert inner.name == "in"
    assert refs(inner.inputs) == [Ref("x", 0, 0)]
    assert [(c.layer, c.args) for c in inner.calls] == [("d", (Ref("x", 0, 0),))]
    check_model(model)


# ---- Keras 0


def dense0(units: int, **options: Any) -> Json:
    return {"name": "Dense", "custom_name": "dense", "trainable": True, "output_dim": units, **options}


SEQUENTIAL0 = {
    "name": "Sequential",
    "layers": [
        {"name": "Embedding", "custom_name": "embedding", "input_dim": 9, "output_dim": 4, "input_length": 5},
        {"name": "LSTM", "custom_name": "lstm", "output_dim": 3, "inner_activation": "hard_sigmoid"},
        dense0(3),
        dense0(2, activation="softmax"),
    ],
    "loss": "mse",
    "class_mode": "categorical",
}


def test_a_sequential_of_keras_0_is_a_chain_whose_names_are_numbered() -> None:
    model = parse(SEQUENTIAL0, "0.3.3")
    assert list(model.layers) == ["embedding_input", "embedding", "lstm", "dense", "dense_1"]
    assert model.inputs == Ref("embedding_input", 0, 0)
    assert model.outputs == Ref("dense_1", 0, None)
    assert [(c.layer, c.args) for c in model.calls] == [
        ("embedding", (Ref("embedding_input", 0, 0),)),
        ("lstm", (Ref("embedding", 0, None),)),
        ("dense", (Ref("lstm", 0, None),)),
        ("dense_1", (Ref("dense", 0, None),)),
    ]
    assert model.layers["embedding_input"].batch_shape == (None, 5)
    assert model.layers["lstm"].options["units"] == 3
    assert model.layers["lstm"].options["recurrent_activation"] == "hard_sigmoid"
    assert model.layers["dense_1"].options["activation"] == "softmax"
    assert model.layers["dense_1"].place == "config.layers[3]"


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (dense0(3, input_shape=[7, 4]), (None, 7, 4)),
        (dense0(3, input_dim=4), (None, 4)),
        ({"name": "GRU", "custom_name": "gru", "output_dim": 3, "input_dim": 4, "input_length": 7}, (None, 7, 4)),
        ({"name": "GRU", "custom_name": "gru", "output_dim": 3, "input_dim": 4, "input_length": None}, (None, None, 4)),
        (dense0(3, batch_input_shape=[2, 4]), (2, 4)),
    ],
)
def test_the_first_layer_of_keras_0_tells_the_shape_of_the_input(first: Json, shape: tuple[int | None, ...]) -> None:
    model = parse({"name": "Sequential", "layers": [first]}, "0.3.3")
    assert [model.layers[r.layer].batch_shape for r in refs(model.inputs)] == [shape]


def joint0(name: str, of: str | list[str], mode: str = "concat") -> Json:
    single = isinstance(of, str)
    return {
        "name": name,
        "input": of if single else None,
        "inputs": [] if single else of,
        "merge_mode": mode,
        "concat_axis": -1,
        "dot_axes": -1,
        "create_output": False,
    }


GRAPH0 = {
    "name": "Graph",
    "input_order": ["b", "a"],
    "output_order": ["both", "one"],
    "input_config": [
        {"name": "a", "input_shape": [4], "dtype": "float"},
        {"name": "b", "input_shape": [5], "dtype": "int32"},
    ],
    "node_config": [joint0("late", "a"), joint0("early", ["late", "b"], "sum")],
    "nodes": {"early": dense0(3, custom_name="early"), "late": dense0(2, custom_name="late")},
    "output_config": [joint0("one", "early"), joint0("both", ["early", "late"])],
}
GRAPH1 = {
    "class_name": "Graph",
    "config": {
        **{k: v for k, v in GRAPH0.items() if k not in ("name", "nodes")},
        "nodes": {
            name: {"class_name": "Dense", "config": {"name": f"{name}_layer", "output_dim": 3}}
            for name in ("early", "late")
        },
    },
}


@pytest.mark.parametrize(
    ("config", "version", "early", "late"),
    [(GRAPH0, "0.3.3", "early", "late"), (GRAPH1, "1.0.8", "early_layer", "late_layer")],
)
def test_the_nodes_of_a_graph_are_called_in_the_order_of_adding(
    config: Json, version: str, early: str, late: str
) -> None:
    model = parse(config, version)
    first, second, third, fourth = model.calls
    assert (first.layer, first.args) == (late, (Ref("a", 0, 0),))
    assert model.layers[second.layer].class_name == "Merge"
    assert model.layers[second.layer].options["mode"] == "sum"
    assert second.args == ([Ref(late, 0, None), Ref("b", 0, 0)],)
    assert (third.layer, third.args) == (early, (Ref(second.layer, 0, None),))
    assert model.layers[fourth.layer].options["mode"] == "concat"
    assert fourth.args == ([Ref(early, 0, None), Ref(late, 0, None)],)
    assert list(model.inputs.items()) == [("b", Ref("b", 0, 0)), ("a", Ref("a", 0, 0))]
    assert list(model.outputs.items()) == [("both", Ref(fourth.layer, 0, None)), ("one", Ref(early, 0, None))]
    assert (model.layers["a"].batch_shape, model.layers["b"].batch_shape) == ((None, 4), (None, 5))
    assert model.layers["b"].dtype == "int32"
    check_model(model)


# ---- Keras 1


def plain(class_name: str, name: str, **options: Any) -> Json:
    return {"class_name": class_name, "config": {"name": name, **options}}


def sequential1(*layers: Json) -> Json:
    return {"class_name": "Sequential", "config": list(layers)}


def merge1(name: str, *branches: Json, mode: str = "concat") -> Json:
    return plain("Merge", name, mode=mode, layers=list(branches))


MERGED1 = sequential1(
    merge1(
        "outer",
        sequential1(
            merge1(
                "inner",
                sequential1(plain("Dense", "a", output_dim=3, batch_input_shape=[None, 4])),
                sequential1(plain("Dense", "b", output_dim=3, batch_input_shape=[None, 5])),
                mode="mul",
            ),
            plain("Dense", "ab", output_dim=2),
        ),
        sequential1(plain("GRU", "c", output_dim=2, batch_input_shape=[None, 7, 4])),
    ),
    plain("Dense", "end", output_dim=1),
)


@pytest.mark.parametrize("config", [sequential1(plain("Dense", "d", batch_input_shape=[None, 4]), plain("Dense", "e"))])
@pytest.mark.parametrize("bare", [False, True])
def test_a_sequential_of_keras_1_is_a_list_with_or_without_its_class(config: Json, bare: bool) -> None:
    model = parse(config["config"] if bare else config, "1.2.2")
    assert list(model.layers) == ["d_input", "d", "e"]
    assert model.layers["d_input"].batch_shape == (None, 4)
    assert [(c.layer, c.args) for c in model.calls] == [("d", (Ref("d_input", 0, 0),)), ("e", (Ref("d", 0, None),))]
    assert [model.layers[n].place for n in ("d", "e")] == ["config[0]", "config[1]"]
    check_model(model)


def test_the_branches_of_a_merge_become_layers_of_the_model_itself() -> None:
    model = parse(MERGED1, "1.2.2")
    assert [r.layer for r in refs(model.inputs)] == ["a_input", "b_input", "c_input"]
    assert [model.layers[r.layer].batch_shape for r in refs(model.inputs)] == [(None, 4), (None, 5), (None, 7, 4)]
    assert [(c.layer, c.args[0]) for c in model.calls] == [
        ("a", Ref("a_input", 0, 0)),
        ("b", Ref("b_input", 0, 0)),
        ("inner", [Ref("a", 0, None), Ref("b", 0, None)]),
        ("ab", Ref("inner", 0, None)),
        ("c", Ref("c_input", 0, 0)),
        ("outer", [Ref("ab", 0, None), Ref("c", 0, None)]),
        ("end", Ref("outer", 0, None)),
    ]
    assert model.layers["outer"].options["mode"] == "concat"
    assert "layers" not in model.layers["outer"].options
    check_model(model)


def test_a_merge_within_a_merge_of_the_same_name_is_another_layer() -> None:
    """Keras 0 calls both "merge", and all of its Dense layers "dense"."""
    branch = {"name": "Sequential", "layers": [dense0(3, input_shape=[4])]}
    merge = {"name": "Merge", "custom_name": "merge", "mode": "sum", "trainable": True}
    inner = {"name": "Sequential", "layers": [{**merge, "layers": [branch, branch]}]}
    model = parse({"name": "Sequential", "layers": [{**merge, "layers": [inner, branch]}]}, "0.3.3")
    classes = sorted(model.layers[c.layer].class_name for c in model.calls)
    assert classes == ["Dense", "Dense", "Dense", "Merge", "Merge"]
    assert len({c.layer for c in model.calls}) == len(model.calls)
    check_model(model)


# ---- Keras 2


@pytest.mark.parametrize("wrap", [lambda layers: layers, lambda layers: {"name": "s", "layers": layers}])
@pytest.mark.parametrize("version", ["2.1.6", "2.2.4", "tf-2.2"])
def test_a_sequential_of_keras_2_is_a_list_or_a_dict(wrap: Callable[[Json], Json], version: str) -> None:
    layers = [plain("Dense", "d", units=3, batch_input_shape=[None, 4]), plain("Dense", "e", units=2)]
    model = parse({"class_name": "Sequential", "config": wrap(layers)}, version)
    assert [(c.layer, c.args) for c in model.calls] == [("d", (Ref("d_input", 0, 0),)), ("e", (Ref("d", 0, None),))]
    assert model.layers["d_input"].batch_shape == (None, 4)
    check_model(model)


def test_an_input_layer_at_the_head_of_a_sequential_is_its_input() -> None:
    layers = [plain("InputLayer", "i", batch_input_shape=[None, 4], dtype="int32"), plain("Dense", "d")]
    model = parse({"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, "tf-2.4")
    assert model.inputs == Ref("i", 0, 0)
    assert [c.layer for c in model.calls] == ["d"]
    assert (model.layers["i"].batch_shape, model.layers["i"].dtype) == ((None, 4), "int32")


@pytest.mark.parametrize(
    ("key", "version"), [("build_input_shape", "tf-2.4"), ("build_input_shape", "3.15.1"), ("build_config", "3.15.1")]
)
def test_a_sequential_without_input_has_the_shape_with_which_it_was_built(key: str, version: str) -> None:
    dense = plain("Dense", "d", units=3)
    own = {"name": "s", "layers": [dense]}
    if key == "build_config":
        dense[key] = {"input_shape": [None, 4]}
    else:
        own[key] = [None, 4]
    model = parse({"class_name": "Sequential", "config": own}, version)
    assert [model.layers[r.layer].batch_shape for r in refs(model.inputs)] == [(None, 4)]


def test_a_wrapped_first_layer_tells_the_shape() -> None:
    inner = plain("Bidirectional", "b", layer=plain("LSTM", "l", batch_input_shape=[None, 7, 4]))
    model = parse(sequential1(inner), "2.1.6")
    assert [model.layers[r.layer].batch_shape for r in refs(model.inputs)] == [(None, 7, 4)]


def test_a_nested_model_at_the_head_tells_the_shapes() -> None:
    heads = functional([source("p"), source("q"), layer("Add", "s", [[node("p"), node("q")]])], [], [node("s")])
    heads["config"]["input_layers"] = [node("p"), node("q")]
    model = parse({"class_name": "Sequential", "config": [heads, plain("Dense", "d")]}, "2.1.6")
    assert [model.layers[r.layer].batch_shape for r in refs(model.inputs)] == [(None, 4), (None, 4)]
    check_model(model)


def one_call(inbound: Json, version: str, *others: str) -> Call:
    """The call that `inbound` means, in a model with the inputs x, h and c."""
    *_, shape = DIALECTS["3.15.1" if version.startswith("3") else "2.2.4"]
    sources = [source(n, shape) for n in ("x", "h", "c")]
    config = functional([*sources, layer("LSTM", "l", [inbound])], [node(s["name"]) for s in sources], [node("l")])
    model = parse(config, version)
    check_model(model)
    return model.calls[0]


X, H, C = (Ref(name, 0, 0) for name in "xhc")


@pytest.mark.parametrize(
    ("inbound", "args", "kwargs"),
    [
        ([node("x", 0, 0, {"training": False})], (X,), {"training": False}),
        ([node("x", 0, 0, {"k": 1}), node("h", 0, 0, {"k": 1})], ([X, H],), {"k": 1}),
        ([node("x", 0, 0, {"initial_state": [node("h"), node("c")]})], (X,), {"initial_state": [H, C]}),
        ([node("x", 0, 0, {"mask": node("h"), "name": None})], (X,), {"mask": H, "name": None}),
        (node("x", 0, 0, {"y": {"deep": [1, node("c")]}}), (X,), {"y": {"deep": [1, C]}}),
        (node("x", 0, 0, {"shape": ["z", 0, 0]}), (X,), {"shape": ["z", 0, 0]}),
        (node("x", 0, 0, {"perm": [0, 2, 1], "s": "x"}), (X,), {"perm": [0, 2, 1], "s": "x"}),
        ({"one": node("x", 0, 0, {}), "two": node("h", 0, 0, {})}, ({"one": X, "two": H},), {}),
        ([["_CONSTANT_VALUE", -1, 2.5, {"y": node("x")}]], (Constant(2.5),), {"y": X}),
        (["_CONSTANT_VALUE", -1, [[1, 2]], {"y": node("x")}], (Constant([[1, 2]]),), {"y": X}),
    ],
)
def test_arguments_of_a_call_in_keras_2(inbound: Json, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    call = one_call(inbound, "tf-2.8")
    assert (call.args, call.kwargs) == (args, kwargs)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"left": node("x"), "right": node("h")}, {"a": node("d"), "b": node("e")}),
        ({"right": node("h"), "left": node("x")}, {"b": node("e"), "a": node("d")}),
    ],
)
@pytest.mark.parametrize("version", ["tf-2.8", "3.15.1"])
def test_inputs_and_outputs_keep_their_names_and_order(
    inputs: dict[str, Json], outputs: dict[str, Json], version: str
) -> None:
    call, _, shape = DIALECTS[version]
    layers = [
        source("x", shape),
        source("h", shape),
        layer("Dense", "d", [call([("x", 0)])]),
        layer("Dense", "e", [call([("h", 0)])]),
    ]
    model = parse(functional(layers, inputs, outputs), version)
    for found, meant in ((model.inputs, inputs), (model.outputs, outputs)):
        assert list(found.items()) == [(k, Ref(*v)) for k, v in meant.items()]
    check_model(model)


# ---- Keras 3


@pytest.mark.parametrize(
    ("args", "kwargs", "meant_args", "meant_kwargs"),
    [
        ([tensor("x")], {"mask": None, "training": False}, (X,), {"mask": None, "training": False}),
        ([tensor("x"), tensor("h"), 2], {}, (X, H, 2), {}),
        ([[tensor("x"), [tensor("h")]]], {"mask": [tensor("c"), None]}, ([X, [H]],), {"mask": [C, None]}),
        ([{"a": tensor("x"), "b": {"c": tensor("h")}}], {}, ({"a": X, "b": {"c": H}},), {}),
        (
            [tensor("x"), {"class_name": "__numpy__", "config": {"value": [[1.5]], "dtype": "float32"}}],
            {},
            (X, Constant([[1.5]], "float32")),
            {},
        ),
        (
            [tensor("x")],
            {"y": {"class_name": "__tensor__", "config": {"value": 3, "dtype": "int32"}}},
            (X,),
            {"y": Constant(3, "int32")},
        ),
        (
            [
                tensor("x"),
                [
                    {"class_name": "__ellipsis__", "config": {}},
                    {"class_name": "__slice__", "config": {"start": 1, "stop": None, "step": -1}},
                    {"class_name": "__slice__", "config": {"start": None, "stop": tensor("h"), "step": None}},
                    0,
                ],
            ],
            {},
            (X, [..., SliceValue(1, None, -1), SliceValue(None, H, None), 0]),
            {},
        ),
    ],
)
def test_arguments_of_a_call_in_keras_3(
    args: Json, kwargs: Json, meant_args: tuple[Any, ...], meant_kwargs: dict[str, Any]
) -> None:
    call = one_call({"args": args, "kwargs": kwargs}, "3.15.1")
    assert (call.args, call.kwargs) == (meant_args, meant_kwargs)


@pytest.mark.parametrize("version", ["tf-2.8", "3.15.1"])
@pytest.mark.parametrize("ids", [(5, 5), (5, 6), (5, None), (None, None)])
def test_equal_shared_object_ids_mean_one_layer(version: str, ids: tuple[int | None, int | None]) -> None:
    call, ends, shape = DIALECTS[version]
    marks = [{} if i is None else {"shared_object_id": i} for i in ids]
    layers = [
        source("x", shape),
        layer("TimeDistributed", "td", [call([("x", 0)])], layer={**plain("Dense", "d", units=4), **marks[0]}),
        {**layer("Dense", "d", [call([("td", 0)])], units=4), **marks[1]},
    ]
    model = parse(functional(layers, ends([node("x")]), ends([node("d")])), version)
    shared = model.layers["td"].options["layer"].id == model.layers["d"].id
    assert shared == (ids == (5, 5))


def test_different_classes_of_one_shared_object_id_are_different_layers() -> None:
    """Initialisers and layers are counted in one row, and some Kerases count anew for each layer."""
    layers = [{**plain("Dense", "d", batch_input_shape=[None, 4]), "shared_object_id": 1}]
    layers.append({**plain("LSTM", "l"), "shared_object_id": 1})
    model = parse({"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, "tf-2.8")
    assert (model.layers["d"].class_name, model.layers["l"].class_name) == ("Dense", "LSTM")
    assert model.layers["d"].id != model.layers["l"].id


@pytest.mark.parametrize(
    ("dtype", "name", "quantization"),
    [
        ("float16", "float16", None),
        (None, None, None),
        ({"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}, "mixed_float16", None),
        ({"class_name": "Policy", "config": {"name": "float64"}}, "float64", None),
        (
            {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}},
            "float32",
            "int8",
        ),
        ("int8_from_float32", "float32", "int8"),
    ],
)
def test_the_dtype_of_a_layer_is_read_from_a_name_or_a_policy(
    dtype: Json, name: str | None, quantization: str | None
) -> None:
    layers = [source("x", "batch_shape"), plain("Dense", "d", dtype=dtype, trainable=False)]
    found = parse({"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, "3.15.1").layers["d"]
    assert (found.dtype, found.quantization, found.trainable) == (name, quantization, False)


def test_operations_and_foreign_classes_are_told_apart_from_layers() -> None:
    add = {**layer("Add", "add", [args_and_kwargs([("x", 0)])]), "module": "keras.src.ops.numpy"}
    mine = {**layer("Mine>Dense", "mine", [args_and_kwargs([("add", 0)])]), "module": "elsewhere"}
    model = parse(functional([source("x", "batch_shape"), add, mine], node("x"), node("mine")), "3.15.1")
    assert model.layers["add"].is_operation
    assert not model.layers["x"].is_operation
    assert (model.layers["mine"].class_name, model.layers["mine"].registered_name) == ("Dense", "Mine>Dense")


def test_layers_among_the_options_are_layers() -> None:
    cells = [plain("LSTMCell", "c1", units=3), plain("GRUCell", "c2", units=2)]
    rnn = plain("RNN", "r", cell=plain("StackedRNNCells", "s", cells=cells), batch_input_shape=[None, 7, 4])
    bidirectional = plain("Bidirectional", "b", layer=plain("GRU", "f"), backward_layer=plain("GRU", "g"))
    inner = {"class_name": "Sequential", "config": [plain("Dense", "i", batch_input_shape=[None, 4])]}
    distributed = plain("TimeDistributed", "t", layer=inner)
    activated = plain("Dense", "d", activation=plain("PReLU", "p"), kernel_initializer=plain("Zeros", "z"))
    model = parse(sequential1(rnn, bidirectional, distributed, activated), "2.2.4")
    assert [c.name for c in model.layers["r"].options["cell"].options["cells"]] == ["c1", "c2"]
    assert [model.layers["b"].options[k].name for k in ("layer", "backward_layer")] == ["f", "g"]
    assert model.layers["t"].options["layer"].model.calls[0].layer == "i"
    assert model.layers["d"].options["activation"].class_name == "PReLU"
    assert not isinstance(model.layers["d"].options["kernel_initializer"], LayerConfig)
    found = list(layers_of(model))
    assert len({c.id for c in found}) == len(found)


# ---- places


def layers_of(value: Any) -> Iterator[LayerConfig]:
    """Every layer of a model, also nested and wrapped ones."""
    if isinstance(value, LayerConfig):
        yield value
        yield from layers_of(value.options)
        yield from layers_of(value.model)
    elif isinstance(value, Model):
        yield from layers_of(value.layers)
    elif isinstance(value, dict):
        yield from layers_of(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from layers_of(item)


def at_place(document: Json, place: str, version: str) -> Json:
    """What stands at a place: steps into the document, as in "config.layers[0].config"."""
    found = {"config": document} if version.startswith("0") or isinstance(document, list) else document
    for step in re.findall(r"[^.\[\]]+|\[\d+\]", place):
        found = found[int(step[1:-1])] if step[0] == "[" else found[step]
    return found


def misplaced(model: Model, document: Json, version: str) -> list[str]:
    """The layers whose place is not theirs; inputs and merges that a document implies stand where they are implied."""
    key = "name" if version.startswith("0") else "class_name"
    wrong = []
    for config in layers_of(model):
        try:
            entry = at_place(document, config.place, version)
            implied = config.class_name in ("InputLayer", "Merge")
            right = implied or upgrade.class_name(entry[key].split(">")[-1]) == config.class_name
        except (KeyError, IndexError, TypeError):
            right = False
        if not right:
            wrong.append(f"{config.class_name} {config.name} at {config.place}")
    return wrong


NESTED_LIST1 = functional(
    [source("x"), {**sequential1(plain("Dense", "d", batch_input_shape=[None, 4])), "name": "s", "inbound_nodes": []}],
    [node("x")],
    [node("s", 1)],
)
NESTED_LIST1["config"]["layers"][1]["inbound_nodes"] = [triples([("x", 0)])]
WRAPPED2 = sequential1(plain("TimeDistributed", "t", layer=plain("Dense", "d"), batch_input_shape=[None, 7, 4]))
CELLS2 = sequential1(
    plain("RNN", "r", cell=plain("StackedRNNCells", "s", cells=[plain("GRUCell", "c")]), batch_input_shape=[None, 7, 4])
)


@pytest.mark.parametrize(
    ("config", "version"),
    [
        (SEQUENTIAL0, "0.3.3"),
        (MERGED1, "1.2.2"),
        (sequential1(plain("Dense", "d", batch_input_shape=[None, 4]))["config"], "1.2.2"),
        (NESTED_LIST1, "1.2.2"),
        (nested("2.2.4", 1), "2.2.4"),
        (nested("3.15.1", 0, sequential=True), "3.15.1"),
        (WRAPPED2, "2.2.4"),
        (CELLS2, "2.2.4"),
    ],
    ids=["keras0", "merge", "bare-list", "nested-list", "nested", "nested-3", "wrapped", "cells"],
)
def test_the_place_of_a_layer_leads_to_it(config: Json, version: str) -> None:
    assert not misplaced(parse(config, version), config, version)


CASES = genuine_cases()


def opened(case: Case) -> tuple[Archive, Json]:
    with open_archive(case.source) as archive:
        config = case.options.get("config")
        return archive, read_config_file(config) if config else archive.config


def parsed(case: Case) -> tuple[Model, Json, Writer]:
    archive, config = opened(case)
    writer = find_writer(archive, config, writer=None, source_backend="auto")
    return parse_model(config, writer), config, writer


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_genuine_configs_become_whole_models(case: Case) -> None:
    model, _, _ = parsed(case)
    check_model(model)
    names = case.data["inputs"]
    assert names == "list" or sorted(model.inputs) == sorted(names)
    classes = {model.class_name, *(c.class_name for c in layers_of(model))}
    shared = {"Siamese", "SiameseHead", "Layer"}  # nodes of Keras 0 that say how a layer is shared
    assert {upgrade.class_name(c) for c in case.data["layers"]} - shared <= classes


def test_the_places_of_genuine_configs_lead_to_their_layers() -> None:
    wrong = {}
    for case in CASES:
        model, config, writer = parsed(case)
        wrong[case.id] = misplaced(model, config, str(writer.candidates[0].version[0]))
    assert not {id_: places for id_, places in wrong.items() if places}


# ---- refusals


def chain(version: str, first: Json, second: Json, outputs: Json) -> Json:
    *_, shape = DIALECTS[version]
    layers = [source("x", shape), layer("Dense", "first", first), layer("Dense", "second", second)]
    return functional(layers, [node("x")], outputs)


every_dialect = pytest.mark.parametrize("version", list(DIALECTS))


@every_dialect
def test_layers_that_wait_for_each_other_are_refused_by_name(version: str) -> None:
    call = DIALECTS[version][0]
    text = refused(
        "unsupported-graph",
        chain(version, [call([("second", 0)])], [call([("first", 0)])], [node("second")]),
        version,
    )
    assert "first" in text
    assert "second" in text


@every_dialect
def test_a_layer_that_waits_for_itself_is_refused_by_name(version: str) -> None:
    call = DIALECTS[version][0]
    text = refused(
        "unsupported-graph", chain(version, [call([("first", 0)])], [call([("x", 0)])], [node("second")]), version
    )
    assert "first" in text


@every_dialect
@pytest.mark.parametrize("name", ["elsewhere", "e"])
def test_a_call_on_an_unknown_layer_is_refused_by_name(version: str, name: str) -> None:
    call = DIALECTS[version][0]
    config = chain(version, [call([(name, 0)])], [call([("first", 0)])], [node("second")])
    assert f"{name!r}" in refused("bad-config", config, version)


@pytest.mark.parametrize("version", ["2.2.4", "3.15.1"])
@pytest.mark.parametrize("end", ["input_layers", "output_layers"])
@pytest.mark.parametrize(
    "wrap",
    [lambda n: [n], lambda n: n, lambda n: {"a": n}, lambda n: [node("x"), n]],
    ids=["list", "triple", "dict", "second"],
)
def test_an_end_of_the_model_on_an_unknown_layer_is_refused_by_name(
    version: str, end: str, wrap: Callable[[Json], Json]
) -> None:
    call = DIALECTS[version][0]
    config = chain(version, [call([("x", 0)])], [call([("first", 0)])], [node("second")])
    config["config"][end] = wrap(node("elsewhere"))
    assert "elsewhere" in refused("bad-config", config, version)


@every_dialect
@pytest.mark.parametrize("index", [-1, 1, 7])
def test_a_reference_to_a_call_that_is_not_there_is_refused_by_name(version: str, index: int) -> None:
    call = DIALECTS[version][0]
    inside = chain(version, [call([("x", 0)])], [call([("first", index)])], [node("second")])
    assert "first" in refused("bad-config", inside, version)
    outside = chain(version, [call([("x", 0)])], [call([("first", 0)])], [node("second", index)])
    assert "second" in refused("bad-config", outside, version)


@every_dialect
def test_an_output_of_a_layer_that_is_never_called_is_refused_by_name(version: str) -> None:
    config = chain(version, [DIALECTS[version][0]([("x", 0)])], [], [node("second")])
    assert "second" in refused("bad-config", config, version)


@every_dialect
def test_an_input_layer_that_is_used_but_no_input_of_the_model_is_refused_by_name(version: str) -> None:
    call = DIALECTS[version][0]
    config = chain(version, [call([("x", 0)])], [call([("y", 0)])], [node("second")])
    config["config"]["layers"].insert(0, source("y", DIALECTS[version][2]))
    with pytest.raises(H5PortError, match="y"):
        parse(config, version)


def test_two_layers_of_one_name_are_refused_by_name() -> None:
    config = chain("2.2.4", [triples([("x", 0)])], [triples([("x", 0)])], [node("second")])
    config["config"]["layers"].append(copy.deepcopy(config["config"]["layers"][2]))
    assert "'second'" in refused("bad-config", config, "2.2.4")


@pytest.mark.parametrize("key", ["class_name", "config"])
@every_dialect
def test_a_layer_without_class_or_config_is_refused_with_its_place(version: str, key: str) -> None:
    call = DIALECTS[version][0]
    config = chain(version, [call([("x", 0)])], [call([("first", 0)])], [node("second")])
    del config["config"]["layers"][2][key]
    assert "config.layers[2]" in refused("bad-config", config, version)


@pytest.mark.parametrize("config", [{}, {"config": {}}, {"keras_version": "2.2.4"}, None, 3, "Sequential", [3], [None]])
@pytest.mark.parametrize("version", ["0.3.3", *DIALECTS])
def test_what_is_no_architecture_is_refused(config: Json, version: str) -> None:
    refused("bad-config", config, version)


@pytest.mark.parametrize("version", list(DIALECTS))
@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "MyModel", "config": {"name": "mine"}},
        {"class_name": "MyModel", "config": {}, "registered_name": "MyModel", "module": None},
        {"class_name": "somebody>MyModel", "config": {"layers": 3}},
    ],
)
def test_a_subclassed_model_is_refused_by_its_class(version: str, entry: Json) -> None:
    assert "MyModel" in refused("unknown-layer", entry, version)


@pytest.mark.parametrize("version", ["0.3.3", "1.2.2", "2.2.4", "3.15.1"])
def test_a_sequential_without_layers_is_refused(version: str) -> None:
    config = {"name": "Sequential", "layers": []} if version == "0.3.3" else sequential1()
    refused("unsupported-graph", config, version)


def test_a_function_among_the_arguments_is_refused() -> None:
    function = {"class_name": "__lambda__", "config": {"value": "4wEAAA=="}}
    layers = [source("x", "batch_shape"), layer("Map", "l", [{"args": [tensor("x"), function], "kwargs": {}}])]
    refused("lambda", functional(layers, node("x"), node("l")), "3.15.1")


# ---- whatever is broken, the answer is a model or a refusal


def parts(value: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all parts of a document but those of initialisers, which nobody reads."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if not str(key).endswith("_initializer"):
            yield from parts(item, (*at, key))


DELETED = "deleted"
REPLACEMENTS = (DELETED, None, 7, "x", [], {}, [7], [["x", 0, 0]], {"a": 1})


def changed(value: Json, at: tuple[Any, ...], replacement: Json) -> Json:
    """A copy with the part at `at` replaced, or deleted."""
    if not at:
        return None if replacement == DELETED else replacement
    result = dict(value) if isinstance(value, dict) else list(value)
    if len(at) == 1 and replacement == DELETED:
        del result[at[0]]
    else:
        result[at[0]] = changed(result[at[0]], at[1:], replacement)
    return result


def crash_of(archive: Archive, config: Json, writer: str | None = None) -> str | None:
    """How reading the config crashes, or breaks the promises of a Model; None for a model or a refusal."""
    try:
        who = find_writer(archive, config, writer=writer, source_backend="auto")
        model = parse_model(config, who)
        check_model(model)
        need_of(LayerConfig(class_name=model.class_name, name="", options={}, place="", id=-1, model=model), who)
    except H5PortError:
        return None
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {last.name} of {Path(last.filename).name}: {last.line}"
    return None


MARKED3 = {
    "class_name": "Sequential",
    "config": {"name": "s", "layers": [source("x", "batch_shape"), plain("Dense", "d", units=3)]},
}
MARKED3["config"]["layers"][1] |= {
    "module": "keras.layers",
    "registered_name": None,
    "shared_object_id": 5,
    "build_config": {"input_shape": [None, 4]},
}
MARKED3["config"]["layers"][1]["config"]["dtype"] = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
WRITTEN: dict[str, tuple[Json, str]] = {
    "keras0-sequential": (SEQUENTIAL0, "keras-0.3.3"),
    "keras0-graph": (GRAPH0, "keras-0.3.3"),
    "keras1-graph": (GRAPH1, "keras-1.0.8"),
    "keras1-merge": (MERGED1, "keras-1.2.2"),
    "keras1-nested": (NESTED_LIST1, "keras-1.2.2"),
    "keras2-nested": (nested("2.2.4", 1), "keras-2.2.4"),
    "keras2-wrapped": (WRAPPED2, "keras-2.2.4"),
    "keras2-cells": (CELLS2, "keras-2.2.4"),
    "keras3-nested": (nested("3.15.1", 0), "keras-3.15.1"),
    "keras3-marks": (MARKED3, "keras-3.15.1"),
}


@pytest.mark.parametrize("name", list(WRITTEN))
def test_no_single_change_of_a_small_config_crashes(name: str) -> None:
    config, writer = WRITTEN[name]
    archive = Archive(Path("model.json"), "architecture", config=config)
    assert crash_of(archive, config, writer) is None
    crashes: dict[str, str] = {}
    for at in parts(config):
        for replacement in REPLACEMENTS:
            crash = crash_of(archive, changed(config, at, replacement), writer)
            if crash:
                crashes.setdefault(crash, f"{at} -> {replacement!r}")
    assert not crashes, "\n".join(f"{crash}  <-  {change}" for crash, change in crashes.items())


MUTATED = (
    "keras-0.3.3-theano/graph_names_order",
    "keras-0.3.3-theano/seq_merge_dot",
    "keras-1.0.8-theano/graph_weights_json",
    "keras-1.2.2-theano/seq_merge_nested",
    "keras-2.2.4-tf1.12/lstm_encoder_decoder",
    "keras-2.2.4-tf1.12/rnn_stacked_return_state",
    "tf.keras-2.2-tf1.15/bi_enc_lstm_dec",
    "tf_keras-2.21/dict_inputs_zip",
    "keras-3.6.0-torch/mask_notequal_op",
    "keras-3.15.1-torch/nested_multi_output",
)


@settings(LAW, max_examples=120)
@given(data=st.data())
def test_no_change_of_a_genuine_config_crashes(data: st.DataObject) -> None:
    archive, config = opened(genuine(data.draw(st.sampled_from(MUTATED))))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.sampled_from(list(parts(config))))
        config = changed(config, at, data.draw(st.sampled_from(REPLACEMENTS)))
    assert crash_of(archive, config) is None


# ---- the graph's own words


def test_references_are_found_at_any_depth_in_their_order() -> None:
    a, b, c, d = (Ref(n, 0, 0) for n in "abcd")
    assert refs([a, {"k": [b, 3, "x"], "l": (SliceValue(c, None, 2), Constant([1]))}, d, None, ...]) == [a, b, c, d]


def test_every_declared_layer_is_known_under_its_newest_name() -> None:
    """A declaration under an old name would never be found, since classes are renamed before."""
    assert not [name for name in LAYERS if upgrade.class_name(name) != name]


def test_operations_of_a_keras_3_h5_are_told_by_their_config() -> None:
    """It names no modules; all layers have `trainable`, no operation has."""
    one, two = ({"class_name": "Add", "config": {"name": n}, "name": n} for n in ("op", "merge"))
    two["config"] = {"name": "merge", "trainable": True}
    one["inbound_nodes"] = [args_and_kwargs([("x", 0)])]
    two["inbound_nodes"] = [args_and_kwargs([("op", 0)])]
    model = parse(functional([source("x", "batch_shape"), one, two], node("x"), node("merge")), "3.15.1")
    assert [model.layers[n].is_operation for n in ("x", "op", "merge")] == [False, True, False]


def test_without_modules_an_operation_is_what_has_no_trainable() -> None:
    def bare(class_name: str, name: str, of: str, **config: Json) -> Json:
        return {**layer(class_name, name, [args_and_kwargs([(of, 0)])]), "config": {"name": name, **config}}

    zeros = bare("ZerosLike", "zeros", "x", dtype=None)
    exp = bare("Exp", "exp", "zeros")
    dense = bare("Dense", "d", "exp", trainable=True, dtype="float32", units=2)
    layers = [source("x", "batch_shape"), zeros, exp, dense]
    model = parse(functional(layers, node("x"), node("d")), "3.15.1")
    assert [n for n, of in model.layers.items() if of.is_operation] == ["zeros", "exp"]


@LAW
@given(graphs(), st.sampled_from(list(DIALECTS)))
def test_layers_that_are_listed_before_what_they_need_are_noticed(graph: Graph, version: str) -> None:
    called = list(dict.fromkeys(c.layer for c in parse(written(graph, version), version).calls))
    order = [*graph.inputs, *called]
    in_order = Graph({n: graph.layers[n] for n in order}, graph.outputs)
    assert parse(written(in_order, version), version).is_in_order
    turned = Graph({n: graph.layers[n] for n in reversed(order)}, graph.outputs)
    assert not parse(written(turned, version), version).is_in_order
