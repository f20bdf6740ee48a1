"""MultiHeadAttention and GroupQueryAttention.

Sources: keras/src/layers/attention/{multi_head,grouped_query}_attention.py of Keras 3.0.5 to 3.15.1, and
multi_head_attention.py of Keras 2.8 to 2.15 and tf_keras 2.21.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.core import drop_out
from h5port.layers.merge import broadcast
from h5port.layers.spatial import with_vector
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Need, Variable
from h5port.schema.writer import Writer


class Projection(msgspec.Struct, frozen=True):
    """One of the linear maps: its label, its attribute in path stores, and the shape of its kernel (None: the size of
    the input); the last `outputs` axes of the kernel are the map's outputs, and the shape of the bias."""

    label: str
    attribute: str
    kernel: Shape
    outputs: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the layer was called on."""

    query: Value
    value: Value
    key: Value
    mask: Value | None  # which keys each query may look at: (B, T, S), or as the argument `attention_mask` has it
    scores: bool  # whether they are an output, too
    causal: bool  # whether the mask is the causal one and no other


_MASKS = frozenset(("query_mask", "value_mask", "key_mask"))
_ARGUMENTS = _MASKS | {"value", "key", "attention_mask", "return_attention_scores", "use_causal_mask"}


class HeadsAttention(Layer, frozen=True, kw_only=True):
    """softmax(q . k / sqrt(size of a head)) . v for each head, between linear maps."""

    dropout: float = 0.0
    use_bias: bool = True
    use_gate: bool = False
    sliding_window: int | None = None
    mask = "own"
    takes_mask = True
    takes_arguments = True
    arguments = ("query", "value", "key")
    inert = frozenset({"flash_attention", "query_shape", "value_shape", "key_shape"})

    @property
    def heads(self) -> tuple[int, int]:
        """Of the query, and of key and value."""
        raise NotImplementedError

    @property
    def sizes(self) -> tuple[int, int]:
        """Of a head of query and key, and of value."""
        raise NotImplementedError

    def outputs(self) -> Shape:
        """The last axes of the output; (None,) where they are the query's."""
        return (None,)

    def axes(self, b: Builder, query: Value) -> tuple[int, ...]:
        """The axes along which it attends."""
        return tuple(range(1, query.rank - 1))

    def projections(self) -> Iterator[Projection]:
        (queries, keys), (size, value_size) = self.heads, self.sizes
        yield Projection("query", "query_dense", (None, queries, size), 2)
        yield Projection("key", "key_dense", (None, keys, size), 2)
        if self.use_gate:
            yield Projection("gate", "gate_dense", (None, queries, value_size), 2)
        yield Projection("value", "value_dense", (None, keys, value_size), 2)
        outputs = self.outputs()
        yield Projection("attention_output", "output_dense", (queries, value_size, *outputs), len(outputs))

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        own = super().need(config, writer)
        children = []
        for k, p in enumerate(self.projections()):
            variables = [Variable("kernel", p.kernel)]
            if self.use_bias:
                variables.append(Variable("bias", p.kernel[-p.outputs :]))
            children.append(
                Need(
                    name=p.label,
                    class_name="EinsumDense",
                    id=-10 - 10 * config.id - k,  # the config has no layer of its own for it
                    attribute=p.attribute,
                    variables=tuple(variables),
                )
            )
        return msgspec.structs.replace(own, children=tuple(children))

    # ---- lowering

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        tensors = self._tensors(b, x, kwargs)
        rule = self.mask_rule(b) if any(v.mask for v in tensors) or kwargs.keys() & _MASKS else "given"
        call = self._call(b, tensors, kwargs, rule)
        if rule == "taken":
            for v in (x, kwargs["value"], kwargs.get("key", kwargs["value"])):
                b.program.take_mask(v)
        axes = self.axes(b, call.query)
        maps = {p.label: p for p in self.projections()}
        q = self._to_heads(b, self._linear(b, maps["query"], call.query), self.heads[0], axes)
        k = self._to_heads(b, self._linear(b, maps["key"], call.key), self.heads[1], axes)
        v = self._to_heads(b, self._linear(b, maps["value"], call.value), self.heads[1], axes)
        y, scores = self._attend(b, q, k, v, call, len(axes))
        y = self._joined(b, y, call.query, axes)
        if self.use_gate:
            gate = b.call("sigmoid", self._linear(b, maps["gate"], call.query), shape=y.shape)
            y = b.call("multiply", y, gate, shape=y.shape)
        y = self._output(b, maps["attention_output"], y, call.query)
        y = y.with_mask(None if rule == "ignored" else x.mask)
        return y if scores is None else [y, self._unjoined(b, scores, call, axes)]

    def mask_rule(self, b: Builder) -> str:
        return "given"

    def _tensors(self, b: Builder, x: Any, kwargs: dict[str, Any]) -> tuple[Value, Value, Value]:
        """Query, value and key."""
        unknown = sorted(kwargs.keys() - _ARGUMENTS)
        if unknown:
            raise refusal("unsupported-graph", f"arguments of a call that h5port does not know: {unknown}")
        tensors = [x, kwargs.get("value"), kwargs.get("key", kwargs.get("value"))]
        if not all(isinstance(v, Value) for v in tensors):
            raise refusal("unsupported-graph", f"a {b.layer.class_name} on something else than query, value and key")
        query, value, key = (b.cast(v, b.dtype) for v in tensors)
        if not query.rank == value.rank == key.rank:
            raise refusal("unsupported-graph", f"a {b.layer.class_name} on tensors of different rank")
        return query, value, key

    def _call(self, b: Builder, tensors: tuple[Value, Value, Value], kwargs: dict[str, Any], rule: str) -> Call:
        if rule in ("ignored", "found") and kwargs.keys() & _MASKS:
            raise refusal("unsupported-graph", f"{b.writer} itself knows no arguments {sorted(kwargs.keys() & _MASKS)}")
        query, value, key = tensors
        found = [] if rule == "ignored" else self._found(b, tensors, kwargs, rule)
        attention_mask = kwargs.get("attention_mask")
        causal = bool(kwargs.get("use_causal_mask"))
        scores = bool(kwargs.get("return_attention_scores"))
        alone = causal and not found and attention_mask is None and self.sliding_window is None
        found += self._placed(b, query, value, causal)
        mask = attention_mask
        if found:
            parts = [*([] if attention_mask is None else [b.cast(attention_mask, "bool")]), *found]
            mask = _all_of(b, parts)
        return Call(query=query, value=value, key=key, mask=mask, scores=scores, causal=alone)

    def _found(self, b: Builder, tensors: tuple[Value, Value, Value], kwargs: dict[str, Any], rule: str) -> list[Value]:
        """The masks of query, value and key: as arguments, else as found on the tensors."""
        found = []
        for v, name in zip(
            tensors, ("query", "value", "key") if kwargs.get("key") else ("query", "value"), strict=False
        ):
            given = None if rule == "taken" and name == "query" else kwargs.get(f"{name}_mask")
            mask = v.mask if given is None else given
            if mask is not None:
                found.append(self._spread(b, mask, -1 if name == "query" else -2, tensors[0]))
        return found

    def _spread(self, b: Builder, mask: Value, dim: int, query: Value) -> Value:
        """(B, steps) -> (B, T, 1) or (B, 1, S)."""
        self._one_axis(b, query, "a mask of its tensors")
        if mask.rank != 2:
            raise refusal("unsupported-graph", f"a mask of {mask.rank} axes in a {b.layer.class_name}")
        size = mask.dim(-1)
        shape = (mask.dim(0), size, 1) if dim == -1 else (mask.dim(0), 1, size)
        return b.call("unsqueeze", b.cast(mask, "bool"), shape=shape, dtype="bool", name="mask", dim=dim)

    def _placed(self, b: Builder, query: Value, value: Value, causal: bool) -> list[Value]:
        """The masks that only know places: (1, T, S)."""
        found, shape = [], (1, query.dim(1), value.dim(1))
        if causal:
            self._one_axis(b, query, "use_causal_mask")
            found.append(b.call("causal_mask", query, value, shape=shape, dtype="bool", name="mask", dim=1))
        if self.sliding_window is not None:
            self._one_axis(b, query, "sliding_window")
            window = {"window": self.sliding_window}
            found.append(b.call("window_mask", query, value, shape=shape, dtype="bool", name="mask", **window))
        return found

    def _one_axis(self, b: Builder, query: Value, what: str) -> None:
        """Keras builds these masks for the first axis of steps, whatever the attention axes are."""
        if self.axes(b, query) != (1,):
            raise refusal("unsupported-option", f"{what} where attention_axes are not [1]")

    # ---- linear maps and heads

    def _linear(self, b: Builder, p: Projection, x: Value) -> Value:
        """(.., in) -> (.., product of the outputs)."""
        own = b.child(b.layer, p.label)
        shape = p.kernel if p.label == "attention_output" else (x.dim(-1), *p.kernel[1:])
        kernel = own.stored("kernel", shape)
        bias = kernel.shape[-p.outputs :]
        outputs = math.prod(bias)
        if outputs == 0:
            raise refusal("unsupported-option", f"{b.layer.class_name} of no heads, or of heads of no size")
        inputs = math.prod(kernel.shape) // outputs
        linear = b.module("Linear", p.label, in_features=inputs, out_features=outputs, bias=self.use_bias)
        linear.tensor("weight", kernel.reshape(inputs, outputs).transpose(1, 0))
        if self.use_bias:
            x = with_vector(b, x, (*x.known_shape[:-1], *bias), bias)
            linear.tensor("bias", own.stored("bias", bias).reshape(outputs))
        return linear(x, shape=(*x.known_shape[:-1], outputs))

    def _output(self, b: Builder, p: Projection, y: Value, query: Value) -> Value:
        outputs = tuple(query.dim(-1) if n is None else n for n in p.kernel[-p.outputs :])
        y = self._linear(b, msgspec.structs.replace(p, kernel=(*p.kernel[: -p.outputs], *outputs)), y)
        if len(outputs) == 1:
            return y
        return b.call("unflatten", y, shape=(*y.known_shape[:-1], *outputs), dim=-1, sizes=list(outputs))

    def _to_heads(self, b: Builder, x: Value, heads: int, axes: tuple[int, ...]) -> Value:
        """(.., heads * D) -> (other axes .., all heads of the query, attention axes joined, D)."""
        free = tuple(x.dim(a) for a in range(x.rank - 1) if a not in axes)
        steps = [x.dim(a) for a in axes]
        joined = None if None in steps else math.prod(n for n in steps if n is not None)
        last = x.dim(-1)
        shape = (*free, heads, joined, None if last is None else last // heads)
        if x.rank == 3:
            x = b.call("heads_first", x, shape=shape, heads=heads)
        else:
            x = b.call("heads_before", x, shape=shape, heads=heads, axes=list(axes))
        repeats = self.heads[0] // heads
        if repeats == 1:
            return x
        return b.call("repeat_heads", x, shape=(*free, self.heads[0], *shape[-2:]), repeats=repeats)

    def _joined(self, b: Builder, y: Value, query: Value, axes: tuple[int, ...]) -> Value:
        shape = (*query.known_shape[:-1], self.heads[0] * self.sizes[1])
        if query.rank == 3:
            return b.call("heads_last", y, shape=shape)
        return b.call("heads_behind", y, query, shape=shape, axes=list(axes))

    def _unjoined(self, b: Builder, scores: Value, call: Call, axes: tuple[int, ...]) -> Value:
        if len(axes) == 1:
            return scores
        shape = (*scores.known_shape[:-2], *(call.query.dim(a) for a in axes), *(call.key.dim(a) for a in axes))
        return b.call("scores_unjoined", scores, call.query, call.key, shape=shape, axes=list(axes))

    # ---- attention

    def _attend(self, b: Builder, q: Value, k: Value, v: Value, call: Call, axes: int) -> tuple[Value, Value | None]:
        """(other axes .., heads, T, D); with the scores if they are asked for."""
        scale = 1.0 / math.sqrt(self.sizes[0])
        shape = (*q.known_shape[:-1], v.dim(-1))
        mask = call.mask if call.mask is None else self._fitted(b, call.mask, q, axes)
        simple = not (self.dropout or call.scores)
        if simple and mask is None:
            return b.call("attend", q, k, v, shape=shape, scale=scale), None
        if simple and call.causal:
            return b.call("attend_causal", q, k, v, shape=shape, scale=scale), None
        if simple and mask is not None and q.rank == 4 and call.query.rank == 3 and b.rule("fused_attention"):
            return b.call("attend_masked", q, k, v, b.cast(mask, "bool"), shape=shape, scale=scale), None
        scores = b.call("scaled_scores", q, k, shape=(*q.known_shape[:-1], k.dim(-2)), scale=scale)
        weights = self._softmax(b, scores, mask, axes)
        dropped = drop_out(b, weights, self.dropout) if self.dropout else weights
        return b.call("weigh", dropped, v, shape=shape), weights if call.scores else None

    def _fitted(self, b: Builder, mask: Value, q: Value, axes: int) -> Value:
        """A mask that broadcasts against (other axes .., heads, T, S): new axes go before T."""
        if axes > 1:
            if mask.rank < 2 * axes or 1 in mask.known_shape[-2 * axes :]:
                raise refusal("unsupported-graph", f"an attention_mask {mask.shape} over {axes} axes")
            sizes = [mask.known_shape[-2 * axes : -axes], mask.known_shape[-axes:]]
            joined = tuple(None if None in s else math.prod(n for n in s if n is not None) for s in sizes)
            shape = (*mask.known_shape[: -2 * axes], *joined)
            mask = b.call("mask_joined", mask, shape=shape, axes=axes)
        for _ in range(q.rank - mask.rank):
            at = max(mask.rank - 2, 0)
            shape = (*mask.known_shape[:at], 1, *mask.known_shape[at:])
            mask = b.call("unsqueeze", mask, shape=shape, dim=-3)
        return mask

    def _softmax(self, b: Builder, scores: Value, mask: Value | None, axes: int) -> Value:
        """Over the last axis, with the mask as the writer's Softmax reads it."""
        if mask is None:
            return b.call("softmax", scores, shape=scores.shape, dim=-1)
        function = "masked_softmax_" + str(self.softmax_rule(b))
        if function != "masked_softmax_add":
            mask = self._boolean(b, mask)
        if axes == 1:
            return b.call(function, scores, mask, shape=scores.shape, dims=[-1])
        # over several axes Keras takes exp(x - logsumexp(x)), which is not the same where all places are masked
        shape = (*scores.known_shape[:-1], 1, scores.dim(-1))
        wide = b.call("unsqueeze", scores, shape=shape, dim=-2)
        mask = b.call("unsqueeze", mask, shape=(*mask.known_shape[:-1], 1, mask.dim(-1)), dim=-2)
        return b.call("squeeze", b.call(function, wide, mask, shape=shape, dims=[-2, -1]), shape=scores.shape, dim=-2)

    def softmax_rule(self, b: Builder) -> str:
        return str(b.rule("softmax_mask"))

    def _boolean(self, b: Builder, mask: Value) -> Value:
        return b.cast(mask, "bool")


def _all_of(b: Builder, masks: list[Value]) -> Value:
    result = masks[0]
    for other in masks[1:]:
        shape = broadcast([result.known_shape, other.known_shape])
        result = b.call("logical_and", result, other, shape=shape, dtype="bool", name="mask")
    return result


@declares("MultiHeadAttention")
class MultiHeadAttention(HeadsAttention, frozen=True, kw_only=True):
    num_heads: int
    key_dim: int
    value_dim: int | None = None
    output_shape: list[int] | int | None = None
    attention_axes: list[int] | int | None = None
    softmax_robust_masking: bool = False
    examples = (
        example(
            on=((7, 4), (5, 6)),
            num_heads=2,
            key_dim=3,
            weights=((4, 2, 3), (2, 3), (6, 2, 3), (2, 3), (6, 2, 3), (2, 3), (2, 3, 4), (4,)),
        ),
        example(
            on=((7, 4), (5, 6), (5, 3)),
            num_heads=2,
            key_dim=3,
            value_dim=5,
            use_bias=False,
            dropout=0.2,
            weights=((4, 2, 3), (3, 2, 3), (6, 2, 5), (2, 5, 4)),
        ),
        example(
            on=((7, 4), (5, 6)),
            num_heads=2,
            key_dim=3,
            output_shape=[2, 3],
            use_gate=True,
            weights=((4, 2, 3), (2, 3), (6, 2, 3), (2, 3), (4, 2, 3), (2, 3), (6, 2, 3), (2, 3), (2, 3, 2, 3), (2, 3)),
        ),
        example(
            on=((7, 3, 4), (5, 3, 6)),
            num_heads=2,
            key_dim=3,
            attention_axes=[1],
            output_shape=5,
            weights=((4, 2, 3), (2, 3), (6, 2, 3), (2, 3), (6, 2, 3), (2, 3), (2, 3, 5), (5,)),
        ),
        example(
            on=((7, 3, 4), (5, 6, 4)),
            num_heads=2,
            key_dim=3,
            weights=((4, 2, 3), (2, 3), (4, 2, 3), (2, 3), (4, 2, 3), (2, 3), (2, 3, 4), (4,)),
        ),
        example(
            on=((7, 4), (5, 6)),
            num_heads=2,
            key_dim=3,
            sliding_window=2,
            weights=((4, 2, 3), (2, 3), (6, 2, 3), (2, 3), (6, 2, 3), (2, 3), (2, 3, 4), (4,)),
        ),
    )

    @property
    def heads(self) -> tuple[int, int]:
        return self.num_heads, self.num_heads

    @property
    def sizes(self) -> tuple[int, int]:
        return self.key_dim, self.value_dim or self.key_dim

    def outputs(self) -> Shape:
        if not self.output_shape:
            return (None,)
        return (self.output_shape,) if isinstance(self.output_shape, int) else tuple(self.output_shape)

    def axes(self, b: Builder, query: Value) -> tuple[int, ...]:
        if self.attention_axes is None:
            return super().axes(b, query)
        axes = [self.attention_axes] if isinstance(self.attention_axes, int) else self.attention_axes
        if any(a < 0 for a in axes) and b.rule("negative_attention_axes") == "refuse":
            raise refusal("unsupported-option", f"attention_axes {axes}: {b.writer} itself does not count from the end")
        axes = [a % query.rank for a in axes]
        if not axes or len(set(axes)) < len(axes) or not all(0 < a < query.rank - 1 for a in axes):
            raise refusal("unsupported-option", f"attention_axes {axes} of tensors of {query.rank} axes")
        return tuple(axes)

    def mask_rule(self, b: Builder) -> str:
        return str(b.rule("multi_head_masks"))

    def softmax_rule(self, b: Builder) -> str:
        return "fill" if self.softmax_robust_masking else super().softmax_rule(b)


@declares("GroupQueryAttention")
class GroupQueryAttention(HeadsAttention, frozen=True, kw_only=True):
    """Several heads of the query share a head of key and value."""

    head_dim: int
    num_query_heads: int
    num_key_value_heads: int
    examples = (
        example(
            on=((7, 4), (5, 4)),
            head_dim=3,
            num_query_heads=4,
            num_key_value_heads=2,
            weights=((4, 4, 3), (4, 3), (4, 2, 3), (2, 3), (4, 2, 3), (2, 3), (4, 3, 4), (4,)),
        ),
        example(
            on=((7, 4), (5, 4)),
            head_dim=3,
            num_query_heads=2,
            num_key_value_heads=2,
            use_gate=True,
            use_bias=False,
            weights=((4, 2, 3), (4, 2, 3), (4, 2, 3), (4, 2, 3), (2, 3, 4)),
        ),
        example(
            on=((7, 4), (5, 4), (5, 6)),
            head_dim=3,
            num_query_heads=4,
            num_key_value_heads=1,
            sliding_window=2,
            weights=((4, 4, 3), (4, 3), (6, 1, 3), (1, 3), (4, 1, 3), (1, 3), (4, 3, 4), (4,)),
        ),
    )

    @property
    def heads(self) -> tuple[int, int]:
        return self.num_query_heads, self.num_key_value_heads

    @property
    def sizes(self) -> tuple[int, int]:
        return self.head_dim, self.head_dim

    def axes(self, b: Builder, query: Value) -> tuple[int, ...]:
        if query.rank != 3 or self.num_query_heads % self.num_key_value_heads:
            raise refusal("unsupported-option", "a GroupQueryAttention of these heads and tensors")
        return (1,)

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        return msgspec.structs.replace(super().need(config, writer), class_name="GroupedQueryAttention")

    def _boolean(self, b: Builder, mask: Value) -> Value:
        if mask.dtype != "bool":  # this class does not cast it, and its Softmax reads numbers in several ways
            raise refusal("unsupported-graph", "an attention_mask of numbers in a GroupQueryAttention with scores")
        return mask
