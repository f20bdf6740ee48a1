"""Attention and AdditiveAttention: called on [query, value] or [query, value, key]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.core import drop_out
from h5port.layers.merge import broadcast
from h5port.module.program import Shape
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


class ScoredAttention(Layer, frozen=True, kw_only=True):
    """softmax(scores of query and key) . value; masked keys have 1e9 taken off their score, masked queries give 0.

    keras/src/layers/attention/attention.py of Keras 3.15, base_dense_attention.py of tf_keras 2.21.
    """

    dropout: float = 0.0
    causal: bool = False
    mask = "own"
    takes_mask = True
    takes_arguments = True

    def scores(self, b: Builder, query: Value, key: Value, shape: Shape) -> Value:
        raise NotImplementedError

    def is_plain(self) -> bool:
        """Whether torch's own function computes it, where there are no masks."""
        return False

    def lower(
        self, b: Builder, x: Any, return_attention_scores: bool = False, use_causal_mask: bool = False, **kwargs: Any
    ) -> Any:
        if kwargs:
            raise refusal("unsupported-graph", f"arguments of a call that h5port does not know: {sorted(kwargs)}")
        query, value, key = _inputs(b, x)
        causal = self.causal or use_causal_mask
        shape = (*query.known_shape[:-1], value.dim(-1))
        if self.is_plain() and not (self.dropout or value.mask or return_attention_scores):
            y = b.call("attend_causal" if causal else "attend", query, key, value, shape=shape, scale=1.0)
            return self._masked(b, y, query.mask)
        scores = self.scores(b, query, key, (*query.known_shape[:-1], key.dim(-2)))
        valid = self._valid(b, scores, query, key, value.mask, causal)
        if valid is not None:
            scores = b.call("scores_left_out", scores, valid, shape=scores.shape)
        weights = b.call("softmax", scores, shape=scores.shape, dim=-1)
        if self.dropout:
            weights = drop_out(b, weights, self.dropout)
        y = self._masked(b, b.call("weigh", weights, value, shape=shape), query.mask)
        return [y, weights] if return_attention_scores else y

    def _valid(
        self, b: Builder, scores: Value, query: Value, key: Value, mask: Value | None, causal: bool
    ) -> Value | None:
        """Which keys each query may look at: (.., T or 1, S)."""
        steps = None
        if mask is not None:
            if mask.rank != scores.rank - 1:
                raise refusal("unsupported-graph", f"a mask of {mask.rank} axes on scores of {scores.rank}")
            if not causal and b.rule("attention_value_mask") == "refuse":
                raise refusal(
                    "unsupported-graph",
                    f"{b.writer} itself takes the rows of this attention's value mask for steps of the query",
                    remedy="say --writer keras-3.12 if the model was meant as later Kerases read it",
                )
            shape = (*mask.known_shape[:-1], 1, mask.dim(-1))
            steps = b.call("unsqueeze", mask, shape=shape, dtype="bool", dim=-2)
        if not causal:
            return steps
        order = b.call(
            "causal_mask", query, key, shape=(1, query.dim(-2), key.dim(-2)), dtype="bool", name="mask", dim=-2
        )
        if steps is None:
            return order
        joined = broadcast([steps.known_shape, order.known_shape])
        return b.call("logical_and", steps, order, shape=joined, dtype="bool", name="mask")

    def _masked(self, b: Builder, y: Value, mask: Value | None) -> Value:
        """Masked queries give 0; which mask the output has is the writer's rule."""
        if mask is None and not b.explicit_mask:
            return y
        rule = b.rule("attention_output_mask")
        passed = None if rule == "none" else mask
        if rule == "found" and b.explicit_mask:
            passed = b.found[0].mask
        if mask is not None:
            y = b.call(b.rule("attention_masked_queries"), y, mask, shape=y.shape)
        return y.with_mask(passed)


def _inputs(b: Builder, x: Any) -> tuple[Value, Value, Value]:
    """Query, value and key, with masks of booleans."""
    if not isinstance(x, list) or len(x) not in (2, 3) or not all(isinstance(v, Value) for v in x):
        raise refusal("unsupported-graph", "an attention on something else than [query, value] or [query, value, key]")
    values = [b.cast(v, b.dtype).with_mask(None if v.mask is None else b.cast(v.mask, "bool")) for v in x]
    return values[0], values[1], values[-1]


@declares("Attention")
class Attention(ScoredAttention, frozen=True, kw_only=True):
    use_scale: bool = False
    score_mode: Literal["dot", "concat"] = "dot"
    examples = (
        example(on=((7, 4), (5, 4))),
        example(on=((7, 4), (5, 6), (5, 4)), use_scale=True),
        example(on=((7, 4), (5, 4)), score_mode="concat"),
        example(on=((7, 4), (5, 4)), score_mode="concat", use_scale=True, dropout=0.3),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.use_scale:
            yield Variable("scale", ())
        if self.score_mode == "concat":
            yield Variable("concat_score_weight", ())

    def is_plain(self) -> bool:
        return self.score_mode == "dot" and not self.use_scale

    def scores(self, b: Builder, query: Value, key: Value, shape: Shape) -> Value:
        if self.is_plain():
            return b.call("dot_scores", query, key, shape=shape)
        why = "scores with weights of their own"
        if self.score_mode == "dot":
            module = b.module("DotScores", "scores", why=why)
        else:
            module = b.module("ConcatScores", "scores", why=why, scaled=self.use_scale)
            module.tensor("weight", b.stored("concat_score_weight"))
        if self.use_scale:
            module.tensor("scale", b.stored("scale"))
        return module(query, key, shape=shape)


@declares("AdditiveAttention")
class AdditiveAttention(ScoredAttention, frozen=True, kw_only=True):
    use_scale: bool = True
    examples = (
        example(on=((7, 4), (5, 4))),
        example(on=((7, 4), (5, 6), (5, 4)), use_scale=False, dropout=0.3),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.use_scale:
            yield Variable("scale", (None,))

    def scores(self, b: Builder, query: Value, key: Value, shape: Shape) -> Value:
        if not self.use_scale:
            return b.call("additive_scores", query, key, shape=shape)
        scale = b.stored("scale", (query.dim(-1),))
        module = b.module("AdditiveScores", "scores", why="scores with weights of their own", features=scale.shape[0])
        module.tensor("scale", scale)
        return module(query, key, shape=shape)
