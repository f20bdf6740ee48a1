"""Lowers a whole model: the calls of the graph in their order, masks as values beside their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from h5port.archive import Archive
from h5port.errors import H5PortError, Problem, refusal
from h5port.layers.base import MaskRule, decode, is_replaced, need_of
from h5port.layers.builder import Builder, Building, ProgramBuilder, Value
from h5port.module.passes import simplify
from h5port.module.program import CallSpec, ModuleSpec, Program
from h5port.schema.bind import bind
from h5port.schema.graph import Argument, Constant, LayerConfig, Model, Ref, SliceValue, refs
from h5port.schema.needs import Label
from h5port.schema.writer import Writer
from h5port.transform.recipe import Recipe


class Lowered(msgspec.Struct, frozen=True, kw_only=True):
    """What a model becomes: the program, a recipe for every tensor, and what the report must say.

    layers    Keras name -> name in the program
    made      label of a layer -> the modules that it became, with the reason where they are not torch.nn's
    outputs   label of a layer -> the values that its calls gave
    bound     label of a layer and shape, for each stored array that the model uses
    problems  what stands in the way; the program is whole only if there are none
    """

    program: Program
    recipes: dict[str, Recipe]
    notes: tuple[str, ...]
    dropped: dict[str, str]
    layers: dict[str, str]
    made: dict[Label, list[tuple[str, str | None]]]
    outputs: dict[Label, list[Value]]
    bound: list[tuple[Label, tuple[int, ...]]]
    problems: tuple[Problem, ...]


def lower_model(
    archive: Archive, model: Model, writer: Writer, *, partial: bool = False, custom: Mapping[str, Any] | None = None
) -> Lowered:
    """The whole model, with all problems found on the way. Raises H5PortError if the weights cannot be matched.

    partial  a layer that cannot be converted becomes a stub that holds its arrays
    custom   replacements by class or layer name
    """
    custom = custom or {}
    root = LayerConfig(
        class_name=model.class_name,
        name=model.name,
        options={},
        place="config",
        id=-1,
        trainable=model.trainable,
        model=model,
    )
    building = Building(archive, writer, bind(archive, need_of(root, writer, frozenset(custom))))
    building.partial, building.custom = partial, custom
    if any(a.dtype == "float64" for a in building.binding.arrays.values()) and writer.rule("one_float_type"):
        building.floatx = "float64"
    builder = ProgramBuilder(building)
    outputs, inputs = _Lowering(builder, model, ()).root()
    unread = sorted(archive.assets.keys() - building.assets_read)
    building.dropped |= {f"assets/{path}": "a file that no layer of the model reads" for path in unread}
    program = builder.program(model.name, f"Keras model {model.name!r}, written by {writer}", inputs, outputs)
    return Lowered(
        program=program if building.problems.found else simplify(program),
        recipes=building.recipes,
        notes=tuple(dict.fromkeys([*_about(model, writer), *building.binding.notes, *building.notes])),
        dropped=building.dropped,
        layers={layer.name: builder.name_of(layer) for layer in model.layers.values()},
        made=building.made,
        outputs=building.outputs,
        bound=[(label, a.shape) for (label, _), a in building.binding.arrays.items()],
        problems=tuple(dict.fromkeys(building.problems.found)),
    )


def _about(model: Model, writer: Writer) -> list[str]:
    """What the report says of the whole file: assumptions and upgrades."""
    upgrades = f"names of {writer} read as today's: {', '.join(model.upgrades)}"
    return [*([writer.assumed] if writer.assumed else []), *([upgrades] if model.upgrades else [])]


class _Lowering:
    """One model into one program. `outputs_of` has what each call gave: a Value, or a list or dict of them."""

    def __init__(self, builder: ProgramBuilder, model: Model, label: Label, *, trainable: bool = True) -> None:
        self.builder, self.model, self.label = builder, model, label
        self.trainable = trainable and model.trainable
        self.building = builder.building
        self.outputs_of: dict[tuple[str, int], Any] = {}
        for layer in model.layers.values():
            builder.name_of(layer)  # layers take their names before anything else does

    def root(self) -> tuple[Any, Any]:
        """(outputs, inputs) as structures of value names."""
        structure = self.model.inputs
        names: Any
        if isinstance(structure, dict):
            names = {key: self._input(ref).name for key, ref in structure.items()}
        else:
            names = [self._input(ref).name for ref in refs(structure)]
        self._run()
        outputs = self._value(self.model.outputs)
        return (None if _is_broken(outputs) else _names(outputs)), names

    def nested(self, inputs: list[Value]) -> Any:
        """The outputs for these inputs; masks come along with them."""
        for ref, value in zip(refs(self.model.inputs), inputs, strict=True):
            self.outputs_of[(ref.layer, 0)] = value
        self._run()
        return self._value(self.model.outputs)

    def _input(self, ref: Ref) -> Value:
        layer = self.model.layers[ref.layer]
        dtype = "float32"
        with self.building.problems.collect(layer=layer.name):
            decode(layer, self.building.writer)
            dtype = _input_type(layer, layer.dtype or self.building.floatx)
        raw = self.builder.new_value(layer.name, layer.batch_shape, dtype, "input")
        if dtype == "string":
            self.outputs_of[(ref.layer, 0)] = raw
            return raw
        b = Builder(self.builder, layer, (*self.label, layer.name), self.builder.name_of(layer))
        cast = b.call("cast", raw, shape=raw.shape, dtype=dtype, to=dtype)
        self.builder.casts[cast.name] = raw
        self.outputs_of[(ref.layer, 0)] = cast
        return raw

    def _run(self) -> None:
        for call in self.model.calls:
            layer = self.model.layers[call.layer]
            place = "/".join((*self.label, layer.name))
            self.outputs_of[(call.layer, call.call)] = _BROKEN
            with self.building.problems.collect(layer=place):
                args = [self._value(a) for a in call.args]
                kwargs = {k: self._value(v) for k, v in call.kwargs.items()}
                if _is_broken([args, kwargs]):
                    self._check_only(layer)
                    continue
                base = self.builder.name_of(layer)
                b = Builder(self.builder, layer, (*self.label, layer.name), base, trainable=self.trainable)
                given = lower_call(b, args, kwargs)
                self.outputs_of[(call.layer, call.call)] = given
                if given is not _BROKEN:
                    self.building.outputs[b.label] = _flat_values(given)

    def _check_only(self, layer: LayerConfig) -> None:
        """What comes before has failed; name at least what is wrong with the layer itself."""
        if is_replaced(layer, self.building.custom):
            return
        if layer.model is not None:
            for inner in layer.model.layers.values():
                with self.building.problems.collect(layer=inner.place):
                    self._check_only(inner)
            return
        for _, _, child in decode(layer, self.building.writer).children():
            self._check_only(child)

    def _value(self, argument: Argument) -> Any:
        if isinstance(argument, Ref):
            given = _map(self.outputs_of[(argument.layer, argument.call)], self.builder.as_left)
            if argument.tensor is None or given is _BROKEN:
                return given
            flat = list(given.values()) if isinstance(given, dict) else given
            if isinstance(flat, list):
                return flat[argument.tensor]
            if argument.tensor != 0:
                raise refusal("bad-config", f"output {argument.tensor} of the layer {argument.layer!r}, which has one")
            return flat
        if isinstance(argument, list | tuple):
            return [self._value(a) for a in argument]
        if isinstance(argument, dict):
            return {k: self._value(v) for k, v in argument.items()}
        if isinstance(argument, SliceValue):
            return SliceValue(*(self._value(a) for a in (argument.start, argument.stop, argument.step)))
        return argument


class _Broken:
    """The output of a layer that could not be lowered."""


_BROKEN = _Broken()


def _is_broken(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_broken(v) for v in value)
    return any(_is_broken(v) for v in value.values()) if isinstance(value, dict) else value is _BROKEN


def _has_strings(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_strings(v) for v in value)
    return isinstance(value, Value) and value.dtype == "string"


def lower_call(b: Builder, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """One call of a layer or of a nested model; the user's replacement goes first, a stub comes last."""
    if is_replaced(b.layer, b.building.custom):
        return _lower_replaced(b, args, kwargs)
    if b.layer.model is not None:
        return lower_nested(b, args, kwargs)
    if not b.building.partial:
        return _lower_layer(b, args, kwargs)
    state = len(b.program.calls), set(b.program.modules)
    try:
        return _lower_layer(b, args, dict(kwargs))
    except H5PortError as error:
        del b.program.calls[state[0] :]
        for name in set(b.program.modules) - state[1]:
            b.program.drop_module(name)
        return _lower_stub(b, args, error)


