"""Every array finds its variable, by the orders and paths in which Keras stores them; what does not fit is refused."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest import Case, genuine_cases
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from h5port.archive import Archive, StoredArray, open_archive, read_config_file
from h5port.errors import H5PortError
from h5port.layers.base import need_of
from h5port.layers.catalogue import LAYERS
from h5port.schema.bind import bind, snake_case
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Binding, Label, Need, Variable, has_variables
from h5port.schema.parse import parse_model
from h5port.schema.writer import find_writer

LAW = settings(max_examples=40, deadline=None)
Item = tuple[Label, str]
Places = dict[Item, str]  # which array is whose


def variables(trained: str, fixed: str = "") -> tuple[Variable, ...]:
    return tuple(Variable(n) for n in trained.split()) + tuple(Variable(n, trainable=False) for n in fixed.split())


LEAVES = {
    "Dense": variables("kernel bias"),
    "Embedding": variables("embeddings"),
    "BatchNormalization": variables("gamma beta", "moving_mean moving_variance"),
    "PReLU": variables("alpha"),
    "Dropout": (),
}
GATES = variables("kernel recurrent_kernel bias")
# FORMATS 4.1, spelled out
SNAKE = {
    "Dense": "dense",
    "Embedding": "embedding",
    "BatchNormalization": "batch_normalization",
    "PReLU": "p_re_lu",
    "Dropout": "dropout",
    "SimpleRNN": "simple_rnn",
    "LSTM": "lstm",
    "Conv2D": "conv2d",
    "GRUCell": "gru_cell",
    "Bidirectional": "bidirectional",
    "TimeDistributed": "time_distributed",
    "InputLayer": "input_layer",
    "Sequential": "sequential",
    "Functional": "functional",
}
each_layout = pytest.mark.parametrize("layout", ["named", "numbered", "paths"])


# ---- trees of layers as a config shows them


class Trees:
    """Draws random trees. What is below a frozen layer is frozen, as Keras does it. `sharing`: a layer may stand in
    several models. Names are Keras' own, counted anew in each model, so that they repeat from model to model."""

    def __init__(self, draw: st.DrawFn, *, sharing: bool) -> None:
        self.draw, self.sharing = draw, sharing
        self.ids = itertools.count()
        self.made: list[Need] = []

    def model(self, depth: int, trainable: bool, name: str = "") -> Need:
        children: list[Need] = []
        for _ in range(self.draw(st.integers(1, 4))):
            old = [n for n in self.made if n.id not in {c.id for c in children}]
            again = self.sharing and old and self.draw(st.integers(0, 4)) == 0
            child = self.draw(st.sampled_from(old)) if again else self.layer(depth - 1, trainable)
            number = sum(c.class_name == child.class_name for c in children)
            label = SNAKE[child.class_name] + (f"_{number}" if number else "")
            children.append(msgspec.structs.replace(child, name=label))
        class_name = self.draw(st.sampled_from(["Sequential", "Functional"]))
        return self.need(class_name, trainable, *children, name=name, kind="model")

    def layer(self, depth: int, trainable: bool) -> Need:
        trainable = trainable and self.draw(st.integers(0, 3)) > 0
        shapes = ["leaf", "leaf", "recurrent", "both ways", "wrapper", "model"]
        shape = self.draw(st.sampled_from(shapes)) if depth > 0 else "leaf"
        if shape == "recurrent":
            made = self.recurrent(trainable)
        elif shape == "both ways":
            halves = [
                self.part(self.recurrent(trainable and self.draw(st.booleans())), name, f"{name}_layer")
                for name in ("forward", "backward")
            ]
            made = self.need("Bidirectional", trainable, *halves)
        elif shape == "wrapper":
            made = self.need(
                "TimeDistributed", trainable, self.part(self.layer(depth - 1, trainable), "layer", "layer")
            )
        elif shape == "model":
            made = self.model(depth, trainable)
        else:
            class_name = self.draw(st.sampled_from(list(LEAVES)))
            made = self.need(class_name, trainable, variables=LEAVES[class_name])
        self.made.append(made)
        return made

    def recurrent(self, trainable: bool) -> Need:
        cell = self.need("GRUCell", trainable, variables=GATES)
        return self.need("LSTM", trainable, self.part(cell, "cell", "cell"))

    def part(self, need: Need, name: str, attribute: str) -> Need:
        return msgspec.structs.replace(need, name=name, attribute=attribute)

    def need(self, class_name: str, trainable: bool, *children: Need, name: str = "", **more: Any) -> Need:
        own = next(self.ids)
        return Need(name=name, class_name=class_name, id=own, trainable=trainable, children=children, **more)


@st.composite
def trees(draw: st.DrawFn, sharing: bool = False) -> Need:
    return Trees(draw, sharing=sharing).model(3, True, "root")


# ---- how Keras stores them: the reference


def weights(need: Need, above: Label = (), trains: bool = True) -> Iterator[tuple[Item, bool]]:
    """All variables, layer by layer, and whether they are trained."""
    label, trains = (*above, need.name), trains and need.trainable
    for variable in need.variables:
        yield (label, variable.name), trains and variable.trainable
    for child in need.children:
        yield from weights(child, label, trains)


