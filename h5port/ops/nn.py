"""Operations of networks: activations, codes of classes, normalisations, attention.

keras/src/ops/nn.py and keras/src/backend/tensorflow/nn.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers import activations
from h5port.layers.activations import NAMES, Function
from h5port.layers.base import Example, example
from h5port.layers.builder import Builder, Value
from h5port.ops import dtypes
from h5port.ops.linalg import norm
from h5port.ops.operation import (
    Operation,
    axes_of,
    axis_of,
    broadcast_shape,
    computed_in,
    declare,
    floats,
    operation,
    reduced,
    tensors,
)

EPSILON = 1e-7  # keras.config.epsilon(), which no file tells

# ---- activations


class Activation(Operation, frozen=True, kw_only=True):
    """A function of one tensor of floats."""

    examples: ClassVar[tuple[Example, ...]] = (example(on=((5, 4),)),)

    def function(self, x: Value) -> Function | None:
        raise NotImplementedError

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        return activations.apply(b, self.function(x), x).with_mask(None)


class Plain(Activation, frozen=True, kw_only=True):
    """One without options: what the layer option of that name means."""

    keras_name: ClassVar[str]

    def function(self, x: Value) -> Function | None:
        return NAMES[self.keras_name]


_PLAIN = {
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "SparseSigmoid": "sparse_sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "SparsePlus": "sparse_plus",
    "Silu": "silu",
    "LogSigmoid": "log_sigmoid",
    "HardSilu": "hard_silu",
    "Selu": "selu",
    "TanhShrink": "tanh_shrink",
    "HardTanh": "hard_tanh",
}
for _operation, _name in _PLAIN.items():
    declare(_operation, Plain, keras_name=_name)


@operation("Relu")
class Relu(Operation, frozen=True, kw_only=True):
    examples = (example(on=((5, 4),)), example(on=((5, 4),), dtype="int32"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return b.call("relu", x, shape=x.shape)


@operation("HardSigmoid")
class HardSigmoid(Activation, frozen=True, kw_only=True):
    def function(self, x: Value) -> Function:
        return Function("hard_sigmoid")


@operation("LeakyRelu")
class LeakyRelu(Activation, frozen=True, kw_only=True):
    negative_slope: float = 0.2
    examples = (example(on=((5, 4),)), example(on=((5, 4),), negative_slope=0.4))

    def function(self, x: Value) -> Function:
        return Function("leaky_relu", {"negative_slope": self.negative_slope})


class WithAlpha(Activation, frozen=True, kw_only=True):
    alpha: float = 1.0
    keras_name: ClassVar[str]
    examples = (example(on=((5, 4),)), example(on=((5, 4),), alpha=0.4))

    def function(self, x: Value) -> Function:
        return Function(self.keras_name, {"alpha": self.alpha})


declare("Elu", WithAlpha, keras_name="elu")
declare("Celu", WithAlpha, keras_name="celu")


@operation("Gelu")
class Gelu(Activation, frozen=True, kw_only=True):
    approximate: bool = True
    examples = (example(on=((5, 4),)), example(on=((5, 4),), approximate=False))

    def function(self, x: Value) -> Function:
        return Function("gelu_tanh" if self.approximate else "gelu")


@operation("Squareplus")
class Squareplus(Activation, frozen=True, kw_only=True):
    b: float = 4
    examples = (example(on=((5, 4),)), example(on=((5, 4),), b=1.5))

    def function(self, x: Value) -> Function:
        return Function("squareplus", {"b": self.b})


class Shrink(Activation, frozen=True, kw_only=True):
    threshold: float = 0.5
    keras_name: ClassVar[str]
    examples = (example(on=((5, 4),)), example(on=((5, 4),), threshold=0.2))

    def function(self, x: Value) -> Function:
        return Function(self.keras_name, {"lambd": self.threshold})


declare("SoftShrink", Shrink, keras_name="soft_shrink")
declare("HardShrink", Shrink, keras_name="hard_shrink")


@operation("Threshold")
class Threshold(Activation, frozen=True, kw_only=True):
    threshold: float
    default_value: float
    examples = (example(on=((5, 4),), threshold=0.2, default_value=-3.0),)

    def function(self, x: Value) -> Function:
        return Function("value_below", {"threshold": self.threshold, "value": self.default_value})


@operation("Glu")
class Glu(Operation, frozen=True, kw_only=True):
    axis: int = -1
    examples = (example(on=((6, 4),)), example(on=((6, 4),), axis=1))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        axis = axis_of(self.axis, x.rank)
        shape = tuple(n // 2 if i == axis and n is not None else n for i, n in enumerate(x.known_shape))
        return b.call("glu", x, shape=shape, dim=axis)


class Softmaxes(Activation, frozen=True, kw_only=True):
    """Over one axis, over several together, or (None) over all of them."""

    axis: int | list[int] | None = -1
    keras_name: ClassVar[str]
    examples = tuple(example(on=((5, 4),), axis=axis) for axis in (-1, 1, None))

    def function(self, x: Value) -> Function:
        axes = axes_of(self.axis, x.rank)
        if len(axes) == 1:
            return Function(self.keras_name, {"dim": axes[0]})
        return Function(f"{self.keras_name}_axes", {"dims": axes})


declare("Softmax", Softmaxes, keras_name="softmax")
declare("LogSoftmax", Softmaxes, keras_name="log_softmax")


@operation("Sparsemax")
class Sparsemax(Activation, frozen=True, kw_only=True):
    axis: int = -1
    examples = (example(on=((5, 4),)), example(on=((5, 4),), axis=1))

    def function(self, x: Value) -> Function:
        return Function("sparsemax", {"dim": axis_of(self.axis, x.rank)})


# ---- codes of classes


def one_hot(b: Builder, x: Value, classes: int, axis: int, dtype: str) -> Value:
    """Keras' `axis` is that of the classes in the result; an id that is none of them gives zeros."""
    axis = axis_of(axis, x.rank + 1)
    x = b.cast(x, "int64")
    shape = (*x.known_shape[:axis], classes, *x.known_shape[axis:])
    return b.emit("one_hot_along", x, shape=shape, dtype=dtype, args={"depth": classes, "dim": axis, "dtype": dtype})


