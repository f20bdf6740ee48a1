"""How a layer is declared: one class says all that h5port knows of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from h5port.errors import H5PortError, Problem, refusal
from h5port.layers.builder import Builder
from h5port.layers.quantization import as_stored, family_of
from h5port.layers.refused import REFUSED
from h5port.ops.refused import REFUSED_OPERATIONS
from h5port.schema import upgrade
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Need, Variable
from h5port.schema.writer import DEFAULTS, Writer

ActivationSpec = Any  # a name, {"class_name": "function", "config": name}, or a LayerConfig
MaskRule = Literal["passes", "stops", "own"]


class Example(msgspec.Struct, frozen=True):
    """Options that the tests build and convert, and what such a layer is called on.

    on       the shapes of its inputs, without the batch
    weights  the shapes of its variables in their order; None where the declaration tells them
    dtype    of the inputs, where it is not the model's: of all, or one for each
    args     of an operation's call, where they are not its inputs in their order: "x0" is the first input, beside it
             stand lists, numbers, `...`, `SliceValue`s and `Constant`s
    """

    options: dict[str, Any]
    on: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...] | None
    dtype: str | tuple[str, ...] | None
    args: list[Any] | None = None

    @property
    def dtypes(self) -> tuple[str | None, ...]:
        """The type of each input; None is the model's."""
        return self.dtype if isinstance(self.dtype, tuple) else (self.dtype,) * len(self.on)


def example(
    on: tuple[tuple[int, ...], ...] = ((7, 4),),
    weights: tuple[tuple[int, ...], ...] | None = None,
    dtype: str | tuple[str, ...] | None = None,
    args: list[Any] | None = None,
    gives: str | None = None,
    **options: Any,
) -> Example:
    """`gives` is the option `dtype` of an operation."""
    return Example({**options, "dtype": gives} if gives else options, on, weights, dtype, args)


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a layer class, and what they mean. Subclasses are registered by `declares`.

    mask      "passes": the input's mask goes on; "stops": the layer cannot handle one; "own": `lower` sets it
    arguments  the tensors that its call takes by position; all but the first come to `lower` by these names
    is_function  whether it stands for a function: `lower` is given the list of the call's arguments as `x`, and its
              keyword arguments, whatever they are called, as the dict `named`
    takes_arguments  whether its calls may have arguments beside the input, the mask and `training`
    takes_mask  whether it computes something else with a mask
    takes_strings  whether its inputs may be strings
    floats_only whether whole numbers are refused: Keras gives them back as whole numbers, or fails
    casts       whether floating inputs come in the type that the layer computes in; otherwise as they are
    kernels   variables that quantisation and LoRA change
    quantizations  the modes of quantisation in which it is exact
    trains_by_default  whether Keras writes training=True at calls that said nothing of it; `predict` overrides it
    inert     options of this class that change nothing at inference
    last      the last family of Kerases that has the class
    examples  what the tests build and convert
    """

    names: ClassVar[tuple[str, ...]] = ()
    takes_mask: ClassVar[bool] = False
    arguments: ClassVar[tuple[str, ...]] = ("inputs",)
    takes_arguments: ClassVar[bool] = False
    is_function: ClassVar[bool] = False
    trains_by_default: ClassVar[bool] = False
    takes_strings: ClassVar[bool] = False
    floats_only: ClassVar[bool] = False
    casts: ClassVar[bool] = True
    mask: ClassVar[MaskRule] = "passes"
    kernels: ClassVar[tuple[str, ...]] = ()
    quantizations: ClassVar[tuple[str, ...]] = ()
    inert: ClassVar[frozenset[str]] = frozenset()
    last: ClassVar[str] = "keras3"
    examples: ClassVar[tuple[Example, ...]] = ()

    def variables(self, writer: Writer) -> Iterator[Variable]:
        """The layer's own variables, in the order in which Keras creates them."""
        return iter(())

    def mixes_rows(self) -> bool:
        """Whether what it gives for a row of the batch depends on the other rows, at inference too."""
        return False

    def children(self) -> Iterator[tuple[str, str, LayerConfig]]:
        """Wrapped layers: their label below this one, their attribute in path stores, their config."""
        activation = getattr(self, "activation", None)
        if isinstance(activation, LayerConfig):
            yield "activation", "activation", activation

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        """What this layer must find in the file."""
        return Need(
            name=config.name,
            class_name=config.class_name,
            id=config.id,
            trainable=config.trainable,
            variables=as_stored(self.kernels, config, tuple(self.variables(writer))),
            children=tuple(
                msgspec.structs.replace(
                    need_of(c, writer), name=part, attribute=attribute, optional=part == "activation"
                )
                for part, attribute, c in self.children()
            ),
        )

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        """Emit modules and calls; give the output Value (or a list of them).

        `x` is what the layer is called on: a Value, or a list of them; `kwargs` are the call's keyword arguments.
        """
        raise refusal("unsupported-graph", f"a {b.layer.class_name} that stands as a layer of its own")


LAYERS: dict[str, type[Layer]] = {}
OPERATIONS: dict[str, type[Layer]] = {}

