"""Builds a `Program` while the layers of a model are lowered one after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from h5port.archive import Archive, StoredArray
from h5port.errors import Problems, refusal
from h5port.module.program import (
    CallSpec,
    ModuleSpec,
    Operand,
    Program,
    Shape,
    TensorSpec,
    ValueSpec,
    identifier,
)
from h5port.module.vocabulary import IDLE, is_typed
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Binding, Label
from h5port.schema.writer import Writer
from h5port.transform.recipe import Recipe, Slice, Source, full
from h5port.transform.steps import AnyStep, Blocks, Concat, Flip, Reshape, Split, Transpose

FLOATS = ("float32", "float64", "float16", "bfloat16")


class Value(msgspec.Struct, frozen=True):
    """A tensor of the program being built: its name, what is known of it, and the mask that travels with it."""

    name: str
    shape: Shape | None
    dtype: str = "float32"
    mask: Value | None = None

    @property
    def rank(self) -> int:
        """Refused when unknown: the caller needs it."""
        return len(self.known_shape)

    @property
    def known_shape(self) -> Shape:
        if self.shape is None:
            raise refusal(
                "unsupported-graph",
                "the shape of the input is not in the file, and this layer's meaning depends on it",
                remedy="save the model after it was called once, or with an Input layer",
            )
        return self.shape

    def dim(self, axis: int) -> int | None:
        """The size of an axis; None if it is not known."""
        return None if self.shape is None or not -len(self.shape) <= axis < len(self.shape) else self.shape[axis]

    def with_mask(self, mask: Value | None) -> Value:
        return msgspec.structs.replace(self, mask=mask)


class Tensor:
    """A target tensor in the making: a recipe whose steps are added one by one."""

    def __init__(
        self, sources: tuple[Source, ...], dtype: str, steps: tuple[AnyStep, ...] = (), *, lossless: bool = True
    ) -> None:
        self._sources, self._dtype, self._steps, self._lossless = sources, dtype, steps, lossless

    @property
    def recipe(self) -> Recipe:
        return Recipe(sources=self._sources, steps=self._steps, dtype=self._dtype, lossless=self._lossless)

    @property
    def dtype(self) -> str:
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.recipe.shape()

    def _then(self, step: AnyStep) -> Tensor:
        return Tensor(self._sources, self._dtype, (*self._steps, step), lossless=self._lossless)

    def transpose(self, *axes: int) -> Tensor:
        return self._then(Transpose(axes))

    def reshape(self, *shape: int) -> Tensor:
        return self._then(Reshape(shape))

    def flip(self, *axes: int) -> Tensor:
        return self._then(Flip(axes))

    def blocks(self, axis: int, order: Sequence[int]) -> Tensor:
        return self if list(order) == sorted(order) else self._then(Blocks(axis, tuple(order)))

    def split(self, axis: int, parts: int) -> Tensor:
        return self._then(Split(axis, parts))

    def concat(self, axis: int) -> Tensor:
        return self._then(Concat(axis))

    def part(self, axis: int, start: int, stop: int, *, squeeze: bool = False) -> Tensor:
        """A part of the stored array itself: to be called before any other step."""
        (source,) = self._sources
        return Tensor(
            (Source(source.array, source.shape, Slice(axis, start, stop), squeeze),), self._dtype, self._steps
        )


class Building:
    """What all builders of one model share."""

    def __init__(self, archive: Archive, writer: Writer, binding: Binding) -> None:
        self.archive = archive
        self.writer = writer
        self.binding = binding
        self.recipes: dict[str, Recipe] = {}
        self.notes: list[str] = []
        self.problems = Problems()
        self.partial = False  # whether a layer that cannot be converted becomes a stub
        self.custom: Mapping[str, Any] = {}  # the user's replacements, by class or layer name
        self.floatx = "float32"
        self.made: dict[Label, list[tuple[str, str | None]]] = {}  # module types and why, by the label of the layer
        self.dropped: dict[str, str] = dict(binding.dropped)  # arrays that no tensor is made of, and why
        self.outputs: dict[Label, list[Value]] = {}  # what the calls of a layer gave
        self.assets_read: set[str] = set()


class ProgramBuilder:
    """The modules, calls and values of one program; a nested model has one of its own."""

    def __init__(self, building: Building, prefix: str = "") -> None:
        self.building = building
        self.prefix = prefix  # of tensor names: "encoder."
        self.modules: dict[str, ModuleSpec] = {}
        self.calls: list[CallSpec] = []
        self.values: dict[str, ValueSpec] = {}
        self.layer_names: dict[int, str] = {}  # layer id -> identifier
        self.beside: dict[tuple[str, str], str] = {}  # (layer, suffix) -> name of a further module of the layer
        self.casts: dict[str, Value] = {}  # an input as the model wants it -> as it was given
        self.unmasked: set[str] = set()  # values whose mask a layer took away (see `take_mask`)

    def new_value(self, base: str, shape: Shape | None, dtype: str, role: str = "") -> Value:
        name = identifier(base, set(self.values))
        self.values[name] = ValueSpec(shape=shape, dtype=dtype, role=role)
        return Value(name, shape, dtype)

    def take_mask(self, x: Value) -> None:
        """No later layer finds a mask on `x`: some layers of Keras take it off the tensor itself."""
        self.unmasked.add(self._origin(x.name))

    def as_left(self, x: Value) -> Value:
        """`x` as later layers find it."""
        taken = x.mask is not None and self.unmasked and self._origin(x.name) in self.unmasked
        return x.with_mask(None) if taken else x

    def _origin(self, name: str) -> str:
        """The tensor itself: at inference, dropout and noise give back the one that they are called on."""
        for call in self.calls:
            module = self.modules.get(call.target.removeprefix("@"))
            if call.outputs == (name,) and module is not None and module.type in IDLE:
                (given,) = call.inputs
                return self._origin(str(given))
        return name

    def before_cast(self, x: Value) -> Value:
        """The input itself, where `x` is an input of the model cast to what its InputLayer says."""
        return self.casts.get(x.name, x)

    def name_of(self, layer: LayerConfig) -> str:
        """The identifier of a layer: its name in the program."""
        if layer.id not in self.layer_names:
            self.layer_names[layer.id] = identifier(layer.name, set(self.layer_names.values()))
        return self.layer_names[layer.id]

    def module_name(self, base: str, suffix: str) -> str:
        """The name of a module beside a layer's own: unlike the name of any layer."""
        if not suffix:
            return base
        taken = set(self.layer_names.values()) | {n for k, n in self.beside.items() if k != (base, suffix)}
        return self.beside.setdefault((base, suffix), identifier(f"{base}_{suffix}", taken))

    def drop_module(self, name: str) -> None:
        """Take back a module that was made on the way to a refusal."""
        for tensor in self.modules.pop(name).tensors:
            self.building.recipes.pop(f"{self.prefix}{name}.{tensor}", None)

    def program(self, name: str, doc: str, inputs: Any, outputs: Any) -> Program:
        return Program(
            name=name,
            doc=doc,
            inputs=inputs,
            outputs=outputs,
            modules=self.modules,
            calls=tuple(self.calls),
            values=self.values,
        )


