"""Dense and its kin, Embedding, Masking, dropout and noise, and the layers that only move elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers import activations, quantization
from h5port.layers.base import ActivationSpec, Layer, declares, example
from h5port.layers.builder import Builder, Module, Value
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


def has_short_names(writer: Writer) -> bool:
    """Whether this Keras calls its variables W and b."""
    return bool(writer.rule("variable_names") == "short")


def kernel_name(writer: Writer) -> str:
    return "W" if has_short_names(writer) else "kernel"


def bias_name(writer: Writer) -> str:
    return "b" if has_short_names(writer) else "bias"


@declares("Dense", "TimeDistributedDense")
class Dense(Layer, frozen=True, kw_only=True):
    units: int
    activation: ActivationSpec = "linear"
    use_bias: bool = True
    mask = "own"
    kernels = ("kernel",)
    quantizations = ("int8", "int4", "float8")
    examples = (example(units=5), example(units=3, activation="relu", use_bias=False))

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable(kernel_name(writer), (None, self.units))
        if self.use_bias:
            yield Variable(bias_name(writer), (self.units,))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        if x.mask is not None and b.layer.class_name == "Dense" and b.rule("dense_mask") == "refuse":
            raise refusal("unsupported-graph", f"a Dense layer behind a mask: {b.writer} itself refuses this model")
        kernel = quantization.kernel(b, kernel_name(b.writer), (x.dim(-1), self.units), axis=1)
        linear = self._module(b, kernel.shape[0])
        linear.tensor("weight", kernel.transpose(1, 0))
        if self.use_bias:
            linear.tensor("bias", b.stored(bias_name(b.writer), (self.units,)))
        shape = None if x.shape is None else (*x.shape[:-1], self.units)
        y = linear(quantization.rounded_input(b, x), shape=shape).with_mask(x.mask)
        return activations.use(b, self.activation, y)

    def _module(self, b: Builder, inputs: int) -> Module:
        sizes: dict[str, Any] = {"in_features": inputs, "out_features": self.units, "bias": self.use_bias}
        if b.layer.quantization != "float8":
            return b.module("Linear", **sizes)
        linear = b.module("Float8Linear", why="inputs and weights are rounded to float8 at each call", **sizes)
        for name in quantization.FLOAT8:
            if name in ("inputs_scale", "kernel_scale"):
                linear.tensor(name, b.stored(name, ()), trainable=False)
            else:
                b.drop(name, "only training uses it")
        return linear


@declares("MaxoutDense")
class MaxoutDense(Layer, frozen=True, kw_only=True):
    """Keras 1: the maximum of `nb_feature` linear maps. W (nb_feature, in, units), b (nb_feature, units)."""

    last = "keras1"

    units: int
    nb_feature: int = 4
    use_bias: bool = True
    examples = (example(on=((4,),), units=3, nb_feature=2),)

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable("W", (self.nb_feature, None, self.units))
        if self.use_bias:
            yield Variable("b", (self.nb_feature, self.units))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        kernel = b.stored("W", (self.nb_feature, x.dim(-1), self.units))
        inputs = kernel.shape[1]
        linear = b.module("Linear", in_features=inputs, out_features=self.nb_feature * self.units, bias=self.use_bias)
        linear.tensor("weight", kernel.transpose(0, 2, 1).reshape(self.nb_feature * self.units, inputs))
        if self.use_bias:
            linear.tensor("bias", b.stored("b").reshape(self.nb_feature * self.units))
        wide = linear(x, shape=(x.dim(0), self.nb_feature * self.units))
        return b.call("max_of_blocks", wide, shape=(x.dim(0), self.units), blocks=self.nb_feature)


@declares("Highway")
class Highway(Layer, frozen=True, kw_only=True):
    """Keras 1: t * act(x W + b) + (1 - t) * x with t = sigmoid(x W_carry + b_carry)."""

    last = "keras1"

    activation: ActivationSpec = "linear"
    use_bias: bool = True
    examples = (example(on=((4,),), activation="tanh"),)

    def variables(self, writer: Writer) -> Iterator[Variable]:
        weights = [Variable("W", (None, None)), Variable("W_carry", (None, None))]
        biases = [Variable("b", (None,)), Variable("b_carry", (None,))] if self.use_bias else []
        if writer.rule("highway_variables") == "pairs":
            return iter([v for pair in zip(weights, biases, strict=False) for v in pair] if biases else weights)
        return iter(weights + biases)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size = b.stored("W").shape[0]
        outs = []
        for suffix, end in (("", ""), ("carry", "_carry")):
            linear = b.module("Linear", suffix, in_features=size, out_features=size, bias=self.use_bias)
            linear.tensor("weight", b.stored(f"W{end}", (x.dim(-1), x.dim(-1))).transpose(1, 0))
            if self.use_bias:
                linear.tensor("bias", b.stored(f"b{end}"))
            outs.append(linear(x, shape=x.shape))
        changed = activations.use(b, self.activation, outs[0])
        gate = b.elementwise("sigmoid", outs[1])
        return b.call("highway", gate, changed, x, shape=x.shape)


def _table_name(writer: Writer) -> str:
    return "W" if has_short_names(writer) else "embeddings"


@declares("Embedding")
class Embedding(Layer, frozen=True, kw_only=True):
    input_dim: int
    output_dim: int
    mask_zero: bool = False
    mask = "own"
    kernels = ("embeddings",)
    quantizations: ClassVar[tuple[str, ...]] = ("int8", "int4")
    inert = frozenset({"weights", "sparse", "dropout"})
    examples = (
        example(on=((7,),), dtype="int32", input_dim=9, output_dim=4),
        example(on=((7,),), dtype="int32", input_dim=9, output_dim=4, mask_zero=True),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable(_table_name(writer), (self.input_dim, self.output_dim))

    def table(self, b: Builder) -> Module:
        table = b.module("Embedding", num_embeddings=self.input_dim, embedding_dim=self.output_dim)
        shape = (self.input_dim, self.output_dim)
        table.tensor("weight", quantization.kernel(b, _table_name(b.writer), shape, axis=0))
        return table

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        table = self.table(b)
        raw = b.program.before_cast(x)
        ids = b.call("cast", raw, shape=x.shape, dtype="int64", to="int64")
        y = table(ids, shape=None if x.shape is None else (*x.shape, self.output_dim), dtype=b.dtype)
        if self.mask_zero:
            y = y.with_mask(b.call("not_equal_to", raw, shape=x.shape, dtype="bool", name="mask", value=0))
        return y


@declares("Masking")
class Masking(Layer, frozen=True, kw_only=True):
    """A step is valid if any feature differs from the value; masked steps become 0.

    keras/src/layers/core/masking.py of Keras 3.15.
    """

    mask_value: float = 0.0
    mask = "own"
    examples = (example(), example(mask_value=2.0))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        mask = b.call("any_differs", x, shape=x.known_shape[:-1], dtype="bool", name="mask", value=self.mask_value)
        return b.call("zero_masked", x, mask, shape=x.shape).with_mask(mask)


@declares("InputLayer")
class InputLayer(Layer, frozen=True, kw_only=True):
    sparse: Literal[False] = False
    ragged: Literal[False] = False
    inert = frozenset({"batch_size", "type_spec", "optional"})

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        return x


def drop_out(b: Builder, x: Value, rate: float, kind: str = "Dropout") -> Value:
    """One of torch.nn's dropouts, which do nothing at inference."""
    if not 0 <= rate <= 1:
        raise refusal("unsupported-option", f"a dropout of {rate}, which is no share between 0 and 1")
    return b.module(kind, p=rate)(x, shape=x.shape)


