"""Activations with weights: PReLU, and Keras 1's ParametricSoftplus and SReLU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.core import has_short_names
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


def _shape(x: Value, shared: list[int]) -> Shape | None:
    """The shape of the weights: the input's without the batch, 1 on shared axes; any where it is not known."""
    return None if x.shape is None else tuple(1 if i in shared else x.dim(i) for i in range(1, x.rank))


@declares("PReLU")
class PReLU(Layer, frozen=True, kw_only=True):
    shared_axes: list[int] | None = None
    examples = (example(), example(shared_axes=[1]))

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable("alphas" if has_short_names(writer) else "alpha")

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        name = next(self.variables(b.writer)).name
        shared = self.shared_axes or []
        if name == "alphas":  # Keras 1 does not write shared_axes: the array shows them
            shared = [i + 1 for i, n in enumerate(b.array(name).shape) if n == 1]
        alpha = b.stored(name, _shape(x, shared))
        module = b.module(
            "ShapedPReLU", shape=list(alpha.shape), why="torch.nn.PReLU has one slope, or one for each channel"
        )
        module.tensor("weight", alpha)
        return module(x, shape=x.shape)


@declares("ParametricSoftplus")
class ParametricSoftplus(Layer, frozen=True, kw_only=True):
    """softplus(beta * x) * alpha."""

    last = "keras1"

    alpha_init: float = 0.2
    beta_init: float = 5.0
    shared_axes: list[int] | None = None
    examples = (example(),)

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable("alphas")
        yield Variable("betas")

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        shape = _shape(x, self.shared_axes or [])
        alphas, betas = b.stored("alphas", shape), b.stored("betas", shape)
        module = b.module("ParametricSoftplus", shape=list(alphas.shape), why="torch has no such module")
        module.tensor("alpha", alphas)
        module.tensor("beta", betas)
        return module(x, shape=x.shape)


@declares("SReLU")
class SReLU(Layer, frozen=True, kw_only=True):
    """Linear in the middle, with other slopes below t_left and above t_left + |t_right|."""

    last = "keras1"

    shared_axes: list[int] | None = None
    inert = frozenset("t_left_init a_left_init t_right_init a_right_init".split())
    examples = (example(),)

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield from (Variable(n) for n in ("t_left", "a_left", "t_right", "a_right"))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        shape = _shape(x, self.shared_axes or [])
        module = b.module(
            "SReLU",
            shape=list(b.stored("t_left", shape).shape),
            cap_below=b.rule("relu_ceiling") == "min",
            why="torch has no such module",
        )
        for name in ("t_left", "a_left", "t_right", "a_right"):
            module.tensor(name, b.stored(name, shape))
        return module(x, shape=x.shape)