def legacy_order(*needs: Need) -> list[Item]:
    """FORMATS 3.5: `trainable_weights + non_trainable_weights`."""
    found = [w for n in needs for w in weights(n)]
    return [item for item, trains in found if trains] + [item for item, trains in found if not trains]


def path_places(root: Need, *, doubled: bool = False, private: bool = False) -> Places:
    """FORMATS 4: attributes and containers, classes counted, what was visited skipped."""
    container = "_layer_checkpoint_dependencies" if doubled else "layers"
    found: Places = {}
    visited: dict[int, Label] = {}

    def visit(need: Need, label: Label, path: str) -> None:
        if need.id in visited:
            first = visited[need.id]
            same = {(at[len(first) :], v): p for (at, v), p in found.items() if at[: len(first)] == first}
            found.update({((*label, *rest), v): p for (rest, v), p in same.items()})
            return
        visited[need.id] = label
        found.update({(label, v.name): f"{path}vars/{i}" for i, v in enumerate(need.variables)})
        count: Counter[str] = Counter()
        for child in need.children:
            place = f"_{child.attribute}" if private else child.attribute
            if need.kind == "model":
                word = SNAKE[child.class_name]
                place = f"{container}/{word}" + (f"_{count[word]}" if count[word] else "")
                count[word] += 2 if doubled and any(True for _ in weights(child)) else 1
            visit(child, (*label, child.name), f"{path}{place}/")

    visit(root, (), "")
    return found


def content(path: str) -> np.ndarray[Any, Any]:
    """Numbers of their own for every path."""
    return np.frombuffer(path.encode(), np.uint8)


def archive_of(
    layout: Any, paths: list[str], attributes: dict[str, dict[str, Any]] | None = None, **more: Any
) -> Archive:
    arrays = {p: StoredArray(path=p, shape=(2,), dtype="float32") for p in paths}
    return Archive(
        Path("m.h5"), "h5", **{"arrays": arrays, "read": content, **more}, layout=layout, attributes=attributes
    )


def with_changes(archive: Archive, **changes: Any) -> Archive:
    old = {
        "layout": archive.layout,
        "arrays": archive.arrays,
        "attributes": archive.attributes,
        "read": archive.read,
        "ignored": archive.ignored,
    }
    return Archive(archive.source, archive.container, **{**old, **changes})


Naming = Callable[[int, Label, str], str]

# How writers name the weights of a group, given the place in the group (FORMATS 3.3).
NAMINGS: dict[str, Naming] = {
    "numbers": lambda i, label, variable: f"param_{i}",
    "owner": lambda i, label, variable: f"{label[-1]}/{variable}:0",
    "underscore": lambda i, label, variable: f"{label[-1]}_{variable}",
    "path": lambda i, label, variable: "/".join((*label, variable)),
}


def named_group(items: list[Item], naming: Naming) -> list[str]:
    """Names of their own for the weights of a group: TensorFlow counts on behind the variable."""
    names: list[str] = []
    for i, (label, variable) in enumerate(items):
        name, _, end = naming(i, label, variable).partition(":")
        tries = (name + (f"_{n}" if n else "") + (f":{end}" if end else "") for n in itertools.count())
        names.append(next(t for t in tries if t not in names))
    return names


def named(
    root: Need,
    naming: Naming = NAMINGS["path"],
    *,
    order: Callable[[Need], list[Item]] = legacy_order,
    prefix: str = "",
) -> tuple[Archive, Places]:
    attributes: dict[str, dict[str, Any]] = {"": {"layer_names": [prefix + n.name for n in root.children]}}
    places: Places = {}
    for need in root.children:
        items = order(need)
        names = named_group(items, naming)
        attributes[prefix + need.name] = {"weight_names": names}
        places.update({item: f"{prefix}{need.name}/{name}" for item, name in zip(items, names, strict=True)})
    return archive_of("named", list(places.values()), attributes), places


def numbered(root: Need) -> tuple[Archive, Places]:
    attributes: dict[str, dict[str, Any]] = {"": {"nb_layers": len(root.children)}}
    places: Places = {}
    for k, need in enumerate(root.children):
        items = legacy_order(need)
        attributes[f"layer_{k}"] = {"nb_params": len(items)}
        places.update({item: f"layer_{k}/param_{i}" for i, item in enumerate(items)})
    return archive_of("numbered", list(places.values()), attributes), places


def in_paths(root: Need, **options: bool) -> tuple[Archive, Places]:
    places = path_places(root, **options)
    return archive_of("paths", list(dict.fromkeys(places.values()))), places


STORES: dict[str, Callable[[Need], tuple[Archive, Places]]] = {
    "named": named,
    "numbered": numbered,
    "paths": in_paths,
}


def found_by(binding: Binding) -> Places:
    return {item: array.path for item, array in binding.arrays.items()}


def refusal_of(archive: Archive, root: Need) -> H5PortError:
    with pytest.raises(H5PortError) as error:
        bind(archive, root)
    return error.value


# ---- laws of the legacy orders


@pytest.mark.parametrize("naming", list(NAMINGS))
@LAW
@given(root=trees())
def test_arrays_in_the_order_of_keras_find_their_variables_whatever_their_names(naming: str, root: Need) -> None:
    archive, places = named(root, NAMINGS[naming])
    binding = bind(archive, root)
    assert found_by(binding) == places
    assert not binding.dropped