@operation("OneHot")
class OneHot(Operation, frozen=True, kw_only=True):
    num_classes: int
    axis: int = -1
    dtype: str | None = None
    sparse: Literal[False] = False
    examples = (
        example(on=((5,),), dtype="int32", num_classes=3),
        example(on=((5,),), dtype="int32", gives="int32", num_classes=2, axis=1),
        example(on=((5,),), dtype="int32", gives="bool", num_classes=3, axis=0),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return one_hot(b, x, self.num_classes, self.axis, computed_in(b, self.dtype or dtypes.FLOATX))


@operation("MultiHot")
class MultiHot(Operation, frozen=True, kw_only=True):
    """Which classes are among the ids: the axis behind the batch is joined."""

    num_classes: int
    axis: int = -1
    dtype: str | None = None
    sparse: Literal[False] = False
    examples = (
        example(on=((5,),), dtype="int32", num_classes=3),
        example(on=((5, 2),), dtype="int32", gives="int32", num_classes=3),
        example(on=((5,),), dtype="int32", gives="bool", num_classes=3),
    )

    def apply(self, b: Builder, inputs: Any) -> Value:
        (x,) = tensors(b, inputs)
        dtype = computed_in(b, self.dtype or dtypes.FLOATX)
        codes = one_hot(b, x, self.num_classes, self.axis, dtype)
        axis = 1 if x.rank > 1 else 0
        shape = reduced(codes, [axis], False)
        if dtype == "bool":
            return b.call("any_over", codes, shape=shape, dim=[axis], keepdim=False)
        return b.call("max_over", codes, shape=shape, dim=axis, keepdim=False)


# ---- normalisations

_ANY = [0.5, -1.0, 2.0, 0.25]
_POSITIVE = [0.5, 1.0, 2.0, 0.25]


@operation("Moments")
class Moments(Operation, frozen=True, kw_only=True):
    axes: int | list[int]
    keepdims: bool = False
    synchronized: bool = False
    inert = frozenset({"synchronized"})  # of replicas in training
    examples = (example(on=((5, 4),), axes=[1]), example(on=((5, 4),), axes=[0, 2], keepdims=True))

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = floats(b, x)
        axes = axes_of(self.axes, x.rank)
        shape = reduced(x, axes, self.keepdims)
        return [b.call(f, x, shape=shape, dim=axes, keepdim=self.keepdims) for f in ("mean_over", "spread_over")]


@operation("BatchNorm")
class BatchNorm(Operation, frozen=True, kw_only=True):
    axis: int
    epsilon: float = 1e-3
    examples = (
        example(on=((5, 4),), args=["x0", _ANY, _POSITIVE, None, None], axis=-1),
        example(on=((4, 5),), args=["x0", _ANY, _POSITIVE, _ANY, _POSITIVE], axis=1, epsilon=0.1),
    )

    def apply(self, b: Builder, x: Any, mean: Any, variance: Any, offset: Any = None, scale: Any = None) -> Value:
        given = [g for g in (x, mean, variance, offset, scale) if g is not None]
        x, mean, variance, *rest = floats(b, *given)
        offset = rest.pop(0) if offset is not None else None
        scale = rest.pop(0) if scale is not None else None
        args: dict[str, Any] = {"dim": axis_of(self.axis, x.rank), "epsilon": self.epsilon}
        return b.call("batch_normalize", x, mean, variance, offset, scale, shape=x.shape, **args)


@operation("LayerNorm")
class LayerNorm(Operation, frozen=True, kw_only=True):
    axis: int | list[int] = -1
    epsilon: float | None = None
    rms_scaling: bool = False
    examples = (
        example(on=((5, 4),), args=["x0", None, None]),
        example(on=((5, 4),), args=["x0", _ANY, _ANY], epsilon=0.1),
        example(on=((4, 3),), args=["x0", _ANY, _ANY], axis=1),
        example(on=((5, 4),), args=["x0", _ANY, None], rms_scaling=True),
    )

    def apply(self, b: Builder, x: Any, gamma: Any = None, beta: Any = None) -> Value:
        x, *rest = floats(b, *(g for g in (x, gamma, beta) if g is not None))
        gamma = rest.pop(0) if gamma is not None else None
        beta = rest.pop(0) if beta is not None and not self.rms_scaling else None
        axes = sorted(axes_of(self.axis, x.rank))
        args: dict[str, Any] = {"dims": axes, "epsilon": EPSILON if self.epsilon is None else self.epsilon}
        function = "variance_normalize" if self.rms_scaling else "layer_normalize"
        return b.call(function, x, gamma, *([] if self.rms_scaling else [beta]), shape=x.shape, **args)


@operation("RMSNorm")
class RMSNorm(Operation, frozen=True, kw_only=True):
    axis: int | list[int] = -1
    epsilon: float | None = None
    examples = (
        example(on=((5, 4),), args=["x0", None]),
        example(on=((5, 4),), args=["x0", _ANY], epsilon=0.1),
        example(on=((5, 4),), args=["x0", None], axis=[1, 2]),
    )

    def apply(self, b: Builder, x: Any, scale: Any = None) -> Value:
        x, *rest = floats(b, *(g for g in (x, scale) if g is not None))
        args: dict[str, Any] = {
            "dims": axes_of(self.axis, x.rank),
            "epsilon": EPSILON if self.epsilon is None else self.epsilon,
        }
        return b.call("rms_normalize", x, *rest, shape=broadcast_shape(x, *rest), **args)


@operation("Normalize")
class Normalize(Operation, frozen=True, kw_only=True):
    axis: int | list[int] | None = -1
    order: int = 2
    epsilon: float | None = None
    examples = (
        example(on=((5, 4),)),
        example(on=((5, 4),), axis=[1, 2], epsilon=4.0),
        example(on=((5, 4),), axis=1, order=1),
        example(on=((5, 4),), order=3),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        if self.order < 1:
            raise refusal("bad-config", f"ops.normalize of the order {self.order}")
        epsilon = EPSILON if self.epsilon is None else self.epsilon
        if self.order == 2:
            return b.call("unit_length", x, shape=x.shape, dim=axes_of(self.axis, x.rank), most=1 / epsilon)
        lengths = norm(b, x, self.order, self.axis, keepdims=True)
        return b.call("divide_at_least", x, lengths, shape=x.shape, least=epsilon)


# ---- others


@operation("PSNR")
class PSNR(Operation, frozen=True, kw_only=True):
    """The ratio of the peak signal to the noise, in decibel, over all of both tensors."""

    max_val: float
    examples = (example(on=((5, 4), (5, 4)), max_val=2.0),)

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two = floats(b, x1, x2)
        return b.call("peak_to_noise", one, two, shape=(), peak=self.max_val)


_HEADS = ((5, 2, 4), (6, 2, 4), (6, 2, 4))


@operation("DotProductAttention")
class DotProductAttention(Operation, frozen=True, kw_only=True):
    """(N, T, heads, size) on keys and values (N, S, key heads, size); a mask of booleans, a bias that is added."""

    is_causal: bool = False
    flash_attention: bool | None = None
    attn_logits_soft_cap: None = None
    inert = frozenset({"flash_attention"})  # another way to the same numbers
    examples = (
        example(on=_HEADS),
        example(on=_HEADS, is_causal=True),
        example(on=((5, 4, 3), (6, 2, 3), (6, 2, 3))),
        example(on=(*_HEADS, (2, 5, 6)), args=["x0", "x1", "x2", "x3", None, 0.3]),
        example(on=(*_HEADS, (1, 5, 6)), dtype=("float32",) * 3 + ("bool",), args=["x0", "x1", "x2", None, "x3"]),
    )

    def apply(
        self, b: Builder, query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None
    ) -> Value:
        query, key, value = floats(b, query, key, value)
        dtype = dtypes.result_type(query.dtype, key.dtype, value.dtype)
        if query.rank != 4 or not (scale is None or isinstance(scale, int | float)):
            raise refusal("unsupported-graph", "attention on other than four axes, or with a tensor as scale")
        heads, kept = query.known_shape[2], key.known_shape[2]
        if heads is None or kept is None:
            raise refusal("unsupported-graph", "attention whose number of heads is not in the file")
        given = [b.cast(v, dtype) for v in (query, key, value)]
        bias, mask = (None if o is None else tensors(b, o, query)[0] for o in (bias, mask))
        bias = None if bias is None else b.cast(bias, dtype)
        if mask is not None and mask.dtype != "bool":
            raise refusal("unsupported-graph", f"attention with a mask of the type {mask.dtype}")
        repeats = heads // kept if heads > kept > 1 else 1
        shape = (*query.known_shape[:3], value.dim(3))
        args: dict[str, Any] = {"scale": scale, "causal": self.is_causal, "repeats": repeats}
        return b.call("attend_by_heads", *given, bias, mask, shape=shape, dtype=dtype, **args)
