"""Vocabularies: StringLookup and IntegerLookup."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.categories import encoded, output_dtype
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Need, Variable
from h5port.schema.writer import Writer

LookupMode = Literal["int", "one_hot", "multi_hot", "count", "tf_idf"]
Salt = int | list[int] | None
Vocabulary = Sequence[str] | Sequence[int]


class Lookup(Layer, frozen=True, kw_only=True):
    """The index of each token in a vocabulary. keras/src/layers/preprocessing/index_lookup.py of Keras 3.15.

    Indices begin with that of the mask token (if it has one), then come those of tokens out of the vocabulary.
    """

    max_tokens: int | None = None
    num_oov_indices: Annotated[int, msgspec.Meta(ge=0)] = 1
    mask_token: str | int | None = None
    oov_token: str | int | None = None
    vocabulary: list[str] | list[int] | None = None
    idf_weights: list[float] | None = None
    invert: bool = False
    output_mode: LookupMode = "int"
    pad_to_max_tokens: bool = False
    sparse: Literal[False] = False
    vocabulary_size: int | None = None
    oov_method: Literal["floormod", "farmhash"] = "floormod"
    salt: Salt = None
    mask = "stops"
    inert = frozenset({"has_input_vocabulary"})
    forward: ClassVar[str]  # the shims
    backward: ClassVar[str]

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.output_mode == "tf_idf":
            yield Variable("idf_weights", (None,), trainable=False)

    def need(self, config: LayerConfig, writer: Writer) -> Need:
        """Weights of the config need not be stored again."""
        return msgspec.structs.replace(super().need(config, writer), optional=self.idf_weights is not None)

    # ---- the vocabulary

    @property
    def special(self) -> list[Any]:
        """The tokens before the vocabulary, as Keras lists them."""
        masks = [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []
        return [*masks, *[self.oov_token] * self.num_oov_indices]

    def tokens(self, b: Builder) -> list[Any]:
        """The vocabulary without special tokens: of the config, or of the file that Keras put beside the weights."""
        words: list[Any] = list(self.vocabulary or self._stored_words(b))
        start = len(self.special)
        tokens = words[start:] if words[:start] == self.special else words
        if not tokens or len(set(tokens)) < len(tokens) or (self.mask_token is not None and self.mask_token in tokens):
            raise refusal("bad-config", "the vocabulary is empty, has a token twice, or has the mask token within")
        size = start + len(tokens)
        if (self.vocabulary_size or size) != size or size > (self.max_tokens or size):
            sizes = {"vocabulary_size": self.vocabulary_size, "max_tokens": self.max_tokens}
            raise refusal("bad-config", f"{size} tokens, special ones included, where the config says {sizes}")
        return tokens

    def _stored_words(self, b: Builder) -> list[Any]:
        text = b.asset("vocabulary.txt")
        if text is None:
            raise refusal(
                "missing-weights",
                f"the vocabulary of this {b.layer.class_name} is not in the file",
                remedy="save the model as .keras, or give the layer its vocabulary when it is made",
            )
        words = (io.StringIO(text, newline=None).read() if "\r" in text else text).split("\n")
        start = len(self.special)
        if words[:start] != [str(token) for token in self.special]:
            raise refusal("bad-config", f"vocabulary.txt begins with {words[:start]}, not with {self.special}")
        return self.special + self._read_words(words[start:])

    def _read_words(self, words: list[str]) -> list[Any]:
        return list(words)

    # ---- lowering

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        tokens = self.tokens(b)
        x = self._given(b, x)
        if self.invert:
            return self._inverted(b, x, tokens)
        ids = b.module(self.forward, vocabulary=tokens, **self.shim_options())(x, shape=x.shape, dtype="int64")
        return self.rows(b, ids, len(self.special) + len(tokens))

    def _given(self, b: Builder, x: Value) -> Value:
        raise NotImplementedError

    def shim_options(self) -> dict[str, Any]:
        """What the shim is told beside the vocabulary, less its defaults."""
        options = {
            "num_oov_indices": (self.num_oov_indices, 1),
            "mask_token": (self.mask_token, None),
            "drop_masked": (self.mask_token is not None and self.output_mode != "int", False),
            "salt": (both(self.salt), None),
        }
        return {name: value for name, (value, default) in options.items() if value != default}

    def _inverted(self, b: Builder, ids: Value, tokens: list[Any]) -> Value:
        if self.oov_token is None or self.output_mode != "int":
            raise refusal("unsupported-option", "invert=True needs an oov_token and the output mode 'int'")
        masked: dict[str, Any] = {} if self.mask_token is None else {"mask_token": self.mask_token}
        start = len(self.special)
        module = b.module(self.backward, vocabulary=tokens, start=start, oov_token=self.oov_token, **masked)
        return module(ids, shape=ids.shape, dtype="string" if self.backward == "StringOfIndex" else "int64")

    def rows(self, b: Builder, ids: Value, size: int) -> Value:
        """The indices in the output mode."""
        depth = self.max_tokens if self.pad_to_max_tokens else size
        if depth is None:
            raise refusal("unsupported-option", "pad_to_max_tokens without max_tokens")
        if self.output_mode == "int":
            return ids
        if self.output_mode == "tf_idf":
            return self._weighted(b, encoded(b, ids, "count", depth, output_dtype(b)), size, depth)
        dtype = b.rule("lookup_counts")
        return encoded(b, ids, self.output_mode, depth, output_dtype(b) if dtype == "policy" else dtype)

    def _weighted(self, b: Builder, counts: Value, size: int, depth: int) -> Value:
        """Counts times inverse document frequencies: the stored ones, or those of the config."""
        if b.has("idf_weights"):
            weights = b.stored("idf_weights", (depth,))
            module = b.module("Weighted", "idf", size=depth)
            module.tensor("weight", weights, trainable=False)
            return module(counts, shape=counts.shape)
        given = self.idf_weights or []
        front = [float(np.average(given))] * (size - len(given)) if given else []
        if len(given) + len(front) != size or len(front) not in (0, len(self.special)):
            raise refusal("bad-config", f"{len(given)} idf_weights for a vocabulary of {size}")
        weights_as_numbers = [*front, *given, *[0.0] * (depth - size)]
        return b.call("times", counts, shape=counts.shape, weights=weights_as_numbers)


def both(salt: Salt) -> list[int] | None:
    """A salt as the two integers of SipHash's key."""
    return [salt, salt] if isinstance(salt, int) else salt