@LAW
@given(root=trees(), data=st.data())
def test_the_order_of_the_file_itself_never_matters(root: Need, data: st.DataObject) -> None:
    for store in STORES.values():
        archive, places = store(root)
        arrays = dict(data.draw(st.permutations(list(archive.arrays.items()))))
        attributes = dict(data.draw(st.permutations(list(archive.attributes.items()))))
        assert found_by(bind(with_changes(archive, arrays=arrays, attributes=attributes), root)) == places


@LAW
@given(root=trees())
def test_numbered_arrays_find_their_variables(root: Need) -> None:
    archive, places = numbered(root)
    assert found_by(bind(archive, root)) == places


@LAW
@given(root=trees())
def test_a_graph_of_keras_0_has_one_group_for_all_its_layers(root: Need) -> None:
    items = [(label[1:], v) for label, v in legacy_order(root)]
    places = {item: f"graph/param_{i}" for i, item in enumerate(items)}
    attributes = {"": {}, "graph": {"nb_params": len(items)}}
    assert found_by(bind(archive_of("numbered", list(places.values()), attributes), root)) == places


def frozen_in_secret(draw: st.DrawFn, need: Need) -> Need:
    """The same layers, some of them frozen without a word in the config."""
    children = tuple(frozen_in_secret(draw, c) for c in need.children)
    return msgspec.structs.replace(need, children=children, trainable=need.trainable and draw(st.booleans()))


@LAW
@given(root=trees(), data=st.data())
def test_arrays_that_say_whose_they_are_are_never_given_to_another(root: Need, data: st.DataObject) -> None:
    """Some Kerases freeze layers without writing it down, so the order is another than the config tells."""
    archive, places = named(root, order=lambda need: legacy_order(frozen_in_secret(data.draw, need)))
    try:
        binding = bind(archive, root)
    except H5PortError:
        return
    assert found_by(binding) == places


@LAW
@given(root=trees())
def test_a_file_of_other_layer_names_is_matched_in_order_and_says_so(root: Need) -> None:
    archive, places = named(root, NAMINGS["owner"], prefix="other_")
    assume(places)
    binding = bind(archive, root)
    assert found_by(binding) == places
    assert any("order" in note for note in binding.notes)


# ---- examples of the legacy orders (FORMATS 3.5)


IDS = itertools.count(1000)


def leaf(class_name: str, name: str, trainable: bool = True) -> Need:
    return Need(name=name, class_name=class_name, id=next(IDS), trainable=trainable, variables=LEAVES[class_name])


def model(name: str, *children: Need, class_name: str = "Functional") -> Need:
    return Need(name=name, class_name=class_name, id=next(IDS), kind="model", children=children)


def listed(group: str, text: str, separator: str = "/") -> tuple[Archive, list[Item]]:
    """A group whose weights are given as "layer: variable ...; layer: variable ..." and the items that these are."""
    items = [
        ((group, *owner.strip().split(".")), v)
        for owner, _, vs in (part.partition(":") for part in text.split(";"))
        for v in vs.split()
    ]
    names = [f"{label[-1]}{separator}{v}" for label, v in items]
    attributes = {"": {"layer_names": [group]}, group: {"weight_names": names}}
    return archive_of("named", [f"{group}/{n}" for n in names], attributes), items


def test_layers_of_one_name_in_two_nested_models_are_told_apart() -> None:
    """The first model is frozen without a word, so the arrays of the second come first."""
    root = model("root", model("in", model("a", leaf("Dense", "dense")), model("b", leaf("Dense", "dense"))))
    names = [f"in/{owner}/dense/{v}" for owner in "ba" for v in ("kernel", "bias")]
    attributes = {"": {"layer_names": ["in"]}, "in": {"weight_names": names}}
    binding = bind(archive_of("named", [f"in/{n}" for n in names], attributes), root)
    for owner in "ab":
        for variable, array in binding.of(("in", owner, "dense")).items():
            assert array.path == f"in/in/{owner}/dense/{variable}"


@pytest.mark.parametrize("separator", ["/", "_"])
@pytest.mark.parametrize(
    ("nested", "order"),
    [
        (
            [leaf("BatchNormalization", "n1", False), leaf("Dense", "d2"), leaf("BatchNormalization", "n2")],
            "d2: kernel bias; n2: gamma beta; n1: gamma beta moving_mean moving_variance; "
            "n2: moving_mean moving_variance",
        ),
        (
            [leaf("Dense", "d1", False), leaf("BatchNormalization", "n1", False), leaf("Dense", "d2", False)],
            "d1: kernel bias; n1: gamma beta moving_mean moving_variance; d2: kernel bias",
        ),
        (  # a frozen model that its config does not show to be frozen: it moves as a block behind what is trained
            [
                leaf("Dense", "d1"),
                model("mid", leaf("BatchNormalization", "mn"), leaf("Dense", "md")),
                leaf("Dense", "d2"),
            ],
            "d1: kernel bias; d2: kernel bias; "
            "mid.mn: gamma beta; mid.md: kernel bias; mid.mn: moving_mean moving_variance",
        ),
        (  # as Keras 1 lists it: the frozen model first
            [model("mid", leaf("BatchNormalization", "mn"), leaf("Dense", "md")), leaf("Dense", "d1")],
            "d1: kernel bias; mid.mn: gamma beta; mid.md: kernel bias; mid.mn: moving_mean moving_variance",
        ),
    ],
    ids=["frozen-inside", "all-frozen", "hidden-frozen-between", "hidden-frozen-first"],
)
def test_frozen_layers_of_a_nested_model_stand_where_keras_puts_them(
    nested: list[Need], order: str, separator: str
) -> None:
    archive, items = listed("in", order, separator)
    binding = bind(archive, model("root", model("in", *nested)))
    assert list(found_by(binding).items()) == list(zip(items, archive.arrays, strict=True))


