"""Config documents of Keras 0 to 3 become `Model`s.

Sources: `get_config` and `from_config` of Sequential, Container / Network / Functional and Graph in Keras 0.3.3,
1.2.2, 2.2.4, tf.keras 2.4 and 2.15, and `functional.py`, `serialization_lib.py` of Keras 3.15.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.schema import upgrade
from h5port.schema.graph import Argument, Call, LayerConfig, Model, Ref, SliceValue, refs
from h5port.schema.nodes import ends, node_of
from h5port.schema.order import in_order
from h5port.schema.policy import dtype_and_mode
from h5port.schema.writer import FAMILIES, Writer

_MODEL_CLASSES = ("Sequential", "Functional", "Graph")
# layers of Keras 3 whose config has no `trainable`
_WITHOUT_TRAINABLE = """InputLayer Discretization HashedCrossing SpatialDropout1D SpatialDropout2D SpatialDropout3D
    FeatureSpace Pipeline""".split()


def parse_model(config: Any, writer: Writer) -> Model:
    """The whole architecture. Raises H5PortError for documents that are none."""
    try:
        return _Parser(writer).root(config)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # where the document is no config
        raise refusal(
            "bad-config",
            f"the config does not follow the format of {writer} ({type(error).__name__}: {error})",
            file="config",
            remedy="give the architecture as Keras wrote it",
        ) from error


class _Parser:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.generation = {"keras0": 0, "keras1": 1, "keras2": 2, "tf.keras": 2, "keras3": 3}[
            FAMILIES[writer.candidates[0].family]
        ]
        self.ids = itertools.count()
        self.upgrades: dict[str, None] = {}
        self.dim_orderings: set[str] = set()  # what the layers of a model of Keras 0 or 1 say of their channels
        self.shared: dict[Any, LayerConfig] = {}  # shared_object_id -> the layer met first

    def root(self, config: Any) -> Model:
        if isinstance(config, list):
            config = {"class_name": "Sequential", "config": config}
        if not isinstance(config, dict) or ("class_name" not in config and self.generation > 0):
            raise refusal(
                "bad-config",
                "not an architecture: it has no class_name",
                file="config",
                remedy="give the JSON of model.to_json()",
            )
        if self.generation <= 1:
            self.dim_orderings = upgrade.dim_orderings(config)
        layer = self.layer(config, "config" if self.generation == 0 else "")
        if layer.model is None:
            raise refusal(
                "unknown-layer",
                f"the model is of class {layer.class_name!r}, which is code of its own (a subclassed model): "
                "its graph is not in the file",
                layer=layer.name,
                remedy="h5port.state_dict or `h5port convert --raw` give its weights",
            )
        return msgspec.structs.replace(layer.model, upgrades=tuple(sorted(self.upgrades)))

    # ---- layers

    def layer(self, entry: Any, place: str, name: str | None = None) -> LayerConfig:
        """One entry of a config. `place` is its path in the document."""
        class_name, raw = self._class_and_options(entry, place)
        shared_id = entry.get("shared_object_id") if self.generation >= 2 else None
        first = self.shared.get(shared_id) if shared_id is not None else None
        if first is not None and first.class_name == upgrade.class_name(class_name):
            return first
        registered = entry.get("registered_name")
        if ">" in class_name:
            registered, class_name = class_name, class_name.split(">")[-1]
        model = None
        if _is_model(class_name, raw):
            model = self.model(class_name, raw, place, entry)
            options: dict[str, Any] = {}
        else:
            raw = upgrade.with_dim_ordering(class_name, raw, self.dim_orderings)
            options = upgrade.options(upgrade.class_name(class_name), raw, self.generation)
            self._log_upgrades(class_name, raw)
            inside = f"{place}.config" if self.generation else place
            options = {k: self._children(v, f"{inside}.{k}") for k, v in options.items()}
        own = raw if isinstance(raw, dict) else {}
        dtype, quantization = dtype_and_mode(own.get("dtype"))
        result = LayerConfig(
            class_name=upgrade.class_name(class_name),
            name=str(name or entry.get("name_", None) or self._name(entry, own, class_name)),
            options=options,
            place=place or "config",
            id=next(self.ids),
            module=str(entry.get("module") or ""),
            registered_name=registered if isinstance(registered, str) else None,
            trainable=own.get("trainable", True) is not False,
            dtype=dtype,
            quantization=quantization,
            batch_shape=self._batch_shape(class_name, own),
            build_shape=(entry.get("build_config") or {}).get("input_shape") if self.generation == 3 else None,
            model=model,
        )
        if shared_id is not None:
            self.shared[shared_id] = result
        return result

    def _log_upgrades(self, class_name: str, raw: dict[str, Any]) -> None:
        """For the report: which old names were read as which new ones."""
        newest = upgrade.class_name(class_name)
        if newest != class_name:
            self.upgrades[f"{class_name} -> {newest}"] = None
        renamed = upgrade.names(newest, self.generation)
        for old in raw.keys() & renamed.keys():
            if renamed[old]:
                self.upgrades[f"{newest}.{old} -> {renamed[old]}"] = None

    def _class_and_options(self, entry: Any, place: str) -> tuple[str, Any]:
        if self.generation == 0 and isinstance(entry, dict) and isinstance(entry.get("name"), str):
            return entry["name"], {k: v for k, v in entry.items() if k != "name"}
        if (
            isinstance(entry, dict)
            and isinstance(entry.get("class_name"), str)
            and isinstance(entry.get("config"), dict | list)
        ):
            return entry["class_name"], entry["config"]
        raise refusal("bad-config", "a layer without class_name and config", file=place)

    def _name(self, entry: dict[str, Any], own: dict[str, Any], class_name: str) -> str:
        if self.generation == 0:
            return str(own.get("custom_name") or class_name.lower())
        return str(entry.get("name") or own.get("name") or class_name.lower())

    def _children(self, value: Any, place: str) -> Any:
        """Layers among the options (`layer`, `cell`, `cells`, an activation that is a layer) become LayerConfigs."""
        if isinstance(value, list):
            return [self._children(v, f"{place}[{i}]") for i, v in enumerate(value)]
        if self.generation == 0:
            is_layer = isinstance(value, dict) and isinstance(value.get("name"), str) and "trainable" in value
        else:
            is_layer = (
                isinstance(value, dict)
                and isinstance(value.get("class_name"), str)
                and isinstance(value.get("config"), dict | list)
            )
            is_layer = is_layer and place.rsplit(".", 1)[-1].split("[", maxsplit=1)[0] in (
                "layer",
                "backward_layer",
                "cell",
                "cells",
                "activation",
                "layers",
            )
        return self.layer(value, place) if is_layer else value

    def _batch_shape(self, class_name: str, own: dict[str, Any]) -> tuple[int | None, ...] | None:
        for key in ("batch_shape", "batch_input_shape"):
            if isinstance(own.get(key), list):
                return tuple(own[key])
        if self.generation > 1:
            return None
        if class_name == "Embedding":
            return (None, own.get("input_length")) if "input_dim" in own else None
        if isinstance(own.get("input_shape"), list):
            return (None, *own["input_shape"])
        if own.get("input_dim") is not None:
            return (None, own["input_length"], own["input_dim"]) if "input_length" in own else (None, own["input_dim"])
        return None

    # ---- models

    def model(self, class_name: str, raw: Any, place: str, entry: dict[str, Any]) -> Model:
        own = raw if isinstance(raw, dict) else {"layers": raw, "name": entry.get("name")}
        base = f"{place}.config" if place else "config"
        name = str(own.get("custom_name") or own.get("name") or class_name.lower())
        if self.generation == 0:
            name, base = str(own.get("custom_name") or class_name.lower()), place
        trainable = own.get("trainable", True) is not False
        if class_name == "Sequential":
            at = base if isinstance(raw, list) else f"{base}.layers"
            return _checked(self._sequential(name, own["layers"], at, trainable, own), base)
        if class_name == "Graph":
            return _checked(self._graph(name, own, base, trainable), base)
        return _checked(self._functional(name, own, base, trainable), base)

    def _sequential(self, name: str, entries: list[Any], at: str, trainable: bool, own: dict[str, Any]) -> Model:
        chain = _Chain()
        value: Argument = None
        for i, entry in enumerate(entries):
            place = f"{at}[{i}]"
            class_name, raw = self._class_and_options(entry, place)
            branches = raw.get("layers") if class_name == "Merge" and isinstance(raw, dict) else None
            if branches is not None:
                entry = self._without_branches(entry)
            layer = chain.unique(self.layer(entry, place))
            if branches is not None:
                inside = f"{place}.config" if self.generation else place
                value = [self._branch(chain, b, f"{inside}.layers[{k}]", layer.name) for k, b in enumerate(branches)]
            if layer.class_name == "InputLayer":
                value = chain.add_input(layer)
                continue
            if value is None:
                value = self._implied_input(chain, layer, own)
            value = chain.add(layer, value)
        if value is None:
            raise refusal("unsupported-graph", "a Sequential model without layers", layer=name)
        return Model(
            name=name,
            class_name="Sequential",
            layers=chain.layers,
            calls=tuple(chain.calls),
            inputs=chain.inputs[0] if len(chain.inputs) == 1 else chain.inputs,
            outputs=value,
            trainable=trainable,
        )

    def _without_branches(self, entry: dict[str, Any]) -> dict[str, Any]:
        if self.generation == 0:
            return {k: v for k, v in entry.items() if k != "layers"}
        return {**entry, "config": {k: v for k, v in entry["config"].items() if k != "layers"}}

    def _branch(self, chain: _Chain, entry: Any, place: str, merge: str) -> Argument:
        """A branch of a Merge at the head of a Sequential. The layers of a Sequential branch become the outer model's
        own, as they do in the file; any other branch is one layer."""
        branch = msgspec.structs.replace(self.layer(entry, place), branch_of=merge)
        model = branch.model
        if model is None or model.class_name != "Sequential":
            branch = chain.unique(branch)
            return chain.add(branch, self._implied_input(chain, branch, {}))
        names: dict[str, str] = {}
        for key, inner in model.layers.items():
            layer = chain.unique(msgspec.structs.replace(inner, branch_of=merge))
            chain.layers[layer.name] = layer
            names[key] = layer.name

        def outer(argument: Argument) -> Argument:
            return _map_refs(argument, lambda r: Ref(names[r.layer], r.call, r.tensor))

        for call in model.calls:
            chain.calls.append(Call(names[call.layer], call.call, tuple(outer(a) for a in call.args), call.kwargs))
        chain.inputs.extend(refs(outer(model.inputs)))
        return outer(model.outputs)

    def _implied_input(self, chain: _Chain, layer: LayerConfig, own: dict[str, Any]) -> Argument:
        """The input of a Sequential without InputLayer: its shape stands in the first layer, or where the model was
        built."""
        inner = _first_layer(layer)
        if inner.model is not None:
            given = [inner.model.layers[r.layer] for r in refs(inner.model.inputs)]
            kinds = [(g.batch_shape, g.dtype) for g in given]
        else:
            built = own.get("build_input_shape") or inner.build_shape
            plain = isinstance(built, list) and not any(isinstance(n, list | dict) for n in built)
            kinds = [(inner.batch_shape or (tuple(built) if plain else None), None)]
        made = [
            chain.add_input(
                LayerConfig(
                    class_name="InputLayer",
                    name=f"{layer.name}_input" + (f"_{i}" if i else ""),
                    options={},
                    place=layer.place,
                    id=next(self.ids),
                    batch_shape=shape,
                    dtype=dtype,
                    branch_of=layer.branch_of,
                )
            )
            for i, (shape, dtype) in enumerate(kinds)
        ]
        return made[0] if len(made) == 1 else made

    def _functional(self, name: str, own: dict[str, Any], base: str, trainable: bool) -> Model:
        layers: dict[str, LayerConfig] = {}
        nodes: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
        names = {str(e.get("name") or (e.get("config") or {}).get("name")) for e in own["layers"]}
        for i, entry in enumerate(own["layers"]):
            place = f"{base}.layers[{i}]"
            layer = self.layer(self._with_module(entry), place, name=entry.get("name"))
            if layer.name in layers:
                raise refusal("bad-config", f"two layers are called {layer.name!r}", file=place)
            layers[layer.name] = layer
            nodes[layer.name] = [
                node_of(n, names, keras3=self.generation == 3) for k, n in enumerate(entry.get("inbound_nodes") or [])
            ]
        rank = self._node_ranks(layers, nodes)

        def resolve(argument: Argument, at_end: bool = False) -> Argument:
            return _map_refs(argument, lambda r: Ref(r.layer, rank(r, at_end), r.tensor))

        calls = [
            Call(n, k, tuple(resolve(a) for a in args), {key: resolve(v) for key, v in kwargs.items()})
            for n, of in nodes.items()
            if layers[n].class_name != "InputLayer"
            for k, (args, kwargs) in enumerate(of)
        ]
        inputs, outputs = (
            resolve(ends(own[key], names, keras3=self.generation == 3), True)
            for key in ("input_layers", "output_layers")
        )
        starts = [n for n, layer in layers.items() if layer.class_name == "InputLayer"]
        return Model(
            name=name,
            class_name="Functional",
            layers=layers,
            calls=tuple(in_order(calls, starts, outputs, base)),
            is_in_order=_is_in_order(nodes),
            inputs=inputs,
            outputs=outputs,
            trainable=trainable,
        )

    def _with_module(self, entry: Any) -> Any:
        """Where Keras 3 writes no modules (its `.h5`), an operation is told by its config: it has no `trainable`.

        keras/src/saving/saving_utils.py and legacy/saving/legacy_h5_format.py of 3.15; Keras itself cannot read these.
        """
        if self.generation < 3 or not isinstance(entry, dict) or "module" in entry:
            return entry
        config, class_name = entry.get("config"), entry.get("class_name")
        if class_name in _WITHOUT_TRAINABLE or not isinstance(config, dict) or "trainable" in config:
            return entry
        return entry if _is_model(str(class_name), config) else {**entry, "module": "keras.ops"}

    def _node_ranks(self, layers: dict[str, LayerConfig], nodes: dict[str, Any]) -> Any:
        """The function from a reference to the number of the call that it means.

        A nested model of Keras 1 and 2 has node 0 from its own construction, so its first call outside is node 1.
        Keras 3 still counts so where a functional one gives an output of the model (`get_config` in
        keras/src/models/functional.py), but not among the arguments of calls.
        """

        def rank(ref: Ref, at_end: bool) -> int:
            if ref.layer not in layers:
                raise refusal(
                    "bad-config", f"a node refers to the layer {ref.layer!r}, which is not there", layer=ref.layer
                )
            layer = layers[ref.layer]
            first = self.writer.rule("nested_first_node") if layer.model is not None else 0
            if at_end and layer.model is not None and layer.model.class_name == "Functional":
                first = 1
            count = 1 if layer.class_name == "InputLayer" else len(nodes[ref.layer])
            call = ref.call - first
            if not 0 <= call < count:
                raise refusal(
                    "bad-config",
                    f"a node refers to call {ref.call} of a layer that is called {count} times",
                    layer=ref.layer,
                )
            return int(call)

        return rank

    def _graph(self, name: str, own: dict[str, Any], base: str, trainable: bool) -> Model:
        """The Graph model of Keras 0 and 1.0: named nodes, each with its inputs and how they are merged."""
        layers: dict[str, LayerConfig] = {}
        calls: list[Call] = []
        value: dict[str, Argument] = {}

        def add(layer: LayerConfig, argument: Argument, call: int = 0) -> Ref:
            layers[layer.name] = layer
            calls.append(Call(layer.name, call, (argument,), {}))
            return Ref(layer.name, call, None)

        def merged(node: dict[str, Any], name: str, given: list[Argument]) -> Ref:
            options = {
                "mode": node.get("merge_mode"),
                "concat_axis": node.get("concat_axis", -1),
                "dot_axes": node.get("dot_axes", -1),
            }
            place = f"{base}.node_config"
            merge = LayerConfig(class_name="Merge", name=name, options=options, place=place, id=next(self.ids))
            return add(merge, given)

        def joined(node: dict[str, Any]) -> Argument:
            if not node.get("inputs"):
                return value[node["input"]]
            return merged(node, f"merge_inputs_for_{node['name']}", [value[n] for n in node["inputs"]])

        def shared(node: dict[str, Any], entry: dict[str, Any]) -> Argument:
            """A node of `add_shared_node`: one layer on each input; merged, or with a head for each.

            Siamese and SiameseHead of keras/layers/core.py of Keras 0.3.3.
            """
            place = f"{base}.nodes.{node['name']}.layer"
            layer = self.layer(entry["layer"], place, name=node["name"])
            given = [g for n in node["inputs"] for g in (value[n] if isinstance(value[n], list) else [value[n]])]
            called: list[Argument] = [add(layer, g, call) for call, g in enumerate(given)]
            mode = node.get("merge_mode")
            return merged(node, f"merge_outputs_of_{node['name']}", called) if mode else called

        inputs: dict[str, Ref] = {}
        for entry in own["input_config"]:
            shape = entry.get("input_shape")
            dtype = "int32" if str(entry.get("dtype", "")).startswith("int") else None
            layers[entry["name"]] = LayerConfig(
                class_name="InputLayer",
                name=entry["name"],
                options={},
                place=f"{base}.input_config",
                id=next(self.ids),
                dtype=dtype,
                batch_shape=None if shape is None else (None, *shape),
            )
            inputs[entry["name"]] = value[entry["name"]] = Ref(entry["name"], 0, 0)
        for node in own["node_config"]:
            if node["name"] not in own["nodes"]:
                raise refusal("bad-config", f"the node {node['name']!r} has no layer", file=base)
            entry = own["nodes"][node["name"]]
            if self.generation == 0 and entry.get("name") == "Siamese":
                value[node["name"]] = shared(node, entry)
                continue
            if self.generation == 0 and entry.get("name") == "SiameseHead":
                value[node["name"]] = value[node["inputs"][0]][entry["head"]]
                continue
            layer = self.layer(
                entry,
                f"{base}.nodes.{node['name']}",
                name=node["name"] if self.generation == 0 else None,
            )
            value[node["name"]] = add(layer, joined(node))
        outputs: dict[str, Argument] = {}
        for node in own["output_config"]:
            outputs[node["name"]] = joined(node) if node.get("inputs") else value[node["input"]]
        return Model(
            name=name,
            class_name="Graph",
            layers=layers,
            calls=tuple(calls),
            inputs={n: inputs[n] for n in own.get("input_order") or inputs},
            outputs={n: outputs[n] for n in own.get("output_order") or outputs},
            trainable=trainable,
        )


def _is_model(class_name: str, raw: Any) -> bool:
    if upgrade.class_name(class_name) not in _MODEL_CLASSES:
        return False
    return isinstance(raw, list) or (
        isinstance(raw, dict) and (isinstance(raw.get("layers"), list) or "node_config" in raw)
    )


class _Chain:
    """The layers of a Sequential as they are added one behind the other."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerConfig] = {}
        self.calls: list[Call] = []
        self.inputs: list[Ref] = []
        self.names: set[str] = set()

    def unique(self, layer: LayerConfig) -> LayerConfig:
        """Names repeat in Keras 0: number them."""
        name, n = layer.name, 0
        while name in self.names:
            n += 1
            name = f"{layer.name}_{n}"
        self.names.add(name)
        return layer if n == 0 else msgspec.structs.replace(layer, name=name)

    def add(self, layer: LayerConfig, argument: Argument) -> Ref:
        self.layers[layer.name] = layer
        self.calls.append(Call(layer.name, 0, (argument,), {}))
        return Ref(layer.name, 0, None)

    def add_input(self, layer: LayerConfig) -> Ref:
        self.layers[layer.name] = layer
        self.inputs.append(Ref(layer.name, 0, 0))
        return self.inputs[-1]


