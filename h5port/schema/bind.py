"""Matches what the layers need with what the file stores (FORMATS: legacy HDF5, path stores).

Every variable gets exactly one array and every array is used or named as dropped; otherwise one error shows
both lists. Names, orders and shapes decide; nothing here knows a layer, and no number is touched.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from h5port.archive import Archive, StoredArray
from h5port.errors import Problems, refusal
from h5port.schema.needs import Binding, Label, Need, Variable, has_variables

Item = tuple[Label, Variable]

# Arrays that are no weights: states of random generators
_RANDOM_STATE = re.compile(r"(StateVar(:\d+)?|seed_generator_state(_\d+)?(:\d+)?)$")


def bind(archive: Archive, root: Need) -> Binding:
    """Raises H5PortError with all of the missing, unused and misshapen arrays."""
    binder = _Binder(archive)
    binders: dict[str, Callable[[Need], None]] = {
        "named": binder.named,
        "numbered": binder.numbered,
        "paths": binder.paths,
    }
    if archive.layout not in binders:
        raise refusal(
            "no-weights",
            "an architecture without weights",
            file=str(archive.source),
            remedy="give the weights file, and this one as --config",
        )
    _check_order(root.children if archive.layout == "named" else (root,), archive)
    binders[archive.layout](root)
    return binder.finish()


def _check_order(needs: Iterable[Need], archive: Archive) -> None:
    """Refuse models whose arrays are told by the order of the layers, if that is not Keras' own."""
    for need in needs:
        if not need.is_in_order:
            raise refusal(
                "bad-config",
                f"the layers of the model {need.name!r} are listed in another order than Keras lists them, and their "
                "arrays are told by it",
                file=str(archive.source),
                remedy="list each layer after those that it is called on",
            )
        _check_order(need.children, archive)