def test_a_frozen_half_of_a_bidirectional_is_told_by_the_names() -> None:
    """tf_keras writes trainable: true and lists the frozen forward half behind."""
    halves = [
        Need(
            name=half,
            class_name="LSTM",
            id=k,
            attribute=f"{half}_layer",
            children=(Need(name="cell", class_name="LSTMCell", id=9 + k, attribute="cell", variables=GATES),),
        )
        for k, half in enumerate(("forward", "backward"))
    ]
    root = model("root", Need(name="bi", class_name="Bidirectional", id=5, children=tuple(halves)))
    names = [f"bi/{half}_lstm/lstm_cell/{v.name}:0" for half in ("backward", "forward") for v in GATES]
    attributes = {"": {"layer_names": ["bi"]}, "bi": {"weight_names": names}}
    binding = bind(archive_of("named", [f"bi/{n}" for n in names], attributes), root)
    for half in ("forward", "backward"):
        assert binding.of(("bi", half, "cell")).keys() == {v.name for v in GATES}
        assert all(f"/{half}_lstm/" in a.path for a in binding.of(("bi", half, "cell")).values())


@pytest.mark.parametrize("name", ["a/d", "a\\d"])
def test_names_of_windows_mean_the_same(name: str) -> None:
    attributes = {"": {"layer_names": ["a\\d"]}, "a/d": {"weight_names": ["a\\d\\kernel:0", "a\\d\\bias:0"]}}
    archive = archive_of("named", ["a/d/a/d/kernel:0", "a/d/a/d/bias:0"], attributes)
    binding = bind(archive, model("root", leaf("Dense", name)))
    assert list(found_by(binding).values()) == list(archive.arrays)


# ---- laws of the path stores


@LAW
@given(root=trees(sharing=True), doubled=st.booleans(), private=st.booleans())
def test_arrays_lie_where_their_classes_and_attributes_say(root: Need, doubled: bool, private: bool) -> None:
    archive, places = in_paths(root, doubled=doubled, private=private)
    assume(places)
    binding = bind(archive, root)
    assert found_by(binding) == places
    assert not binding.dropped


def dense_row(*names: str) -> Need:
    return model("root", *(leaf("Dense", n) for n in names))


def test_names_of_layers_mean_nothing_in_a_path_store() -> None:
    root = dense_row("dense_1", "z", "dense")
    places = {
        (label, v): f"layers/{place}/vars/{i}"
        for label, place in ((("dense_1",), "dense"), (("z",), "dense_1"), (("dense",), "dense_2"))
        for i, v in enumerate(("kernel", "bias"))
    }
    assert found_by(bind(archive_of("paths", list(places.values())), root)) == places


def test_keras_2_12_counts_layers_with_weights_twice() -> None:
    """Seen in genuine files: `dense, dense_2, dense_4`. A layer without weights counts once."""
    row = [
        model(name, leaf(c, "x"), class_name="Sequential")
        for name, c in zip("pqr", ("Dropout", "PReLU", "PReLU"), strict=True)
    ]
    root = model("root", leaf("Dense", "a"), leaf("Dense", "b"), *row, leaf("Dense", "c"), class_name="Sequential")
    top = "_layer_checkpoint_dependencies"
    lies = {
        "a": "dense",
        "b": "dense_2",
        "c": "dense_4",
        "q": f"sequential_1/{top}/p_re_lu",
        "r": f"sequential_3/{top}/p_re_lu",
    }
    stored = [f"{top}/{place}/vars/{i}" for n, place in lies.items() for i in range(1 if n in "qr" else 2)]
    binding = bind(archive_of("paths", stored), root)
    assert {label[0]: a.path.rsplit("/vars", 1)[0] for (label, _), a in binding.arrays.items()} == {
        name: f"{top}/{place}" for name, place in lies.items()
    }


def test_numbers_are_ordered_as_numbers() -> None:
    many = Need(name="m", class_name="Dense", id=1, variables=tuple(Variable(f"v{i}") for i in range(13)))
    row = [leaf("Dense", f"d{i}") for i in range(12)]
    root = model("root", many, *row)
    places = path_places(root)
    assert places[(("m",), "v10")] == "layers/dense/vars/10"
    assert places[(("d9",), "bias")] == "layers/dense_10/vars/1"
    # HDF5 lists them as text: 0, 1, 10, 11, 12, 2
    assert found_by(bind(archive_of("paths", sorted(places.values())), root)) == places


