"""EinsumDense: a linear map by an equation of letters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.layers import activations, quantization
from h5port.layers.base import ActivationSpec, Layer, declares, example
from h5port.layers.builder import Builder, Tensor, Value
from h5port.layers.spatial import with_vector
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer

Sizes = dict[str, int | None]

_EQUATION = re.compile(
    r"(?P<left>\.\.\.)?(?P<input>[a-zA-Z]+)(?P<right>\.\.\.)?,(?P<kernel>[a-zA-Z]+)->"
    r"(?(left)\.\.\.)(?P<output>[a-zA-Z]+)(?(right)\.\.\.)"
)


@declares("EinsumDense")
class EinsumDense(Layer, frozen=True, kw_only=True):
    """keras/src/layers/core/einsum_dense.py of Keras 3.15 (`_analyze_einsum_string`).

    `output_shape` has the sizes of the last letters of the output, None where they are the input's.
    """

    equation: str
    output_shape: list[int | None] | int
    activation: ActivationSpec = None
    bias_axes: str | None = None
    mask = "stops"
    kernels = ("kernel",)
    quantizations = ("int8",)
    inert = frozenset({"gptq_unpacked_column_size"})
    examples = (
        example(equation="abc,cd->abd", output_shape=[None, 5], bias_axes="d", weights=((4, 5), (5,))),
        example(equation="...x,xy->...y", output_shape=5, bias_axes="y", activation="relu", weights=((4, 5), (5,))),
        example(
            on=((7, 6, 4),), equation="ab...,bc->ac...", output_shape=5, bias_axes="c", weights=((7, 5), (5, 1, 1))
        ),
        example(equation="abc,cde->abde", output_shape=[None, 2, 3], bias_axes="de", weights=((4, 2, 3), (2, 3))),
        example(equation="abc,cd->adb", output_shape=[5, None], bias_axes="d", weights=((4, 5), (5, 1))),
        example(equation="abc,bc->ac", output_shape=[4], weights=((7, 4),)),
    )

    def _parts(self) -> tuple[str, str, str, re.Match[str]]:
        """The letters of input, kernel and output; refused if Keras itself would not take them."""
        match = _EQUATION.fullmatch(self.equation.replace(" ", ""))
        if match is None or (match["left"] and match["right"]):
            raise refusal("unsupported-option", f"EinsumDense with the equation {self.equation!r}")
        letters = match["input"], match["kernel"], match["output"]
        unknown = set(letters[1]) - set(letters[0] + letters[2]) or set(letters[2]) - set(letters[0] + letters[1])
        if unknown or any(len(set(part)) < len(part) for part in letters):
            raise refusal("unsupported-option", f"EinsumDense with the equation {self.equation!r}")
        return (*letters, match)

    def _told(self) -> Sizes:
        """The sizes of the output's letters that `output_shape` tells."""
        shape = [self.output_shape] if isinstance(self.output_shape, int) else self.output_shape
        output = self._parts()[2]
        return dict(zip(reversed(output), reversed(shape), strict=False))

    def variables(self, writer: Writer) -> Iterator[Variable]:
        told = self._told()
        yield Variable("kernel", tuple(told.get(letter) for letter in self._parts()[1]))
        if self.bias_axes is not None:
            yield Variable("bias")

    def _shapes(self, x: Value) -> tuple[Shape, Shape, Shape]:
        """The shapes of the kernel, of the bias and of the output."""
        inputs, kernel, output, match = self._parts()
        shape = x.known_shape
        elided = len(shape) - len(inputs)
        if elided < 0 or (elided > 0 and not (match["left"] or match["right"])):
            raise refusal("shape-mismatch", f"the equation {self.equation} on an input of {len(shape)} axes")
        told = self._told()
        if len(told) != len(output) - (0 if match["left"] and elided else 1):
            raise refusal("unsupported-option", f"output_shape {self.output_shape} of the equation {self.equation}")
        rest = shape[:elided] if match["left"] else shape[len(inputs) :]
        given = shape[elided:] if match["left"] else shape[: len(inputs)]
        sizes: Sizes = dict(zip(inputs, given, strict=True))
        for letter, size in told.items():
            if size is not None and sizes.get(letter) not in (None, size):
                raise refusal("shape-mismatch", f"the size of {letter!r} is {sizes[letter]} in the input, not {size}")
            sizes[letter] = size if size is not None else sizes.get(letter)
        biased = output[min((output.index(a) for a in self.bias_axes), default=0) :] if self.bias_axes else ""
        bias = tuple(sizes[a] if a in (self.bias_axes or "") else 1 for a in biased)
        own = tuple(sizes.get(a) for a in output)
        if match["left"]:
            return tuple(sizes.get(a) for a in kernel), bias, (*rest, *own)
        return tuple(sizes.get(a) for a in kernel), bias + (1,) * elided, (*own, *rest)

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        inputs, letters, output, _ = self._parts()
        if not set(self.bias_axes or "") <= set(output):
            raise refusal("unsupported-option", f"bias_axes {self.bias_axes!r} of the equation {self.equation}")
        kernel_shape, bias_shape, shape = self._shapes(x)
        kernel = self._kernel(b, kernel_shape, len(shape))
        bias = b.stored("bias", bias_shape) if self.bias_axes is not None else None
        a_linear_map = letters == inputs[-1] + output[-1] and output[:-1] == inputs[:-1]
        if a_linear_map and self.equation.find("...") <= 0 and self.bias_axes in (None, output[-1]):
            module = b.module(
                "Linear", in_features=kernel.shape[0], out_features=kernel.shape[1], bias=bias is not None
            )
            module.tensor("weight", kernel.transpose(1, 0))
        else:
            module = b.module(
                "EinsumDense",
                why="torch.nn has no module for an equation",
                equation=self.equation,
                weight_shape=list(kernel.shape),
                bias_shape=None if bias is None else list(bias.shape),
            )
            module.tensor("weight", kernel)
        if bias is not None:
            module.tensor("bias", bias)
        summed = [i - x.rank for i, letter in self._placed(inputs, x.rank) if letter not in output]
        y = module(quantization.rounded_input(b, x, summed), shape=shape)
        if bias is not None:
            y = with_vector(b, y, y.known_shape, bias.shape)
        return activations.use(b, self.activation, y)

    def _placed(self, letters: str, rank: int) -> list[tuple[int, str]]:
        """The letters of the input or the output, each with its axis among `rank`."""
        first = rank - len(letters) if self._parts()[3]["left"] else 0
        return [(first + i, letter) for i, letter in enumerate(letters)]

    def _kernel(self, b: Builder, shape: Shape, rank: int) -> Tensor:
        """The stored kernel. The scales of int8 lie as the output's axes do (`_analyze_quantization_info`)."""
        _, kernel, output, _ = self._parts()
        if b.layer.quantization is None:
            return b.stored("kernel", shape)
        if set(output) <= set(self._parts()[0]):
            raise refusal(
                "unsupported-option", f"{self.equation} in int8: Keras itself misplaces the scales of its input"
            )
        scales = b.array("kernel_scale").shape
        at = {letter: i - rank + len(scales) for i, letter in self._placed(output, rank)}
        order = [at[letter] for letter in kernel if letter in output]
        if min(order, default=0) < 0 or set(order) - set(range(len(scales))):
            raise refusal("shape-mismatch", f"the scales {list(scales)} of the equation {self.equation}")
        axes = (*order, *(i for i in range(len(scales)) if i not in order))
        sizes = tuple(scales[at[letter]] if letter in output else 1 for letter in kernel)
        return quantization.kernel(b, "kernel", shape, axis=0, layout=(axes, sizes))