class _Binder:
    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.bound: dict[tuple[Label, str], StoredArray] = {}
        self.used: set[str] = set()
        self.dropped: dict[str, str] = {}
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.places: dict[Label, str] = {}
        self.problems = Problems()

    def put(self, label: Label, variable: Variable, array: StoredArray) -> None:
        key = (label, variable.name)
        self.used.add(array.path)
        if key in self.bound:
            first = self.bound[key]
            alike = (first.dtype, first.shape) == (array.dtype, array.shape)
            if not alike or not _same_bits(self.archive.read(array.path), self.archive.read(first.path)):
                raise refusal(
                    "ambiguous-weights",
                    f"two arrays for {variable.name} that differ: {self.bound[key].path}, {array.path}",
                )
            self.dropped[array.path] = f"a second copy of {self.bound[key].path}, bit for bit"
            return
        if not variable.fits(array.shape):
            expected = ["any" if n is None else n for n in variable.shape or ()]
            raise refusal(
                "shape-mismatch",
                f"{variable.name} has the shape {list(array.shape)}, the config asks for {expected}",
                file=array.path,
                layer="/".join(label),
                remedy="the config belongs to other weights, or the file was changed",
            )
        self.bound[key] = array

    def finish(self) -> Binding:
        for path in self.archive.arrays:
            if path not in self.used and _RANDOM_STATE.search(path):
                self.dropped[path] = "the state of a random generator, which inference does not use"
        for group in self.archive.ignored:
            self.dropped[group] = "not weights of the model"
        unused = [p for p in self.archive.arrays if p not in self.used and p not in self.dropped]
        with self.problems.collect(file=str(self.archive.source)):
            if self.missing or unused:
                raise refusal(
                    "missing-weights" if self.missing else "unused-weights",
                    f"variables of the config without an array: {self.missing or 'none'}; "
                    f"arrays that belong to no variable: {unused[:20] or 'none'}",
                    remedy="the config and the weights must be of one model; --raw writes the arrays as they are",
                )
        self.problems.raise_if_any()
        notes = tuple(dict.fromkeys(self.notes))
        return Binding(arrays=self.bound, dropped=self.dropped, notes=notes, places=self.places)

    # ---- named layout: groups by layer, order by attributes

    def named(self, root: Need) -> None:
        groups = self._groups()
        layers = {n.name: n for n in root.children if n.kind != "operation"}
        full = {n: stored for n, stored in groups.items() if any(not _RANDOM_STATE.search(w) for w, _ in stored)}
        wanted = [n for n in layers.values() if has_variables(n)]
        if all(name in layers for name in full):
            pairs = [(layers[name], stored) for name, stored in full.items()]
        elif len(full) == len([n for n in wanted if not n.opaque]):
            self.notes.append("the layers of the file have other names than those of the config: matched in order")
            pairs = list(zip([n for n in wanted if not n.opaque], full.values(), strict=True))
        else:
            raise refusal(
                "ambiguous-weights",
                f"{len(full)} layers with weights in the file {list(full)[:20]}, "
                f"{len(wanted)} in the config {[n.name for n in wanted][:20]}",
                file=str(self.archive.source),
                remedy="the config and the weights must be of one model",
            )
        for need, stored in pairs:
            with self.problems.collect(file=str(self.archive.source), layer=need.name):
                self._bind_group(need, stored)
        done = {n.name for n, _ in pairs}
        self.missing += [n.name for n in wanted if n.name not in done and not n.opaque and not n.optional]
        top = self.archive.attributes.get("top_level_model_weights", {}).get("weight_names")
        if top:
            raise refusal(
                "unsupported-graph",
                f"weights that belong to the model itself and to no layer: {top}",
                file=str(self.archive.source),
            )

    def _groups(self) -> dict[str, list[tuple[str, StoredArray]]]:
        """Layer name -> its weight names and arrays, in the order of the attributes."""
        result: dict[str, list[tuple[str, StoredArray]]] = {}
        for name in map(str, self.archive.attributes[""]["layer_names"]):
            group = self.archive.attributes.get(name.replace("\\", "/"))
            weights = [str(w) for w in (group or {}).get("weight_names") or []]
            paths = [f"{name}/{w}".replace("\\", "/") for w in weights]
            absent = [p for p in paths if p not in self.archive.arrays]
            if group is None or absent or len(set(weights)) < len(weights):
                what = (
                    "is listed but not there"
                    if group is None
                    else f"lacks {absent[:5]}"
                    if absent
                    else "lists a weight twice"
                )
                self.problems.add(
                    "incomplete-file",
                    f"the layer {name!r} {what}: the writer stopped in the middle",
                    file=str(self.archive.source),
                    remedy="save the model again; some Kerases fail half way when two weights have one name",
                )
                continue
            result[name] = [(w, self.archive.arrays[p]) for w, p in zip(weights, paths, strict=True)]
        self.problems.raise_if_any()
        return result

    def _bind_group(self, need: Need, stored: list[tuple[str, StoredArray]]) -> None:
        """One layer's arrays, in the order of `weight_names`: trainable ones first, by one of three readings."""
        for name, array in stored:
            if _RANDOM_STATE.search(name):
                self.dropped[array.path] = "the state of a random generator, which inference does not use"
        stored = [s for s in stored if s[1].path not in self.dropped]
        self.used |= {array.path for _, array in stored}
        if need.opaque:
            for name, array in stored:
                self.put((need.name,), Variable(name), array)
            return
        unknown = _opaque_labels((), need)
        if unknown:
            self._bind_around(need, unknown, stored)
            return
        orders = _orders(need)
        reasons = [_misfit(order, stored, need) for order in orders]
        fitting = [order for order, reason in zip(orders, reasons, strict=True) if reason is None]
        if not fitting and len(orders[0]) == len(stored):
            by_owner = _by_owner(orders[0], stored)
            if by_owner:
                fitting = [by_owner]
                self.notes.append(f"{need.name}: matched by the names of its inner layers, not by order")
        if not fitting:
            expected = ["/".join((*label[1:], v.name)) for label, v in orders[0]]
            code = "shape-mismatch" if "has the shape" in (reasons[0] or "") else "ambiguous-weights"
            raise refusal(
                code if len(orders[0]) == len(stored) else "missing-weights",
                f"{reasons[0]}; expected {expected[:24]}, stored {[n for n, _ in stored][:24]}",
                remedy="the config and the weights must be of one model",
            )
        for (label, variable), (_, array) in zip(fitting[0], stored, strict=True):
            self.put(label, variable, array)

    def _bind_around(self, need: Need, unknown: list[Label], stored: list[tuple[str, StoredArray]]) -> None:
        """A layer or model with a class inside that is not known, so that no order is: each array goes where its
        name says, the others belong to the unknown class."""
        items = _in_layers((), need)
        variables = {v.name for _, v in items}
        for name, array in stored:
            said, owners = _said_variable(name, variables), set(name.replace("\\", "/").split("/")[:-1])
            fitting = [i for i in items if i[1].name == said and i[0][-1] in owners and i[1].fits(array.shape)]
            if len(fitting) == 1 and (fitting[0][0], said) not in self.bound:
                self.put(*fitting[0], array)
            else:
                label = next((u for u in unknown if u[-1] in owners), unknown[0])
                self.put(label, Variable(name), array)

    # ---- numbered layout: Keras 0.x

    def numbered(self, root: Need) -> None:
        if "graph" in self.archive.attributes:
            self._bind_numbers(_ordered(root.children), "graph", root.name)
            return
        count = self._count("", "nb_layers")
        layers = [n for n in root.children if n.class_name != "InputLayer" and not n.branch_of]
        if count != len(layers):
            raise refusal(
                "ambiguous-weights",
                f"{count} layers in the file, {len(layers)} in the config",
                file=str(self.archive.source),
                remedy="the config and the weights must be of one model",
            )
        for k, need in enumerate(layers):
            with self.problems.collect(file=f"{self.archive.source}:/layer_{k}", layer=need.name):
                branches = [n for n in root.children if n.branch_of == need.name]
                self._bind_numbers(_ordered([*branches, need]), f"layer_{k}", need.name)

    def _bind_numbers(self, order: list[Item], group: str, layer: str) -> None:
        count = self._count(group, "nb_params")
        paths = [f"{group}/param_{i}" for i in range(count)]
        absent = [p for p in paths if p not in self.archive.arrays]
        if absent or count != len(order):
            expected = ["/".join((*label, v.name)) for label, v in order]
            raise refusal(
                "missing-weights",
                f"{count} arrays stored, {absent or 'none'} of them absent; expected {expected}",
                layer=layer,
            )
        self.used |= set(paths)
        for (label, variable), path in zip(order, paths, strict=True):
            self.put(label, variable, self.archive.arrays[path])

    def _count(self, group: str, name: str) -> int:
        value = self.archive.attributes.get(group, {}).get(name)
        if not isinstance(value, int) or value < 0:
            raise refusal(
                "incomplete-file", f"{name} of {group or 'the file'} is {value!r}", file=str(self.archive.source)
            )
        return value

    # ---- path layout: .keras and .weights.h5

    def paths(self, root: Need) -> None:
        doubled = any(
            p.startswith("_layer_checkpoint_dependencies") for p in (*self.archive.arrays, *self.archive.attributes)
        )
        self._container = "_layer_checkpoint_dependencies" if doubled else "layers"
        self._doubled = doubled
        self._visited: dict[int, Label] = {}
        self._visit(root, (), "")
        for path in self.archive.arrays:
            top = path.split("/")[0]
            if top in ("optimizer", "metrics", "_metrics", "trackers") or top.endswith("_tracker"):
                self.dropped[path] = "not weights of the model"

    def _visit(self, need: Need, label: Label, path: str) -> None:
        if need.id in self._visited:
            for (at, variable), array in list(self.bound.items()):
                first = self._visited[need.id]
                if at[: len(first)] == first:
                    self.bound[((*label, *at[len(first) :]), variable)] = array
            self.notes.append(f"{'/'.join(label)} shares the weights of {'/'.join(self._visited[need.id])}")
            self.places[label] = self.places[self._visited[need.id]]
            return
        self._visited[need.id] = label
        self.places[label] = path
        with self.problems.collect(file=f"{self.archive.source}:/{path}", layer="/".join(label)):
            self._own(need, label, path)
        if need.kind == "model":
            for child, place in self._members(need):
                self._visit(child, (*label, child.name), f"{path}/{place}".lstrip("/"))
        else:
            for child in need.children:
                self._visit(child, (*label, child.name), self._child_path(child, path))

    def _child_path(self, child: Need, path: str) -> str:
        """An attribute may begin with an underscore, by the package that wrote the file."""
        plain, private = f"{path}/{child.attribute}", f"{path}/_{child.attribute}"
        return private if any(p.startswith(f"{private}/") for p in self.archive.arrays) else plain

    def _members(self, model: Need) -> Iterable[tuple[Need, str]]:
        """The layers of a model and where they lie: named by their class in snake case, numbered by class."""
        count: dict[str, int] = {}

        def number(word: str) -> str:
            n = count.get(word, 0)
            count[word] = n + 1
            return f"{word}_{n}" if n else word

        for child in model.children:
            if child.kind == "operation" or (model.class_name == "Sequential" and child.class_name == "InputLayer"):
                continue
            word = snake_case(child.class_name)
            if child.kind == "model" and word == "functional" and not self._exists(f"{self._container}/functional"):
                word = "model" if self._exists(f"{self._container}/model") else word
            yield child, f"{self._container}/{number(word)}"
            if self._doubled and has_variables(child):
                number(word)  # Keras 2.12 to 2.14 list a layer with weights twice

    def _exists(self, part: str) -> bool:
        return any(f"/{part}/" in f"/{p}" or f"/{part}_" in f"/{p}" for p in self.archive.arrays)

    def _own(self, need: Need, label: Label, path: str) -> None:
        prefix = f"{path}/vars/".lstrip("/")
        found = {
            p[len(prefix) :]: p for p in self.archive.arrays if p.startswith(prefix) and "/" not in p[len(prefix) :]
        }
        if need.opaque:
            for p in self.archive.arrays:
                if p.startswith(f"{path}/"):
                    self.put(label, Variable(p[len(path) + 1 :]), self.archive.arrays[p])
            return
        variables = list(need.variables)
        if len(found) < len(variables):
            variables = [v for v in variables if not v.optional]
        if found.keys() == {str(i) for i in range(len(found))}:
            stored = [found[str(i)] for i in range(len(found))]
        elif set(found) == {v.name for v in variables}:
            stored = [found[v.name] for v in variables]
        else:
            names = [v.name for v in variables]
            raise refusal("missing-weights", f"the arrays {sorted(found)} are stored where {names} are expected")
        if not stored and need.optional:
            return
        if not stored and variables:
            self.missing += ["/".join((*label, v.name)) for v in variables]
        elif len(stored) != len(variables):
            names = [v.name for v in variables]
            if variables or need.kind != "model":
                raise refusal("ambiguous-weights", f"{len(stored)} arrays stored, {len(variables)} expected ({names})")
        else:
            self.used |= set(stored)
            for variable, p in zip(variables, stored, strict=True):
                self.put(_owner(label, variable), variable, self.archive.arrays[p])