def test_operations_and_the_input_of_a_sequential_take_no_place() -> None:
    inputs = Need(name="i", class_name="InputLayer", id=1)
    add = Need(name="add", class_name="Dense", id=2, kind="operation")
    stored = ["layers/dense/vars/0", "layers/dense/vars/1"]
    for class_name in ("Sequential", "Functional"):
        root = model("root", inputs, add, leaf("Dense", "d"), class_name=class_name)
        assert list(found_by(bind(archive_of("paths", stored), root)).values()) == stored


@pytest.mark.parametrize("word", ["functional", "model"])
def test_a_nested_functional_model_lies_under_either_of_its_class_names(word: str) -> None:
    root = model("root", model("a", leaf("Dense", "d")), model("b", leaf("Dense", "d")))
    stored = [f"layers/{w}/layers/dense/vars/{i}" for w in (word, f"{word}_1") for i in range(2)]
    assert list(found_by(bind(archive_of("paths", stored), root)).values()) == stored


def test_a_shared_layer_is_stored_once_and_the_sharing_is_noted() -> None:
    shared = leaf("Dense", "d")
    inner = Need(name="layer", class_name="Dense", id=shared.id, attribute="layer", variables=shared.variables)
    wrapper = Need(name="td", class_name="TimeDistributed", id=1, children=(inner,))
    stored = ["layers/dense/vars/0", "layers/dense/vars/1"]
    binding = bind(archive_of("paths", stored), model("root", shared, wrapper))
    assert {v: a.path for v, a in binding.of(("td", "layer")).items()} == dict(
        zip(("kernel", "bias"), stored, strict=True)
    )
    assert binding.of(("d",)) == binding.of(("td", "layer"))
    assert any("td/layer" in note and "d" in note for note in binding.notes)


@pytest.mark.parametrize(("class_name", "word"), SNAKE.items())
def test_classes_have_the_names_of_the_path_stores(class_name: str, word: str) -> None:
    assert snake_case(class_name) == word


def test_variables_under_their_names_are_found_by_them() -> None:
    root = model("root", leaf("Dense", "d"))
    binding = bind(archive_of("paths", ["layers/dense/vars/bias", "layers/dense/vars/kernel"]), root)
    assert {v: a.path[-4:] for v, a in binding.of(("d",)).items()} == {"kernel": "rnel", "bias": "bias"}


@pytest.mark.parametrize("stored", [True, False])
def test_the_variables_of_an_optional_layer_may_be_absent(stored: bool) -> None:
    activation = Need(
        name="activation", attribute="activation", class_name="PReLU", id=1, optional=True, variables=LEAVES["PReLU"]
    )
    dense = Need(name="d", class_name="Dense", id=2, variables=LEAVES["Dense"], children=(activation,))
    paths = [f"layers/dense/vars/{i}" for i in range(2)] + ["layers/dense/activation/vars/0"] * stored
    assert list(found_by(bind(archive_of("paths", paths), model("root", dense))).values()) == paths


# ---- refusals


def touched(places: Places, paths: set[str]) -> set[str]:
    """The layers of the model to which the arrays belong."""
    return {label[0] for (label, _), path in places.items() if path in paths}


@each_layout
@LAW
@given(root=trees(), data=st.data())
def test_a_file_that_lacks_arrays_is_refused_and_every_layer_concerned_is_named(
    layout: str, root: Need, data: st.DataObject
) -> None:
    archive, places = STORES[layout](root)
    assume(places)
    lost = data.draw(st.sets(st.sampled_from(sorted(archive.arrays)), min_size=1, max_size=3))
    rest = {p: a for p, a in archive.arrays.items() if p not in lost}
    error = refusal_of(with_changes(archive, arrays=rest), root)
    assert error.code in ("incomplete-file", "missing-weights", "ambiguous-weights")
    for name in touched(places, lost):
        assert name in str(error)


@pytest.mark.parametrize(
    ("layout", "code"), [("named", "incomplete-file"), ("numbered", "missing-weights"), ("paths", "missing-weights")]
)
def test_two_layers_without_arrays_are_both_named(layout: str, code: str) -> None:
    root = dense_row("first", "second", "third")
    archive, places = STORES[layout](root)
    kept = {path: archive.arrays[path] for (label, _), path in places.items() if label == ("third",)}
    error = refusal_of(with_changes(archive, arrays=kept), root)
    assert {p.code for p in error.problems} == {code}
    assert "first" in str(error)
    assert "second" in str(error)


STRAYS = {
    "named": ["third/kernel", "first/first/other", "first/other/vars/0"],
    "numbered": ["layer_0/param_2", "layer_7/param_0", "other"],
    "paths": [
        "layers/dense/vars/2",
        "layers/dense_7/vars/0",
        "layers/dense/cell/vars/0",
        "vars/0",
        "layers/x_tracker/vars/0",
    ],
}


@pytest.mark.parametrize(("layout", "stray"), [(layout, p) for layout, paths in STRAYS.items() for p in paths])
def test_an_array_that_belongs_to_nothing_is_refused_by_name(layout: str, stray: str) -> None:
    archive, _ = STORES[layout](dense_row("first", "second"))
    more = archive.arrays | {stray: StoredArray(path=stray, shape=(2,), dtype="float32")}
    error = refusal_of(with_changes(archive, arrays=more), dense_row("first", "second"))
    assert error.code in ("unused-weights", "ambiguous-weights")
    assert stray in str(error)


