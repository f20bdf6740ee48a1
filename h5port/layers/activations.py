"""Activation functions by name: what a name means, by the Keras that wrote it."""

from __future__ import annotations

from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.layers.base import ActivationSpec, Layer, declares, decode, example
from h5port.layers.builder import Builder, Value
from h5port.schema.graph import LayerConfig
from h5port.schema.writer import Writer


class Function(msgspec.Struct, frozen=True):
    """A function of `runtime/functions/` with its arguments."""

    name: str
    args: dict[str, Any] = {}

    def data(self) -> dict[str, Any]:
        return {"function": self.name, "args": self.args}


# Keras name -> function here (keras/src/activations/activations.py of Keras 3.15; names of older Kerases that
# differ in meaning go through a rule of the writer).
NAMES: dict[str, Function | None] = {
    "linear": None,
    "relu": Function("relu"),
    "relu6": Function("relu6"),
    "sigmoid": Function("sigmoid"),
    "tanh": Function("tanh"),
    "softmax": Function("softmax", {"dim": -1}),
    "log_softmax": Function("log_softmax", {"dim": -1}),
    "softplus": Function("softplus"),
    "softsign": Function("softsign"),
    "elu": Function("elu", {"alpha": 1.0}),
    "selu": Function("selu"),
    "celu": Function("celu", {"alpha": 1.0}),
    "gelu": Function("gelu"),
    "silu": Function("silu"),
    "swish": Function("silu"),
    "mish": Function("mish"),
    "exponential": Function("exp"),
    "leaky_relu": Function("leaky_relu", {"negative_slope": 0.2}),
    "hard_silu": Function("hard_silu"),
    "hard_swish": Function("hard_silu"),
    "hard_tanh": Function("hard_tanh"),
    "hard_shrink": Function("hard_shrink", {"lambd": 0.5}),
    "soft_shrink": Function("soft_shrink", {"lambd": 0.5}),
    "tanh_shrink": Function("tanh_shrink"),
    "log_sigmoid": Function("log_sigmoid"),
    "squareplus": Function("squareplus", {"b": 4.0}),
    "glu": Function("glu", {"dim": -1}),
    "sparse_plus": Function("sparse_plus"),
    "sparse_sigmoid": Function("sparse_sigmoid"),
    "sparsemax": Function("sparsemax", {"dim": -1}),
}


class ActivationLayer(Layer, frozen=True, kw_only=True):
    """A layer without variables that is one function of one tensor; it may also stand as an `activation`."""

    def function(self, writer: Writer) -> Function | None:
        """None: the identity."""
        raise NotImplementedError

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        function = self.function(b.writer)
        keeps = function is None or function.name == "relu"
        return apply(b, function, x if keeps else b.floating(x))


def resolve(spec: ActivationSpec, writer: Writer) -> Function | None:
    """The function that an `activation` option means; None for the identity."""
    if spec is None:
        return None
    if isinstance(spec, LayerConfig):
        layer = decode(spec, writer)
        if isinstance(layer, ActivationLayer):
            return layer.function(writer)
        raise refusal("unknown-activation", f"a {spec.class_name} layer as an activation", layer=spec.place)
    if isinstance(spec, dict):
        if spec.get("registered_name") and ">" in str(spec["registered_name"]):
            raise _unknown(spec["registered_name"])
        spec = spec.get("config") if isinstance(spec.get("config"), str) else spec.get("class_name")
    if not isinstance(spec, str):
        raise _unknown(spec)
    if spec == "hard_sigmoid":
        return Function(writer.rule("hard_sigmoid"))
    if spec not in NAMES:
        raise _unknown(spec)
    return NAMES[spec]


def _unknown(name: Any) -> Exception:
    return refusal(
        "unknown-activation",
        f"the activation {name!r} is not one of Keras' own: its code is not in the file",
        remedy="register a replacement for the layer, by its name",
    )


def use(b: Builder, spec: ActivationSpec, x: Value) -> Value:
    """Emit the `activation` option of a layer."""
    if isinstance(spec, LayerConfig) and not isinstance(decode(spec, b.writer), ActivationLayer):
        return _use_layer(b, spec, x)
    return apply(b, resolve(spec, b.writer), x)


def _use_layer(b: Builder, spec: LayerConfig, x: Value) -> Value:
    """A layer with weights as an activation. Keras writes none of them: it starts from the initializer again."""
    layer = decode(spec, b.writer)
    below = b.child(spec, "activation", "activation")
    if all(below.has(v.name) for v in layer.variables(b.writer)):
        y: Value = layer.lower(below, x)
        return y.with_mask(x.mask)
    start = _constant_start(spec.options.get("alpha_initializer"))
    if spec.class_name != "PReLU" or start is None:
        raise refusal(
            "missing-weights",
            f"the {spec.class_name} that is the activation has no weights in the file",
            layer=spec.place,
        )
    b.note(
        f"the weights of the {spec.class_name} that is its activation are not in the file: Keras starts them at {start}"
    )
    return apply(b, Function("leaky_relu", {"negative_slope": start}), x)


