"""ReversibleEmbedding: a table that is looked up, and in reverse gives a score to each of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.layers import quantization
from h5port.layers.base import declares, example
from h5port.layers.builder import Builder, Module, Value
from h5port.layers.core import Embedding
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


@declares("ReversibleEmbedding")
class ReversibleEmbedding(Embedding, frozen=True, kw_only=True):
    """keras/src/layers/core/reversible_embedding.py of Keras 3.15.

    In reverse: x . table^T, or x . kernel where the weights are not tied; then tanh(logits / cap) * cap.
    """

    tie_weights: bool = True
    reverse_dtype: str | None = None
    logit_soft_cap: float | None = None
    takes_arguments = True
    quantizations = ("int8",)
    examples = (
        example(on=((7,),), dtype="int32", input_dim=9, output_dim=4),
        example(
            on=((7,),), dtype="int32", input_dim=9, output_dim=4, tie_weights=False, mask_zero=True, logit_soft_cap=2.0
        ),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield from super().variables(writer)
        if not self.tie_weights:
            yield Variable("reverse_embeddings", (self.output_dim, self.input_dim))

    def lower(self, b: Builder, x: Value, reverse: bool = False, **kwargs: Any) -> Value:
        if kwargs:
            raise refusal("unsupported-graph", f"arguments of a call that h5port does not know: {sorted(kwargs)}")
        linear = self._reverse_module(b)
        return self._scores(b, x, linear) if reverse else super().lower(b, x)

    def _reverse_module(self, b: Builder) -> Module:
        """The table itself, or the linear map of weights that are not tied; made even if no call goes in reverse."""
        if self.tie_weights:
            return self.table(b)
        if b.layer.quantization is not None:
            raise refusal("unsupported-option", "a quantised ReversibleEmbedding whose weights are not tied")
        linear = b.module("Linear", "reverse", in_features=self.output_dim, out_features=self.input_dim, bias=False)
        linear.tensor("weight", b.stored("reverse_embeddings", (self.output_dim, self.input_dim)).transpose(1, 0))
        return linear

    def _scores(self, b: Builder, x: Value, module: Module) -> Value:
        if self.reverse_dtype not in (None, b.dtype):
            raise refusal("unsupported-option", f"reverse_dtype {self.reverse_dtype} of a layer in {b.dtype}")
        x = b.cast(x, b.dtype)
        given = quantization.rounded_input(b, x)
        shape = None if x.shape is None else (*x.shape[:-1], self.input_dim)
        y = b.call("scores_of_rows", module, given, shape=shape) if self.tie_weights else module(given, shape=shape)
        if self.logit_soft_cap is not None:
            y = b.call("soft_capped", y, shape=shape, cap=self.logit_soft_cap)
        if self.mask_zero and b.rule("reversed_embedding_mask"):
            return y.with_mask(b.call("not_equal_to", x, shape=x.shape, dtype="bool", name="mask", value=0))
        return y