class Module:
    """A module that a layer made, to be given its tensors and to be called."""

    def __init__(self, builder: Builder, name: str) -> None:
        self._builder, self.name = builder, name

    @property
    def ref(self) -> str:
        return f"@{self.name}"

    def tensor(self, name: str, value: Tensor, *, trainable: bool = True) -> None:
        self._add(name, value.recipe, trainable)

    def constant(self, name: str, shape: tuple[int, ...], fill: float, dtype: str = "float32") -> None:
        """A tensor that Keras does not have: never trained."""
        self._add(name, full(shape, fill, dtype), False)

    def _add(self, name: str, recipe: Recipe, trainable: bool) -> None:
        program, building = self._builder.program, self._builder.building
        spec = TensorSpec(recipe.shape(), recipe.dtype, trainable and self._builder.trainable)
        program.modules[self.name].tensors[name] = spec
        building.recipes[f"{program.prefix}{self.name}.{name}"] = recipe

    def __call__(self, *inputs: Any, shape: Shape | None, dtype: str | None = None, **args: Any) -> Value:
        return self._builder.call(self.ref, *inputs, shape=shape, dtype=dtype, **args)


class Builder:
    """What a layer's `lower` is given: the place of the layer, its stored arrays, and verbs to emit torch code."""

    def __init__(
        self, program: ProgramBuilder, layer: LayerConfig, label: Label, base: str, *, trainable: bool = True
    ) -> None:
        self.program = program
        self.building = program.building
        self.layer = layer
        self.label = label
        self.base = base
        self.trainable = trainable and layer.trainable
        self.explicit_mask = False  # the call names its mask, rather than finding it on the tensor
        self.found: Any = None  # what such a call was made on, with the masks that were found there

    @property
    def writer(self) -> Writer:
        return self.building.writer

    def rule(self, name: str) -> Any:
        return self.writer.rule(name)

    def note(self, text: str) -> None:
        """For the report: what was assumed, what training does not reproduce."""
        self.building.notes.append(f"{'/'.join(self.label)}: {text}")

    def drop(self, variable: str, reason: str) -> None:
        """Say why a stored array has no part in the result."""
        self.building.dropped[self.array(variable).path] = reason

    def stored_below(self) -> dict[str, Tensor]:
        """All arrays of this layer and of what it wraps, by names fit for a module's tensors."""
        result: dict[str, Tensor] = {}
        for (label, variable), a in self.building.binding.arrays.items():
            if label[: len(self.label)] == self.label:
                path = "_".join((*label[len(self.label) :], variable))
                path = re.sub(r":\d+$", "", path.removeprefix(f"{self.layer.name}/"))
                name = re.sub(r"\W+", "_", path).strip("_") or "array"
                while name in result:
                    name += "_"
                result[name] = Tensor((Source(a.path, a.shape),), a.dtype)
        return result

    def child(self, layer: LayerConfig, part: str, suffix: str = "") -> Builder:
        """The builder of a wrapped layer or a cell; `part` is its label below this one."""
        base = f"{self.base}_{suffix}" if suffix else self.base
        return Builder(self.program, layer, (*self.label, part), base, trainable=self.trainable)

    # ---- dtypes

    @property
    def dtype(self) -> str:
        """The dtype that the layer computes in: float64 where Keras did, float32 otherwise.

        Half precision is computed in float32 (the report says so): the stored bits stay as they are. Raises
        H5PortError for other types than floating ones.
        """
        policy = self.layer.dtype or self.building.floatx
        if "float" not in policy:
            raise refusal("unsupported-option", f"{self.layer.class_name} shall compute in {policy}")
        if "16" in policy:
            self.note(f"Keras computed in {policy}; here float32 is used, which is more exact")
        return "float64" if policy == "float64" else "float32"

    def cast(self, x: Value, dtype: str) -> Value:
        if x.dtype == dtype:
            return x
        return self.call("cast", x, shape=x.shape, dtype=dtype, to=dtype).with_mask(x.mask)

    def floating(self, x: Value) -> Value:
        """`x`. Raises H5PortError if it holds whole numbers."""
        if x.dtype not in FLOATS:
            raise refusal(
                "unsupported-graph",
                f"{x.dtype} reaches a {self.layer.class_name}: {self.writer} gives it back as whole numbers, or fails",
                remedy="cast it to a floating type in Keras",
            )
        return x

    # ---- stored arrays

    def has(self, variable: str) -> bool:
        return (self.label, variable) in self.building.binding.arrays

    def array(self, variable: str) -> StoredArray:
        found = self.building.binding.arrays.get((self.label, variable))
        if found is None:
            raise refusal("missing-weights", f"no array for {variable}", layer="/".join(self.label))
        return found

    def read(self, variable: str) -> np.ndarray[Any, Any]:
        """The numbers themselves, for the few layers whose arguments are made of them."""
        return self.building.archive.read(self.array(variable).path)

    def asset(self, name: str) -> str | None:
        """The text of a file that Keras put beside the weights for this layer; None if there is none."""
        path = f"{self.building.binding.places.get(self.label)}/{name}"
        if path not in self.building.archive.assets:
            return None
        self.building.assets_read.add(path)
        return self.building.archive.asset(path)

    def stored(self, variable: str, shape: Shape | None = None) -> Tensor:
        """The stored array of a variable; refused if it does not have the shape (None: any size)."""
        a = self.array(variable)
        if shape is not None and (
            len(shape) != len(a.shape) or any(w is not None and w != n for w, n in zip(shape, a.shape, strict=True))
        ):
            raise refusal(
                "shape-mismatch",
                f"{variable} has the shape {list(a.shape)}, its input and options ask for "
                f"{['any' if n is None else n for n in shape]}",
                file=a.path,
                layer="/".join(self.label),
                remedy="the config belongs to other weights, or the file was changed",
            )
        return Tensor((Source(a.path, a.shape),), a.dtype)

    def join(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """Stored arrays (with the same steps on each) joined along an axis."""
        if len({t.dtype for t in tensors}) > 1:
            raise refusal(
                "unsupported-graph", f"arrays of one tensor have different types {[t.dtype for t in tensors]}"
            )
        steps = tensors[0].recipe.steps
        sources = tuple(s for t in tensors for s in t.recipe.sources)
        return Tensor(sources, tensors[0].dtype, steps).concat(axis)

    # ---- modules and calls

    def module(self, type: str, suffix: str = "", why: str | None = None, **args: Any) -> Module:
        """A module of a torch.nn class or a shim; the same one again when the layer is called again."""
        name = self.program.module_name(self.base, suffix)
        if is_typed(type) and self.dtype != "float32":
            args["dtype"] = self.dtype
        spec = ModuleSpec(type=type, args=args, why=why)
        known = self.program.modules.get(name)
        if known is not None and (known.type, known.args) != (type, args):
            raise refusal(
                "unsupported-graph", f"the layer is used in two ways that need different modules ({known.args}, {args})"
            )
        if known is None:
            self.program.modules[name] = spec
            self.building.made.setdefault(self.label, []).append((type, why))
        return Module(self, name)

    def call(
        self,
        target: str,
        *inputs: Any,
        shape: Shape | None,
        dtype: str | None = None,
        name: str | None = None,
        **args: Any,
    ) -> Value:
        """One function or module applied; gives one value of this shape (and the first input's dtype)."""
        return self.calls(target, *inputs, shapes=[shape], dtype=dtype, name=name, **args)[0]

    def calls(
        self,
        target: str,
        *inputs: Any,
        shapes: Sequence[Shape | None],
        dtype: str | None = None,
        name: str | None = None,
        **args: Any,
    ) -> list[Value]:
        """The same for a function that gives several values."""
        return self.emits(target, *inputs, shapes=shapes, dtype=dtype, name=name, args=args)

    def emit(
        self, target: str, *inputs: Any, shape: Shape | None, dtype: str, args: dict[str, Any], name: str | None = None
    ) -> Value:
        """`call` for functions whose own arguments are called shape, dtype or name."""
        return self.emits(target, *inputs, shapes=[shape], dtype=dtype, name=name, args=args)[0]

    def emits(
        self,
        target: str,
        *inputs: Any,
        shapes: Sequence[Shape | None],
        dtype: str | None,
        args: dict[str, Any],
        name: str | None = None,
    ) -> list[Value]:
        first = next((v for v in _values(inputs)), None)
        dtype = dtype or (first.dtype if first is not None else self.dtype)
        outs = [self.program.new_value(name or self.base, s, dtype) for s in shapes]
        operands = tuple(_operand(i) for i in inputs)
        self.program.calls.append(
            CallSpec(target=target, inputs=operands, outputs=tuple(o.name for o in outs), args=args)
        )
        return outs

    def elementwise(self, function: str, x: Value, *others: Any, **args: Any) -> Value:
        """A function that keeps shape, dtype and mask of its first input."""
        return self.call(function, x, *others, shape=x.shape, **args).with_mask(x.mask)


def _values(inputs: Any) -> list[Value]:
    if isinstance(inputs, Value):
        return [inputs]
    return [v for i in inputs for v in _values(i)] if isinstance(inputs, list | tuple) else []


def _operand(value: Any) -> Operand:
    if isinstance(value, Value):
        return value.name
    if isinstance(value, Module):
        return value.ref
    if isinstance(value, list | tuple):
        return [_operand(v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"not an operand: {value!r}")