def _checked(model: Model, place: str) -> Model:
    """Refuse a model without inputs or outputs, and inputs that are none of it."""
    given = {r.layer for r in refs(model.inputs)}
    used = {r.layer for c in model.calls for r in refs([*c.args, c.kwargs])} | {r.layer for r in refs(model.outputs)}
    inputs = {n for n, layer in model.layers.items() if layer.class_name == "InputLayer"}
    first = all((r.call, r.tensor) == (0, 0) for r in refs(model.inputs))
    if not given or not given <= inputs or not first or not refs(model.outputs):
        raise refusal("bad-config", "a model without inputs or outputs", file=place, layer=model.name)
    if used & inputs - given:
        raise refusal("bad-config", f"inputs that the model does not list: {sorted(used & inputs - given)}", file=place)
    return model


def _first_layer(layer: LayerConfig) -> LayerConfig:
    """The layer whose options hold the input shape: a wrapper's own, else that of what it wraps."""
    inner = layer.options.get("layer")
    return (
        _first_layer(inner)
        if isinstance(inner, LayerConfig) and layer.batch_shape is None and inner.model is None
        else layer
    )


def _is_in_order(nodes: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]) -> bool:
    """Whether each layer is listed after what it is first called on. Keras lists them by depth, whatever a config says:
    `get_config` of Container, Network and Functional."""
    before: set[str] = set()
    for name, calls in nodes.items():
        taken = [{r.layer for r in refs([*args, kwargs])} & nodes.keys() for args, kwargs in calls]
        if taken and not any(t <= before for t in taken):
            return False
        before.add(name)
    return True


def _map_refs(argument: Argument, change: Any) -> Argument:
    if isinstance(argument, Ref):
        return change(argument)
    if isinstance(argument, list):
        return [_map_refs(a, change) for a in argument]
    if isinstance(argument, dict):
        return {k: _map_refs(v, change) for k, v in argument.items()}
    if isinstance(argument, SliceValue):
        return SliceValue(*(_map_refs(a, change) for a in (argument.start, argument.stop, argument.step)))
    return argument