@declares("Dropout")
class Dropout(Layer, frozen=True, kw_only=True):
    rate: float
    noise_shape: list[int | None] | None = None
    examples = (example(rate=0.3),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        if self.noise_shape is not None:
            b.note("training differs: the noise_shape of this Dropout is not reproduced")
        return drop_out(b, x, self.rate)


class SpatialDropout(Layer, frozen=True, kw_only=True):
    """Drops whole channels in training."""

    axes: ClassVar[int]
    rate: float
    noise_shape: list[int | None] | None = None
    data_format: Literal["channels_last", "channels_first"] | None = None

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        axis = 1 if self.data_format == "channels_first" else -1
        return channels_first(b, x, lambda v: drop_out(b, v, self.rate, f"Dropout{self.axes}d"), axis)


@declares("SpatialDropout1D")
class SpatialDropout1D(SpatialDropout, frozen=True, kw_only=True):
    axes = 1
    data_format: Literal["channels_last"] | None = None
    examples = (example(rate=0.3),)


@declares("SpatialDropout2D")
class SpatialDropout2D(SpatialDropout, frozen=True, kw_only=True):
    axes = 2
    examples = (
        example(on=((7, 6, 4),), rate=0.3),
        example(on=((4, 7, 6),), rate=0.3, data_format="channels_first"),
    )


@declares("SpatialDropout3D")
class SpatialDropout3D(SpatialDropout, frozen=True, kw_only=True):
    axes = 3
    examples = (example(on=((5, 7, 6, 4),), rate=0.3),)


@declares("GaussianNoise")
class GaussianNoise(Layer, frozen=True, kw_only=True):
    stddev: float
    examples = (example(stddev=0.3),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        return b.module("GaussianNoise", stddev=self.stddev)(x, shape=x.shape)


@declares("GaussianDropout")
class GaussianDropout(Layer, frozen=True, kw_only=True):
    rate: float
    examples = (example(rate=0.3),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        return b.module("GaussianDropout", rate=self.rate)(x, shape=x.shape)


@declares("AlphaDropout")
class AlphaDropout(Layer, frozen=True, kw_only=True):
    rate: float
    noise_shape: list[int | None] | None = None
    examples = (example(rate=0.3),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        return drop_out(b, x, self.rate, "AlphaDropout")


@declares("ActivityRegularization")
class ActivityRegularization(Layer, frozen=True, kw_only=True):
    l1: float = 0.0
    l2: float = 0.0
    examples = (example(l1=0.1),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        b.note("training differs: the penalty of this layer is not part of the module")
        return x


@declares("Identity")
class Identity(Layer, frozen=True, kw_only=True):
    mask = "own"
    examples = (example(),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        return x if b.rule("identity_mask") == "pass" else x.with_mask(None)


# ---- layers that only move elements


@declares("Flatten")
class Flatten(Layer, frozen=True, kw_only=True):
    data_format: str | None = None
    mask = "stops"
    examples = (example(), example(data_format="channels_first"))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        rest = x.known_shape[1:]
        if self.data_format == "channels_first" and len(rest) > 1:
            x = move_axis(b, x, 1, -1)
        if not rest:
            return b.call("unsqueeze", x, shape=(x.dim(0), 1), dim=-1)
        return b.call("flatten", x, shape=(x.dim(0), product(rest)))


@declares("Reshape")
class Reshape(Layer, frozen=True, kw_only=True):
    target_shape: list[int] | int
    mask = "stops"
    inert = frozenset({"input_shape"})
    examples = (example(on=((20,),), target_shape=[4, 5]), example(on=((20,),), target_shape=[-1, 2]))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        target = [self.target_shape] if isinstance(self.target_shape, int) else list(self.target_shape)
        return b.call("reshape", x, shape=(x.dim(0), *reshaped(x.shape, target)), dims=target)


def reshaped(shape: Shape | None, target: list[int]) -> Shape:
    """The target with its -1 worked out, where the sizes are known."""
    size = product(shape[1:]) if shape is not None else None
    rest = math.prod(n for n in target if n != -1)
    return tuple((None if size is None else size // max(rest, 1)) if n == -1 else n for n in target)


def product(sizes: Shape) -> int | None:
    return None if any(n is None for n in sizes) else math.prod(n for n in sizes if n is not None)


@declares("Permute")
class Permute(Layer, frozen=True, kw_only=True):
    dims: list[int]
    mask = "stops"
    examples = (example(dims=[2, 1]),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        axes = [0, *self.dims]
        return b.call("permute", x, shape=tuple(x.dim(a) for a in axes), dims=axes)


@declares("RepeatVector")
class RepeatVector(Layer, frozen=True, kw_only=True):
    n: int
    mask = "stops"
    examples = (example(on=((4,),), n=3),)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        return b.call("repeat_vector", x, shape=(x.dim(0), self.n, x.dim(-1)), n=self.n)


def move_axis(b: Builder, x: Value, source: int, to: int) -> Value:
    """`x` with one axis put at another place; the mask goes along unchanged."""
    shape = list(x.known_shape)
    size = shape.pop(source)
    shape.insert(to % x.rank, size)
    return b.call("movedim", x, shape=tuple(shape), source=source, to=to).with_mask(x.mask)


def channels_first(b: Builder, x: Value, inner: Callable[[Value], Value], axis: int = -1) -> Value:
    """`inner` applied with the channel axis at 1, where torch's own modules have it; then moved back."""
    if x.rank <= 2 or axis % x.rank == 1:
        return inner(x)
    y = inner(move_axis(b, x, axis % x.rank if axis >= 0 else axis, 1))
    return move_axis(b, y, 1, axis)