SHAPED = tuple(Variable(n, s) for n, s in (("kernel", (None, 3)), ("bias", (3,))))


def shaped_row(*names: str) -> Need:
    return model("root", *(Need(name=n, class_name="Dense", id=k, variables=SHAPED) for k, n in enumerate(names)))


def with_shapes(archive: Archive, places: Places, odd: dict[Item, tuple[int, ...]]) -> Archive:
    shapes = {item: odd.get(item, (4, 3) if item[1] == "kernel" else (3,)) for item in places}
    arrays = {p: StoredArray(path=p, shape=shapes[item], dtype="float32") for item, p in places.items()}
    return with_changes(archive, arrays=arrays)


@each_layout
@pytest.mark.parametrize("shape", [(4, 5), (3,), (4, 3, 1), ()])
def test_arrays_of_a_wrong_shape_are_refused_each_with_its_layer_and_nothing_else(
    layout: str, shape: tuple[int, ...]
) -> None:
    root = shaped_row("first", "second", "third")
    archive, places = STORES[layout](root)
    assert found_by(bind(with_shapes(archive, places, {}), root)) == places
    odd = {((name,), "kernel"): shape for name in ("first", "third")}
    error = refusal_of(with_shapes(archive, places, odd), root)
    assert {p.code for p in error.problems} == {"shape-mismatch"}
    assert [p.layer for p in error.problems] == ["first", "third"]
    assert all(str(list(shape)) in str(p) for p in error.problems)


def test_a_group_that_is_listed_but_absent_is_an_incomplete_file() -> None:
    archive, _ = named(dense_row("first", "second"))
    attributes = {k: v for k, v in archive.attributes.items() if k != "second"}
    arrays = {p: a for p, a in archive.arrays.items() if p.startswith("first/")}
    error = refusal_of(with_changes(archive, arrays=arrays, attributes=attributes), dense_row("first", "second"))
    assert error.code == "incomplete-file"
    assert "'second'" in str(error)


def test_a_weight_listed_twice_is_an_incomplete_file() -> None:
    root = model("root", model("in", leaf("Dense", "a"), leaf("Dense", "b")))
    attributes = {"": {"layer_names": ["in"]}, "in": {"weight_names": ["kernel", "bias", "kernel", "bias"]}}
    error = refusal_of(archive_of("named", ["in/kernel", "in/bias"], attributes), root)
    assert error.code == "incomplete-file"
    assert "'in'" in str(error)


def test_a_numbered_group_that_is_absent_is_refused_by_name() -> None:
    archive, _ = numbered(dense_row("first", "second"))
    attributes = {k: v for k, v in archive.attributes.items() if k != "layer_1"}
    arrays = {p: a for p, a in archive.arrays.items() if p.startswith("layer_0/")}
    error = refusal_of(with_changes(archive, arrays=arrays, attributes=attributes), dense_row("first", "second"))
    assert error.code in ("incomplete-file", "missing-weights")
    assert "second" in str(error)


def test_a_gap_in_the_numbers_is_no_order() -> None:
    """`vars/1` is not there, so nobody knows that `vars/2` is the bias."""
    error = refusal_of(archive_of("paths", ["layers/dense/vars/0", "layers/dense/vars/2"]), dense_row("first"))
    assert error.code in CODES_OF_WEIGHTS


CODES_OF_WEIGHTS = ("incomplete-file", "missing-weights", "unused-weights", "ambiguous-weights")


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["first", "b", "c"]])
def test_layers_that_cannot_be_paired_are_refused_with_both_lists(names: list[str]) -> None:
    archive, _ = named(dense_row(*names))
    error = refusal_of(archive, dense_row("first", "second"))
    assert error.code == "ambiguous-weights"
    assert all(repr(n) in str(error) for n in ("first", "second", *names))


def test_the_count_of_layers_of_keras_0_must_agree() -> None:
    archive, _ = numbered(dense_row("a", "b", "c"))
    assert refusal_of(archive, dense_row("first", "second")).code == "ambiguous-weights"


def test_a_layer_of_the_config_without_a_group_is_missing() -> None:
    archive, _ = named(dense_row("first", "third"))
    error = refusal_of(archive, dense_row("first", "second", "third"))
    assert error.code == "missing-weights"
    assert "second" in str(error)


def test_weights_of_the_model_itself_are_refused_by_name() -> None:
    root = dense_row("first")
    archive, places = named(root)
    assert found_by(bind(with_top_level(archive, []), root)) == places
    error = refusal_of(with_top_level(archive, ["my_scale:0"]), root)
    assert error.code == "unsupported-graph"
    assert "my_scale" in str(error)


def with_top_level(archive: Archive, names: list[str]) -> Archive:
    group = "top_level_model_weights"
    arrays = {p: StoredArray(path=p, shape=(), dtype="float32") for p in (f"{group}/{n}" for n in names)}
    attributes = archive.attributes | {group: {"weight_names": names}}
    return with_changes(archive, arrays=archive.arrays | arrays, attributes=attributes)


def test_an_architecture_alone_has_no_weights() -> None:
    assert refusal_of(archive_of("none", []), dense_row("first")).code == "no-weights"


