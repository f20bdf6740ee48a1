"""Texts to numbers: TextVectorization, Hashing, HashedCrossing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.categories import OutputMode, encoded, output_dtype
from h5port.layers.lookup import LookupMode, Salt, StringLookup, both, strings
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Need, Variable
from h5port.schema.writer import Writer

Positive = Annotated[int, msgspec.Meta(ge=1)]
_COPY = "a second copy of the layer's own, which Keras stores, too"


@declares("TextVectorization")
class TextVectorization(Layer, frozen=True, kw_only=True):
    """Texts cut into tokens, and the index of each.

    keras/src/layers/preprocessing/text_vectorization.py of Keras 3.15.
    """

    max_tokens: int | None = None
    standardize: Literal["lower_and_strip_punctuation", "lower", "strip_punctuation"] | None = (
        "lower_and_strip_punctuation"
    )
    split: Literal["whitespace", "character"] | None = "whitespace"
    ngrams: Positive | list[Positive] | None = None
    output_mode: LookupMode = "int"
    output_sequence_length: Positive | None = None
    pad_to_max_tokens: bool = False
    vocabulary: list[str] | None = None
    idf_weights: list[float] | None = None
    vocabulary_size: int | None = None
    sparse: Literal[False] = False
    ragged: Literal[False] = False
    encoding: Literal["utf-8"] = "utf-8"
    mask = "stops"
    inert = frozenset({"has_input_vocabulary"})
    takes_strings = True
    examples = (
        example(on=((1,),), dtype="string", vocabulary=["a", "b", "c"]),
        example(on=((),), dtype="string", vocabulary=["", "[UNK]", "b"], output_sequence_length=2, standardize="lower"),
        example(on=((1,),), dtype="string", vocabulary=["a", "b c"], ngrams=2, standardize="strip_punctuation"),
        example(on=((1,),), dtype="string", vocabulary=["a", "b"], split="character", output_mode="count"),
        example(on=((5,),), dtype="string", vocabulary=["a", "b"], split=None, standardize=None, ngrams=[2, 1]),
        example(on=((5,),), dtype="string", vocabulary=["a", "b"], split=None, output_mode="multi_hot"),
        example(
            on=((1,),), dtype="string", vocabulary=["a"], output_mode="count", max_tokens=9, pad_to_max_tokens=True
        ),
        example(on=((1,),), weights=((2,),), dtype="string", vocabulary=["a"], output_mode="tf_idf", idf_weights=[0.5]),
    )

    @property
    def lookup(self) -> StringLookup:
        """The layer that it has within."""
        return StringLookup(
            mask_token="",
            **{
                name: getattr(self, name)
                for name in (
                    "max_tokens",
                    "output_mode",
                    "pad_to_max_tokens",
                    "vocabulary",
                    "idf_weights",
                    "vocabulary_size",
                )
            },
        )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        return self.lookup.variables(writer)

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        """The path stores keep the weights twice."""
        own = self.lookup.need(config, writer)
        copy = msgspec.structs.replace(own, name="lookup", attribute="_lookup_layer", id=-2 - config.id, optional=True)
        return msgspec.structs.replace(own, children=(copy,) if own.variables else ())

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        lookup = self.lookup
        tokens = lookup.tokens(b)
        self._drop_copies(b)
        texts = strings(b, x)
        widths = list(range(1, self.ngrams + 1)) if isinstance(self.ngrams, int) else self.ngrams
        options = {
            "standardize": self.standardize,
            "split": self.split,
            "ngrams": widths,
            "length": self.output_sequence_length,
            "drop_masked": self.output_mode != "int" or None,
        }
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        ids = b.module("TextVectorization", vocabulary=tokens, **given)(texts, shape=self._shape(texts), dtype="int64")
        return lookup.rows(b, ids, len(lookup.special) + len(tokens))

    def _shape(self, texts: Value) -> Shape:
        shape = texts.known_shape
        if self.split is not None and self.output_mode == "one_hot":
            raise refusal("unsupported-option", "one-hot rows of tokens, of which each text has another number")
        if self.split is None:
            if len(shape) < 2:
                raise refusal("unsupported-graph", "split=None on a tensor of one axis: its texts would be one sample")
            width = shape[-1] if self.ngrams is None else None
            return (*shape[:-1], self.output_sequence_length or width)
        if len(shape) > 1 and shape[-1] != 1:
            raise refusal("unsupported-graph", f"texts {list(shape)} to be split: their last axis must be 1")
        outer = shape[:-1] if len(shape) > 1 else shape
        if len(outer) > 1 and self.output_mode != "int":
            raise refusal(
                "unsupported-graph", f"tokens of texts {list(shape)} counted: more axes than Keras counts over"
            )
        return (*outer, self.output_sequence_length)

    def _drop_copies(self, b: Builder) -> None:
        """What is stored twice must be the same."""
        name = "_lookup_layer/vocabulary.txt"
        alike = b.asset(name) in (None, b.asset("vocabulary.txt"))
        inner = b.child(b.layer, "lookup")
        if inner.has("idf_weights"):
            alike = alike and inner.read("idf_weights").tobytes() == b.read("idf_weights").tobytes()
            inner.drop("idf_weights", _COPY)
        if not alike:
            raise refusal("ambiguous-weights", "the vocabulary or its weights are stored twice and differ")


@declares("Hashing")
class Hashing(Layer, frozen=True, kw_only=True):
    """The bucket of each string or integer. keras/src/layers/preprocessing/hashing.py of Keras 3.15."""

    num_bins: Positive
    mask_value: int | str | None = None
    salt: Salt = None
    output_mode: OutputMode = "int"
    sparse: Literal[False] = False
    mask = "stops"
    takes_strings = True
    examples = (
        example(on=((5,),), dtype="string", num_bins=4),
        example(on=((5,),), dtype="string", num_bins=4, mask_value="a", salt=7),
        example(on=((5,),), dtype="int64", num_bins=4, mask_value=1, salt=[7, 9]),
        example(on=((5,),), dtype="int32", num_bins=4, output_mode="multi_hot"),
        example(on=((5,),), dtype="string", num_bins=4, output_mode="count"),
        example(on=((1,),), dtype="string", num_bins=4, output_mode="one_hot"),
    )

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = x if x.dtype == "string" else b.cast(b.program.before_cast(x), "int64")
        args = {"buckets": self.num_bins, "salt": both(self.salt), "mask_value": self.mask_value}
        ids = b.emit("hash_buckets", x, shape=x.shape, dtype="int64", args=args)
        return encoded(b, ids, self.output_mode, self.num_bins, _hash_dtype(b, self.output_mode))


@declares("HashedCrossing")
class HashedCrossing(Layer, frozen=True, kw_only=True):
    """The bucket of each combination of features. keras/src/layers/preprocessing/hashed_crossing.py of Keras 3.15."""

    num_bins: Positive
    output_mode: Literal["int", "one_hot"] = "int"
    sparse: Literal[False] = False
    mask = "own"
    takes_strings = True
    examples = (
        example(on=((1,), (1,)), dtype="int64", num_bins=9),
        example(on=((1,), (1,), (1,)), dtype="string", num_bins=9, output_mode="one_hot"),
        example(on=((), ()), dtype="string", num_bins=9),
    )

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        if not isinstance(x, list) or len(x) < 2:
            raise refusal("unsupported-graph", "HashedCrossing takes two features or more")
        features = [v if v.dtype == "string" else b.cast(b.program.before_cast(v), "int64") for v in x]
        if any(v.rank > 2 or (v.rank == 2 and v.dim(-1) != 1) or v.rank != features[0].rank for v in features):
            raise refusal("unsupported-graph", "features of HashedCrossing are alike: (N,) or (N, 1)")
        ids = b.emit(
            "crossed_buckets", features, shape=features[0].shape, dtype="int64", args={"buckets": self.num_bins}
        )
        return encoded(b, ids, self.output_mode, self.num_bins, _hash_dtype(b, self.output_mode))


def _hash_dtype(b: Builder, mode: str) -> str:
    """Integers in their own mode, whatever floating type the policy names."""
    dtype = output_dtype(b)
    return "int64" if mode == "int" and not dtype.startswith(("int", "uint")) else dtype