@declares("StringLookup")
class StringLookup(Lookup, frozen=True, kw_only=True):
    mask_token: str | None = None
    oov_token: str | None = "[UNK]"
    vocabulary: list[str] | None = None
    encoding: Literal["utf-8"] = "utf-8"
    forward = "StringLookup"
    backward = "StringOfIndex"
    takes_strings = True
    examples = (
        example(on=((5,),), dtype="string", vocabulary=["a", "b", "c"]),
        example(on=((5,),), dtype="string", vocabulary=["", "[UNK]", "a"], mask_token="", vocabulary_size=3),
        example(on=((5,),), dtype="string", vocabulary=["a", "b"], num_oov_indices=3, mask_token="b c"),
        example(on=((5,),), dtype="string", vocabulary=["a"], num_oov_indices=3, salt=[5, 7]),
        example(on=((5,),), dtype="string", vocabulary=["a", "b"], output_mode="count", mask_token="b c"),
        example(
            on=((5,),), dtype="string", vocabulary=["a"], output_mode="multi_hot", max_tokens=9, pad_to_max_tokens=True
        ),
        example(on=((1,),), dtype="string", vocabulary=["a", "b"], output_mode="one_hot"),
        example(
            on=((5,),),
            weights=((3,),),
            dtype="string",
            vocabulary=["a", "b"],
            output_mode="tf_idf",
            idf_weights=[0.5, 2.0],
        ),
        example(on=((5,),), dtype="int64", vocabulary=["a", "b"], invert=True),
        example(on=((5,),), dtype="int64", vocabulary=["a", "b"], invert=True, mask_token="m"),
    )

    def tokens(self, b: Builder) -> list[Any]:
        tokens = super().tokens(b)
        for token in tokens:
            if any("\ud800" <= letter <= "\udfff" for letter in token):
                raise refusal("bad-config", f"the vocabulary has {token!a}, which is no text in UTF-8")
        return tokens

    def _given(self, b: Builder, x: Value) -> Value:
        if self.invert:
            return b.cast(b.program.before_cast(x), "int64")
        return strings(b, x)


def strings(b: Builder, x: Value) -> Value:
    if x.dtype != "string":
        raise refusal("unsupported-graph", f"a {b.layer.class_name} of numbers ({x.dtype}), which takes strings")
    return x


@declares("IntegerLookup")
class IntegerLookup(Lookup, frozen=True, kw_only=True):
    mask_token: int | None = None
    oov_token: int | None = -1
    vocabulary: list[int] | None = None
    vocabulary_dtype: Literal["int64", "int32"] = "int64"
    forward = "IntegerLookup"
    backward = "IntegerOfIndex"
    examples = (
        example(on=((5,),), dtype="int64", vocabulary=[7, 1, 2]),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1], mask_token=0),
        example(on=((5,),), dtype="int32", vocabulary=[7, 1], num_oov_indices=3, mask_token=2),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1], num_oov_indices=3, oov_method="farmhash"),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1], num_oov_indices=3, oov_method="farmhash", salt=5),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1, 2, 0], num_oov_indices=0),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1], output_mode="count", mask_token=0),
        example(
            on=((5,),), weights=((3,),), dtype="int64", vocabulary=[7, 1], output_mode="tf_idf", idf_weights=[0.5, 2.0]
        ),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1], invert=True),
        example(on=((5,),), dtype="int64", vocabulary=[7, 1], invert=True, mask_token=9),
    )

    def shim_options(self) -> dict[str, Any]:
        hashed = {"hashed": True} if self.oov_method == "farmhash" and self.num_oov_indices > 1 else {}
        return {**super().shim_options(), **hashed}

    def _read_words(self, words: list[str]) -> list[Any]:
        try:
            return [int(word) for word in words]
        except ValueError as error:
            raise refusal("bad-config", f"vocabulary.txt of an IntegerLookup: {error}") from None

    def _given(self, b: Builder, x: Value) -> Value:
        return b.cast(b.program.before_cast(x), "int64")

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        y = super().lower(b, x, **kwargs)
        return b.cast(y, self.vocabulary_dtype) if self.invert else y