def test_one_error_names_the_problems_of_all_layers_of_every_kind() -> None:
    root = shaped_row("odd", "absent", "right")
    archive, places = in_paths(root)
    archive = with_shapes(archive, places, {(("odd",), "bias"): (7,)})
    arrays = {
        p: a for p, a in archive.arrays.items() if p not in {places[(("absent",), v)] for v in ("kernel", "bias")}
    }
    stray = StoredArray(path="layers/other/vars/0", shape=(), dtype="float32")
    text = str(refusal_of(with_changes(archive, arrays=arrays | {stray.path: stray}), root))
    assert all(word in text for word in ("odd", "[7]", "absent", "layers/other/vars/0"))
    assert "right" not in text


@pytest.mark.parametrize(
    ("layout", "group", "attribute", "value"),
    [
        ("named", "", "layer_names", [3, 4]),
        ("named", "first", "weight_names", [3, 4]),
        ("numbered", "", "nb_layers", "two"),
        ("numbered", "", "nb_layers", None),
        ("numbered", "", "nb_layers", [2]),
        ("numbered", "layer_0", "nb_params", "two"),
        ("numbered", "layer_0", "nb_params", [2]),
        ("numbered", "layer_0", "nb_params", -1),
    ],
)
def test_attributes_of_a_strange_kind_are_refused(layout: str, group: str, attribute: str, value: Any) -> None:
    root = dense_row("first", "second")
    archive, _ = STORES[layout](root)
    attributes = {**archive.attributes, group: {attribute: value}}
    refusal_of(with_changes(archive, attributes=attributes), root)


@pytest.mark.parametrize("name", ["²", "٣", "-1", "0x0", "", "1e3"])
def test_strange_numbers_in_a_path_are_refused(name: str) -> None:
    paths = ["layers/dense/vars/0", f"layers/dense/vars/{name}"]
    assert refusal_of(archive_of("paths", paths), dense_row("first")).code in CODES_OF_WEIGHTS


# ---- arrays that are no weights, and second copies


@pytest.mark.parametrize(
    "name", ["StateVar:0", "random_flip/StateVar", "seed_generator_state", "d/seed_generator_state_1:0"]
)
@pytest.mark.parametrize("prefix", ["", "renamed_"])
def test_states_of_random_generators_are_dropped_with_a_reason(name: str, prefix: str) -> None:
    root = model("root", leaf("Dropout", "random"), leaf("Dense", "d"))
    archive, places = named(root, prefix=prefix)
    path, group = f"{prefix}random/{name}", f"{prefix}random"
    arrays = {path: StoredArray(path=path, shape=(3,), dtype="int64"), **archive.arrays}
    attributes = {**archive.attributes, group: {"weight_names": [name]}}
    binding = bind(with_changes(archive, arrays=arrays, attributes=attributes), root)
    assert found_by(binding) == places
    assert binding.dropped.keys() == {path}
    assert "random" in binding.dropped[path]


@pytest.mark.parametrize(
    "path", ["optimizer/vars/0", "optimizer/vars/10", "metrics/mean/vars/0", "_loss_tracker/vars/1"]
)
def test_what_training_keeps_beside_the_weights_is_dropped_with_a_reason(path: str) -> None:
    root = dense_row("first")
    archive, places = in_paths(root)
    arrays = archive.arrays | {path: StoredArray(path=path, shape=(), dtype="float32")}
    binding = bind(with_changes(archive, arrays=arrays), root)
    assert found_by(binding) == places
    assert binding.dropped.keys() == {path}
    assert binding.dropped[path]


@each_layout
def test_groups_that_the_archive_ignored_are_named_as_dropped(layout: str) -> None:
    root = dense_row("first")
    archive, _ = STORES[layout](root)
    assert bind(with_changes(archive, ignored=("optimizer_weights",)), root).dropped.keys() == {"optimizer_weights"}


NAN = np.array([0x7FC00001, 0x7FC00002], np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), True),
        (NAN, NAN, True),
        (NAN, NAN[::-1], False),
        (np.float32([0, 1]), np.float32([-0.0, 1]), False),
        (np.float32([1, 2]), np.float32([1, 3]), False),
        (np.float32([1, 2]), np.float32([1, 2]).view(np.int32), False),
        (np.float32([1, 2]), np.float32([[1], [2]]), False),
    ],
    ids=["equal", "nan", "other-nan", "minus-zero", "differing", "other-type", "other-shape"],
)
def test_a_second_copy_must_be_the_same_bits(first: np.ndarray, second: np.ndarray, same: bool) -> None:
    """Two places in the file for one label: only an exact copy may be dropped."""
    twice = [Need(name="d", class_name="Embedding", id=k, variables=LEAVES["Embedding"]) for k in (1, 2)]
    stored = {"layers/embedding/vars/0": first, "layers/embedding_1/vars/0": second}
    arrays = {p: StoredArray(path=p, shape=a.shape, dtype=str(a.dtype)) for p, a in stored.items()}
    archive = archive_of("paths", [], arrays=arrays, read=stored.__getitem__)
    if same:
        binding = bind(archive, model("root", *twice))
        assert list(found_by(binding).values()) == ["layers/embedding/vars/0"]
        assert "layers/embedding/vars/0" in binding.dropped["layers/embedding_1/vars/0"]
    else:
        error = refusal_of(archive, model("root", *twice))
        assert error.code == "ambiguous-weights"
        assert all(p in str(error) for p in stored)