def _lower_layer(b: Builder, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Arguments cast, the layer lowered, the mask rule applied."""
    layer = decode(b.layer, b.writer)
    if kwargs.pop("training", None) and not layer.trains_by_default:
        raise refusal("unsupported-graph", "the layer is called with training=True: its dropout stays on at inference")
    if not layer.takes_strings and _has_strings([*args, *kwargs.values()]):
        raise refusal("unsupported-graph", f"strings reach a {b.layer.class_name}: h5port has no form of it for them")
    if layer.is_function:
        return layer.lower(b, args, named=kwargs)
    if b.layer.is_operation:
        return layer.lower(b, *args, **kwargs)
    if layer.floats_only:
        args = [_map(a, b.floating) for a in args]
    if layer.casts:
        args = [_map(a, lambda v: b.cast(v, b.dtype) if v.dtype in ("float32", "float64") else v) for a in args]
    x = args[0] if args else kwargs.pop(layer.arguments[0], None)
    if x is None:
        raise refusal("unsupported-graph", f"a call without the argument {layer.arguments[0]!r}")
    kwargs |= dict(zip(layer.arguments[1:], args[1:], strict=False))
    beyond = args[len(layer.arguments) :]
    if any(a is not None for a in beyond):
        kwargs["positional"] = beyond
    x = _with_given_mask(b, x, kwargs.pop("mask", None))
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    if kwargs and not layer.takes_arguments:
        raise refusal("unsupported-graph", f"arguments of a call that h5port does not know: {sorted(kwargs)}")
    return _apply_mask_rule(b, layer.mask, x, layer.lower(b, x, **kwargs))


def _lower_replaced(b: Builder, args: list[Any], kwargs: dict[str, Any]) -> Value:
    """A layer for which the user has a module: it gets the config and the arrays, and is called on the inputs."""
    name = b.layer.name if b.layer.name in b.building.custom else b.layer.class_name
    factory = b.building.custom[name]
    kwargs.pop("training", None)
    if kwargs:
        raise refusal("unsupported-graph", f"a replaced layer is called with arguments {sorted(kwargs)}")
    config = plain_config(b.layer)
    module = b.module("Custom", why="a replacement of the user's", name=name, config=config)
    for tensor, array in b.stored_below().items():
        module.tensor(tensor, array)
    inputs = _flat_values(args)
    shape_of = getattr(factory, "output_shape", None)
    shapes = [list(v.shape) if v.shape is not None else None for v in inputs]
    shape = shape_of(config, shapes[0] if len(shapes) == 1 else shapes) if shape_of else None
    y = module(*inputs, shape=None if shape is None else tuple(shape), dtype="float32")
    passes = getattr(factory, "supports_masking", False)
    b.note(f"the user's replacement {name!r} stands for this layer; what it computes is not checked")
    return cast(Value, _apply_mask_rule(b, "passes" if passes else "stops", inputs[0], y))


def _lower_stub(b: Builder, args: list[Any], error: H5PortError) -> Value:
    """A layer that cannot be converted, where the rest shall be: a module with its arrays that names it when called."""
    arrays = b.stored_below()
    text = error.problems[0].message
    b.note(f"not converted, a stub stands in its place: {text}")
    module = b.module(
        "Stub",
        why="not converted",
        name=b.layer.name,
        class_name=b.layer.class_name,
        problem=text,
        config=plain_config(b.layer),
        tensors={n: [list(t.shape), t.dtype] for n, t in arrays.items()},
    )
    for tensor, array in arrays.items():
        module.tensor(tensor, array)
    return module(*_flat_values(args), shape=None, dtype="float32")


def plain_config(layer: LayerConfig) -> dict[str, Any]:
    """The options of a layer as JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, LayerConfig):
            return {"class_name": value.class_name, "config": plain_config(value)}
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list) else value

    return {k: plain(v) for k, v in layer.options.items()}