def _constant_start(initializer: Any) -> float | None:
    """The value with which a constant initializer fills an array; None for any other."""
    config = initializer.get("config") or {} if isinstance(initializer, dict) else {}
    name = initializer.get("class_name") if isinstance(initializer, dict) else initializer
    constants = {
        "Zeros": 0.0,
        "zeros": 0.0,
        "zero": 0.0,
        "Ones": 1.0,
        "ones": 1.0,
        "one": 1.0,
        "Constant": config.get("value"),
    }
    return constants.get(str(name))


def apply(b: Builder, function: Function | None, x: Value) -> Value:
    """Emit the function. Only glu changes the shape."""
    if function is None:
        return x
    if function.name == "glu":
        size = x.dim(-1)
        shape = None if x.shape is None else (*x.shape[:-1], None if size is None else size // 2)
        return b.call("glu", x, shape=shape, **function.args).with_mask(x.mask)
    return b.elementwise(function.name, x, **function.args)


@declares("Activation")
class Activation(ActivationLayer, frozen=True, kw_only=True):
    activation: ActivationSpec
    examples = (example(activation="relu"), example(activation="softmax"))

    def function(self, writer: Writer) -> Function | None:
        return resolve(self.activation, writer)


@declares("ReLU")
class ReLU(ActivationLayer, frozen=True, kw_only=True):
    max_value: float | None = None
    negative_slope: float | None = 0.0
    threshold: float | None = 0.0
    examples = (example(), example(max_value=2.0, negative_slope=0.3, threshold=0.5))

    def function(self, writer: Writer) -> Function | None:
        slope, threshold = self.negative_slope or 0.0, self.threshold or 0.0
        if self.max_value is None and threshold == 0.0:
            return Function("leaky_relu", {"negative_slope": slope}) if slope else Function("relu")
        return Function("keras_relu", {"negative_slope": slope, "max_value": self.max_value, "threshold": threshold})


@declares("LeakyReLU")
class LeakyReLU(ActivationLayer, frozen=True, kw_only=True):
    negative_slope: float = 0.3
    examples = (example(), example(negative_slope=0.1))

    def function(self, writer: Writer) -> Function | None:
        return Function("leaky_relu", {"negative_slope": self.negative_slope})


@declares("ELU")
class ELU(ActivationLayer, frozen=True, kw_only=True):
    alpha: float = 1.0
    examples = (example(), example(alpha=0.5))

    def function(self, writer: Writer) -> Function | None:
        return Function("elu", {"alpha": self.alpha})


@declares("ThresholdedReLU")
class ThresholdedReLU(ActivationLayer, frozen=True, kw_only=True):
    last = "tf.keras"
    theta: float = 1.0
    examples = (example(), example(theta=0.4))

    def function(self, writer: Writer) -> Function | None:
        return Function("threshold", {"theta": self.theta})


@declares("ThresholdedLinear")
class ThresholdedLinear(ActivationLayer, frozen=True, kw_only=True):
    """Keras 0.3: x where |x| > theta, else 0."""

    last = "keras0"

    theta: float = 1.0
    examples = (example(theta=0.4),)

    def function(self, writer: Writer) -> Function | None:
        return Function("threshold_magnitude", {"theta": self.theta})


@declares("Softmax")
class Softmax(ActivationLayer, frozen=True, kw_only=True):
    axis: int | list[int] = -1
    takes_mask = True
    examples = (example(), example(axis=1))

    def function(self, writer: Writer) -> Function | None:
        if isinstance(self.axis, list) and not self.axis:
            raise refusal("unsupported-option", "Softmax over no axis")
        if isinstance(self.axis, list):
            return (
                Function("softmax_axes", {"dims": self.axis})
                if len(self.axis) > 1
                else Function("softmax", {"dim": self.axis[0]})
            )
        return Function("softmax", {"dim": self.axis})

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        function = self.function(b.writer)
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        if x.shape is not None and any(a % x.rank == 0 for a in axes):
            raise refusal("unsupported-option", "Softmax over the batch: what a row gives depends on the other rows")
        if x.mask is None or function is None:
            return apply(b, function, x)
        match b.rule("softmax_mask"):
            case "ignore":
                return apply(b, function, x)
            case how:
                if x.mask.shape is not None and x.shape is not None and len(x.mask.shape) != len(x.shape):
                    raise refusal(
                        "unsupported-graph", "Softmax with a mask of fewer axes than its input: Keras itself fails here"
                    )
                return b.elementwise(f"masked_softmax_{how}", x, x.mask, dims=axes)