L = TypeVar("L", bound=type[Layer])


def declares(*names: str, table: dict[str, type[Layer]] = LAYERS) -> Callable[[L], L]:
    """Register a declaration for the Keras class names that it answers to."""

    def register(cls: L) -> L:
        cls.names = names
        for name in names:
            if name in table:
                raise ValueError(f"{name} is declared twice")
            table[name] = cls
        return cls

    return register


def is_foreign(config: LayerConfig) -> bool:
    """A class of somebody else's, whatever it is called."""
    registered, module = config.registered_name or "", config.module
    return ">" in registered or bool(
        module and module.split(".")[0] not in ("keras", "tf_keras", "tensorflow", "builtins")
    )


def declaration(config: LayerConfig) -> type[Layer]:
    """The class that declares this layer; refused by name if there is none."""
    table = OPERATIONS if config.is_operation else LAYERS
    cls = table.get(config.class_name)
    if config.class_name == "Lambda" and not is_foreign(config):
        raise refusal(
            "lambda",
            f"the Lambda layer {config.name!r} holds Python code, which is never executed or guessed",
            layer=config.place,
            remedy=f'register a replacement by the layer\'s name: @h5port.register("{config.name}")',
        )
    refused = REFUSED_OPERATIONS if config.is_operation else REFUSED
    if config.class_name in refused and not is_foreign(config):
        raise refusal(
            "unsupported-layer",
            f"{config.class_name} (of {config.name!r}): {refused[config.class_name]}",
            layer=config.place,
            remedy=f'register a replacement: @h5port.register("{config.class_name}"), or --partial to convert the rest',
        )
    if cls is None or is_foreign(config):
        kind = "operation" if config.is_operation else "layer"
        name = config.registered_name if is_foreign(config) and config.registered_name else config.class_name
        raise refusal(
            "unknown-layer",
            f"the {kind} class {name} (of {config.name!r}) is "
            + ("not one of Keras' own" if is_foreign(config) else "not supported"),
            layer=config.place,
            remedy=f'register a replacement: @h5port.register("{config.class_name}"), or --partial to convert the rest',
        )
    return cls


@functools.cache
def _fields(cls: type[Layer]) -> dict[str, msgspec.structs.FieldInfo]:
    """The options of a declaration under the names that they have in a config."""
    return {f.encode_name: f for f in msgspec.structs.fields(cls)}


def decode(config: LayerConfig, writer: Writer) -> Layer:
    """The layer's options, checked. Raises H5PortError naming every option or value that is not known."""
    cls = declaration(config)
    fields = _fields(cls)
    problems = [
        Problem(
            code="unknown-option",
            message=f"{config.class_name} has an option {key!r} (= {value!r}) that h5port does not know",
            layer=config.place,
            remedy="it may change the numbers: report it with the file's Keras version",
        )
        for key, value in config.options.items()
        if key not in fields and key not in cls.inert and not upgrade.is_inert(key)
    ]
    options = {k: v for k, v in config.options.items() if k in fields}
    for option in fields.keys() - options.keys():
        if (config.class_name, option) in DEFAULTS:
            options[option] = writer.default(config.class_name, option)
    if config.quantization is not None and family_of(config.quantization) not in cls.quantizations:
        exact = ", ".join(cls.quantizations)
        problems.append(
            Problem(
                code="unsupported-option",
                message=f"{config.class_name} is quantised ({config.quantization}), which "
                + (f"is exact here in {exact} alone" if exact else "has no exact form here"),
                layer=config.place,
                remedy="save the model in Keras before it is quantised",
            )
        )
    if problems:
        raise H5PortError(problems)
    try:
        return msgspec.convert(options, cls)
    except msgspec.ValidationError as error:
        raise refusal(
            "unsupported-option",
            f"an option of {config.class_name} has a value that h5port does not know: {error}",
            layer=config.place,
        ) from None


def is_replaced(config: LayerConfig, custom: Container[str]) -> bool:
    """Whether the user has a replacement for this layer, by its name or its class."""
    return config.name in custom or config.class_name in custom


def need_of(config: LayerConfig, writer: Writer, custom: Container[str] = ()) -> Need:
    """What a layer or a nested model must find in the file; a class that is not known takes what is there."""
    own = Need(name=config.name, class_name=config.class_name, id=config.id, trainable=config.trainable)
    if is_replaced(config, custom):
        return msgspec.structs.replace(own, opaque=True)
    if config.model is not None:
        children = tuple(
            msgspec.structs.replace(need_of(c, writer, custom), name=n, branch_of=c.branch_of)
            for n, c in config.model.layers.items()
        )
        class_name = "Functional" if config.class_name == "Graph" else config.class_name
        return msgspec.structs.replace(
            own, kind="model", class_name=class_name, children=children, is_in_order=config.model.is_in_order
        )
    if config.is_operation:
        return msgspec.structs.replace(own, kind="operation")
    try:
        return decode(config, writer).need(config, writer)
    except H5PortError:  # lowering reports it
        return msgspec.structs.replace(own, opaque=config.class_name != "InputLayer")