def _with_given_mask(b: Builder, x: Any, mask: Any) -> Any:
    """The argument `mask=` of a call goes before the mask that comes with the tensor."""
    if mask is None:
        return x
    b.explicit_mask, b.found = True, x
    if isinstance(x, Value):
        return x.with_mask(mask[0] if isinstance(mask, list) else mask)
    masks = mask if isinstance(mask, list) else [mask]
    return [v.with_mask(m) for v, m in zip(x, masks, strict=False)] + x[len(masks) :]


def _apply_mask_rule(b: Builder, rule: MaskRule, x: Any, y: Any) -> Any:
    if rule == "own" or not isinstance(x, Value):
        return y
    if rule == "passes":
        return y.with_mask(x.mask)
    if x.mask is not None and b.rule("unsupported_mask") == "refuse":
        raise refusal(
            "unsupported-graph", f"a mask reaches a {b.layer.class_name} layer: {b.writer} itself refuses this model"
        )
    return y.with_mask(None)


def lower_nested(b: Builder, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A nested model is a program of its own; the masks of its inputs and outputs are inputs and outputs, too."""
    model = b.layer.model
    assert model is not None
    if kwargs.pop("training", None):
        raise refusal("unsupported-graph", "a nested model is called with training=True")
    mask = kwargs.pop("mask", None)
    unknown = sorted(k for k, v in kwargs.items() if v is not None)
    if unknown:
        raise refusal("unsupported-graph", f"arguments of a call that h5port does not know: {unknown}")
    found = _flat_inputs(model, args[0] if len(args) == 1 else list(args))
    starts = [model.layers[r.layer] for r in refs(model.inputs)]
    masked = _with_given_mask(b, found, mask)
    given = [_as_input(b, *one) for one in zip(starts, masked, found, strict=True)]
    inner = ProgramBuilder(b.building, f"{b.program.prefix}{b.base}.")
    inputs = _inner_inputs(inner, model, given)
    outputs = _Lowering(inner, model, b.label, trainable=b.trainable).nested(inputs)
    if _is_broken(outputs):
        return _BROKEN
    for outside, inside in zip(given, inputs, strict=True):
        if inner.as_left(inside).mask is not inside.mask:
            b.program.take_mask(outside)
    flat = _flat_values(outputs)
    doc = f"Keras model {model.name!r}"
    program = simplify(inner.program(model.name, doc, _with_masks(inputs), _with_masks(flat)))
    spec = ModuleSpec(type="Program", program=program)
    known = b.program.modules.get(b.base)
    if known is not None and known != spec:
        raise refusal(
            "unsupported-graph", "a nested model is used twice on inputs of different kinds (shapes or masks)"
        )
    b.program.modules[b.base] = spec
    results = [b.program.new_value(b.base, v.shape, v.dtype) for v in flat]
    masks = [
        b.program.new_value(f"{b.base}_mask", v.mask.shape, "bool", "mask") if v.mask is not None else None
        for v in flat
    ]
    b.program.calls.append(
        CallSpec(
            target=f"@{b.base}",
            inputs=tuple(_with_masks(given)),
            outputs=tuple(v.name for v in results) + tuple(m.name for m in masks if m is not None),
        )
    )
    answers = iter([r.with_mask(m) for r, m in zip(results, masks, strict=True)])
    return _map(outputs, lambda v: next(answers))


def _as_input(b: Builder, layer: LayerConfig, value: Value, found: Value) -> Value:
    """What a nested model makes of a value that it is given for one of its inputs; `found` has the mask that it came
    with, `value` that of the call's argument.

    _conform_to_reference_input of tf_keras 2.21, engine/functional.py; _standardize_inputs and call of Keras 3.15,
    models/functional.py, where a mask of None leaves the one on the tensor, which a cast has not.
    """
    rule = b.rule("nested_input")
    wanted = value.dtype if layer.dtype is None or rule == "as given" else _input_type(layer, layer.dtype)
    if layer.batch_shape and value.shape is not None and len(layer.batch_shape) != value.rank:
        raise refusal(
            "unsupported-graph", f"a nested model whose input has {len(layer.batch_shape)} axes is given {value.rank}"
        )
    if wanted == value.dtype or "string" in (wanted, value.dtype):
        return found if rule == "cast" and value.mask is None else value
    cast = b.cast(value, wanted)
    return cast.with_mask(None) if rule == "cast, and its mask lost" else cast


def _inner_inputs(inner: ProgramBuilder, model: Model, given: list[Value]) -> list[Value]:
    """The inputs of a nested program, with masks where the given values have them."""
    result = []
    for ref, value in zip(refs(model.inputs), given, strict=True):
        shape = value.shape or model.layers[ref.layer].batch_shape
        own = inner.new_value(ref.layer, shape, value.dtype, "input")
        if value.mask is not None:
            own = own.with_mask(inner.new_value(f"{own.name}_mask", value.mask.shape, "bool", "mask"))
        result.append(own)
    return result


def _with_masks(values: list[Value]) -> list[str]:
    """The names of the values, then those of their masks: the order in which nested programs take and give them."""
    return [v.name for v in values] + [v.mask.name for v in values if v.mask is not None]


def _flat_inputs(model: Model, given: Any) -> list[Value]:
    """The values for the inputs of a model, in their order; a dict is matched by name."""
    if isinstance(given, dict):
        keys = list(model.inputs) if isinstance(model.inputs, dict) else [r.layer for r in refs(model.inputs)]
        return [given[k] for k in keys]
    values = _flat_values(given)
    if len(values) != len(refs(model.inputs)):
        raise refusal(
            "unsupported-graph", f"a nested model of {len(refs(model.inputs))} inputs is called on {len(values)}"
        )
    return values


def _flat_values(value: Any) -> list[Value]:
    if isinstance(value, Value):
        return [value]
    return [v for item in (value.values() if isinstance(value, dict) else value) for v in _flat_values(item)]


def _map(value: Any, change: Any) -> Any:
    if isinstance(value, Value):
        return change(value)
    if isinstance(value, list | tuple):
        return [_map(v, change) for v in value]
    return {k: _map(v, change) for k, v in value.items()} if isinstance(value, dict) else value


def _names(value: Any) -> Any:
    if isinstance(value, Value):
        return value.name
    if isinstance(value, Constant):
        raise refusal("unsupported-graph", "an output of the model is a constant")
    return (
        {k: _names(v) for k, v in value.items()}
        if isinstance(value, dict)
        else [_names(v) for v in value]
        if isinstance(value, list)
        else value
    )


# the type of an input in Keras -> in torch, where models compute in 32 bits or in 64
_INPUT_TYPES = {
    **{t: t for t in ("bool", "string", "uint8", "int8", "int16", "int32", "int64", "float64")},
    **dict.fromkeys(("bfloat16", "float16", "float32", "mixed_float16", "mixed_bfloat16"), "float32"),
}


def _input_type(layer: LayerConfig, dtype: str) -> str:
    if dtype not in _INPUT_TYPES:
        raise refusal("unsupported-option", f"the input {layer.name!r} is of type {dtype}", layer=layer.place)
    return _INPUT_TYPES[dtype]