def snake_case(name: str) -> str:
    """The path stores' name for a class (keras/src/utils/naming.py, to_snake_case)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.tobytes() == b.tobytes()


# ---- orders in which legacy files list the weights of one layer


def _owner(label: Label, variable: Variable) -> Label:
    return (*label, variable.of) if variable.of else label


def _once(items: Iterable[Item]) -> list[Item]:
    """A variable that a wrapper and the wrapped layer both have is listed where it comes first."""
    found: dict[tuple[Label, str], Item] = {}
    for label, variable in items:
        found.setdefault((label, variable.name), (label, variable))
    return list(found.values())


def _orders(need: Need) -> list[list[Item]]:
    """The orders in which a writer can have listed them, most likely first: trainable then fixed, by the flags of
    the config; the same as if nothing were frozen; layer by layer."""
    result = []
    for stored in (need, _without_optional(need)):
        with_flags, without = _split((), stored, flags=True), _split((), stored, flags=False)
        result += [with_flags[0] + with_flags[1], without[0] + without[1], _in_layers((), stored)]
    return [_once(order) for order in result]


def _without_optional(need: Need) -> Need:
    children = tuple(_without_optional(c) for c in need.children if not c.optional)
    variables = tuple(v for v in need.variables if not v.optional)
    return msgspec.structs.replace(need, children=children, variables=variables)


def _ordered(needs: Iterable[Need]) -> list[Item]:
    """All trainable variables of several layers, then all others."""
    halves = [_split((), n, flags=True) for n in needs]
    return [i for trainable, _ in halves for i in trainable] + [i for _, fixed in halves for i in fixed]


def _split(above: Label, need: Need, *, flags: bool) -> tuple[list[Item], list[Item]]:
    """(trainable, fixed) as Keras gathers `layer.trainable_weights` and `layer.non_trainable_weights`."""
    label = (*above, need.name)
    frozen = flags and not need.trainable
    trainable = [(_owner(label, v), v) for v in need.variables if v.trainable]
    fixed = [(_owner(label, v), v) for v in need.variables if not v.trainable]
    if frozen and need.kind != "model":
        trainable, fixed = [], trainable + fixed
    for child in need.children:
        inner_trainable, inner_fixed = _split(label, child, flags=flags)
        if frozen and need.kind != "model":
            fixed += inner_trainable + inner_fixed
        else:
            trainable, fixed = trainable + inner_trainable, fixed + inner_fixed
    return trainable, fixed


def _in_layers(above: Label, need: Need) -> list[Item]:
    label = (*above, need.name)
    own = [(_owner(label, v), v) for v in need.variables]
    return own + [item for c in need.children for item in _in_layers(label, c)]


def _opaque_labels(above: Label, need: Need) -> list[Label]:
    label = (*above, need.name)
    return [label] if need.opaque else [u for c in need.children for u in _opaque_labels(label, c)]


def _misfit(order: list[Item], stored: list[tuple[str, StoredArray]], need: Need) -> str | None:
    """Why the arrays cannot be in this order; None if they can."""
    if len(order) != len(stored):
        return f"{len(order)} variables expected, {len(stored)} stored"
    variables = {v.name for _, v in order}
    inner = {part for label, _ in order for part in label} - {need.name}
    for (label, variable), (name, array) in zip(order, stored, strict=True):
        said = _said_variable(name, variables)
        if said and said != variable.name:
            return f"the name {name!r} does not fit the variable {variable.name} of {'/'.join(label)}"
        if not variable.fits(array.shape):
            where = f"{variable.name} of {'/'.join(label)} {variable.shape}"
            return f"{name!r} has the shape {list(array.shape)}, which does not fit {where}"
        parts = name.replace("\\", "/").split("/")
        above = [p for p in parts[:-1] if p != need.name]
        owners = ({_direction(p) or p for p in above} | {_direction(parts[-1])}) & inner
        if not owners <= set(label):
            return f"the name {name!r} belongs to another layer than {'/'.join(label)}"
    return _misfit_of_depth(order, stored)


def _misfit_of_depth(order: list[Item], stored: list[tuple[str, StoredArray]]) -> str | None:
    """Why layers inside models of one name ("a/x" and "a/a/x") cannot be in this order: the deeper has more parts."""
    alike: dict[Any, list[tuple[int, int, str]]] = {}
    for (label, variable), (name, _) in zip(order, stored, strict=True):
        depth = len(name.replace("\\", "/").split("/"))
        alike.setdefault((frozenset(label), variable.name), []).append((len(label), depth, name))
    for found in alike.values():
        for (one, depth, name), (two, other_depth, other) in itertools.combinations(found, 2):
            if (one - two) * (depth - other_depth) < 0:
                return f"the names {name!r} and {other!r} belong to each other's layers"
    return None


def _direction(part: str) -> str | None:
    """'forward_lstm' -> 'forward': the halves of a Bidirectional are named after the layer."""
    match = re.match(r"(forward|backward)_", part)
    return match[1] if match else None


def _said_variable(name: str, variables: set[str]) -> str | None:
    """The variable that a stored name speaks of; None when it says nothing ('param_3')."""
    last = re.sub(r":\d+$", "", name.replace("\\", "/")).split("/")[-1]
    for word in (last, re.sub(r"_\d+$", "", last)):
        if word in variables:
            return word
        for variable in sorted(variables, key=len, reverse=True):
            if word.endswith(f"_{variable}"):
                return variable
    return None


def _by_owner(order: list[Item], stored: list[tuple[str, StoredArray]]) -> list[Item]:
    """Each array by the layers and the variable that its name speaks of; [] unless that is one to one."""
    variables = {v.name for _, v in order}
    result: list[Item] = []
    for name, array in stored:
        said = _said_variable(name, variables)
        parts = re.sub(r":\d+$", "", name.replace("\\", "/")).split("/")
        if said and len(parts) == 1:  # Keras 1 writes "<layer>_<variable>"
            parts = [re.sub(r"_\d+$", "", parts[0])[: -len(said) - 1], said]
        owners = {o for p in parts[:-1] for o in (p, _direction(p)) if o}
        fitting = [i for i in order if i[1].name == said and i[1].fits(array.shape)]
        ranked = sorted(fitting, key=lambda i: len(owners & set(i[0])), reverse=True)
        scores = [len(owners & set(i[0])) for i in ranked]
        if not scores or scores[0] == 0 or scores[1:2] == scores[:1]:
            return []
        result.append(ranked[0])
    return result if len({(label, v.name) for label, v in result}) == len(result) else []