@each_layout
def test_a_class_that_nobody_knows_takes_what_is_stored_for_it(layout: str) -> None:
    known = dense_row("mine", "second")
    archive, places = STORES[layout](known)
    opaque = Need(name="mine", class_name="Dense", id=1, opaque=True)
    if layout == "numbered":  # positions alone: nothing tells what is its own
        refusal_of(archive, model("root", opaque, leaf("Dense", "second")))
        return
    found = found_by(bind(archive, model("root", opaque, leaf("Dense", "second"))))
    assert {p for (label, _), p in found.items() if label == ("mine",)} == {
        p for (label, _), p in places.items() if label == ("mine",)
    }
    assert set(found.values()) == set(places.values())


# ---- genuine files

EQUAL = [c for c in genuine_cases() if c.data["expect"] == "equal"]
case_by_case = pytest.mark.parametrize("case", EQUAL, ids=lambda c: c.id)


def wanted(case: Case, archive: Archive) -> Need:
    assert LAYERS  # declarations are registered by importing the catalogue
    options = dict(case.options)
    path = options.pop("config", None)
    config = read_config_file(path) if path else archive.config
    writer = find_writer(archive, config, **{"writer": None, "source_backend": "auto", **options})
    found = parse_model(config, writer)
    root = LayerConfig(class_name=found.class_name, name=found.name, options={}, place="config", id=-1, model=found)
    return need_of(root, writer)


def items_of(need: Need, above: Label = ()) -> Iterator[Item]:
    """What must be in the file."""
    yield from ((above, v.name) for v in need.variables)
    for child in need.children:
        if not child.optional:
            yield from items_of(child, (*above, child.name))


@case_by_case
def test_every_array_of_a_genuine_file_is_used_or_dropped_with_a_reason(case: Case) -> None:
    with open_archive(case.source) as archive:
        root = wanted(case, archive)
        binding = bind(archive, root)
        used = {a.path for a in binding.arrays.values()}
        assert used
        assert used | (binding.dropped.keys() & archive.arrays.keys()) == archive.arrays.keys()
        assert not used & binding.dropped.keys()
        assert all(binding.dropped.values())
        assert set(binding.arrays) >= set(items_of(root))
        backwards = dict(reversed(archive.arrays.items()))
        assert found_by(bind(with_changes(archive, arrays=backwards), root)) == found_by(binding)


@case_by_case
def test_a_genuine_file_without_one_of_its_arrays_is_refused(case: Case) -> None:
    with open_archive(case.source) as archive:
        root = wanted(case, archive)
        for lost in {a.path for a in bind(archive, root).arrays.values()}:
            arrays = {p: a for p, a in archive.arrays.items() if p != lost}
            error = refusal_of(with_changes(archive, arrays=arrays), root)
            assert error.code in ("incomplete-file", "missing-weights", "ambiguous-weights")


@case_by_case
def test_a_genuine_file_with_one_array_more_is_refused(case: Case) -> None:
    with open_archive(case.source) as archive:
        root = wanted(case, archive)
        bind(archive, root)
        stray = StoredArray(path="layers/stray/vars/0", shape=(2,), dtype="float32")
        error = refusal_of(with_changes(archive, arrays=archive.arrays | {stray.path: stray}), root)
        assert error.code == "unused-weights"
        assert stray.path in str(error)


# ---- the small words


dimensions = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@LAW
@given(shape=dimensions, free=st.sets(st.integers(0, 3)), other=dimensions)
def test_a_shape_fits_where_every_known_axis_is_equal(
    shape: tuple[int, ...], free: set[int], other: tuple[int, ...]
) -> None:
    asked = tuple(None if i in free else n for i, n in enumerate(shape))
    assert Variable("v", asked).fits(shape)
    assert Variable("v").fits(other)
    equal = len(other) == len(shape) and all(
        a == b or i in free for i, (a, b) in enumerate(zip(shape, other, strict=False))
    )
    assert Variable("v", asked).fits(other) == equal


@LAW
@given(trees())
def test_a_need_has_variables_if_anything_below_it_has(root: Need) -> None:
    assert has_variables(root) == any(True for _ in weights(root))
    assert has_variables(
        Need(name="x", class_name="X", id=0, children=(Need(name="y", class_name="Y", id=1, opaque=True),))
    )


@pytest.mark.parametrize("layout", ["named", "numbered", "paths"])
@pytest.mark.parametrize("is_inner", [True, False])
def test_arrays_are_not_told_by_an_order_that_is_not_that_of_keras(layout: str, is_inner: bool) -> None:
    turned = msgspec.structs.replace(model("m", leaf("Dense", "d1"), leaf("Dense", "d2")), is_in_order=False)
    root = model("root", turned) if is_inner else turned
    archive = {"named": lambda r: named(r)[0], "numbered": lambda r: numbered(r)[0], "paths": lambda r: in_paths(r)[0]}
    if layout == "named" and not is_inner:  # the groups have names
        bind(archive[layout](root), root)
    else:
        assert refusal_of(archive[layout](root), root).code == "bad-config"
