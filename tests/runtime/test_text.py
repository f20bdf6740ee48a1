"""Hashes and tokens are TensorFlow's, bit for bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES

torch = pytest.importorskip("torch")

from h5port.runtime.functions.hashing import text_bucket  # noqa: E402
from h5port.runtime.functions.text import crossed_buckets, elements, hash_buckets  # noqa: E402
from h5port.runtime.shims.text import IntegerLookup, StringLookup, StringOfIndex, TextVectorization  # noqa: E402

GOLDEN: dict[str, Any] = json.loads((FIXTURES / "made" / "text_tensorflow.json").read_text(encoding="utf-8"))
WIDE = 2**63 - 1


@pytest.mark.parametrize(("name", "salt"), [("fast", None), ("strong", [133, 137])])
def test_a_string_is_in_the_bucket_of_tensorflow(name: str, salt: list[int] | None) -> None:
    assert [text_bucket(s, WIDE, salt) for s in GOLDEN["strings"]] == GOLDEN[name]


def test_crossed_features_are_in_the_bucket_of_tensorflow() -> None:
    strings, numbers = GOLDEN["strings"], torch.tensor(GOLDEN["numbers"])
    assert crossed_buckets([strings, numbers, strings[::-1]], buckets=WIDE).tolist() == GOLDEN["crossed"]


@pytest.mark.parametrize("case", GOLDEN["vectorized"], ids=lambda c: f"{c['standardize']}-{c['split']}-{c['ngrams']}")
def test_texts_are_cut_as_keras_cuts_them(case: dict[str, Any]) -> None:
    widths = [1, 2] if case["ngrams"] == 2 else case["ngrams"]
    module = TextVectorization(GOLDEN["vocabulary"], case["standardize"], case["split"], widths, length=9)
    assert module([[text] for text in GOLDEN["texts"]]).tolist() == case["ids"]
    assert module(GOLDEN["texts"]).tolist() == case["ids"]


# The numbers that follow are those of Keras 3.15.1 on TensorFlow 2.21.


def test_tokens_out_of_the_vocabulary_are_spread_over_their_indices() -> None:
    given = [["a", "m", "q", "r", "zz"]]
    assert StringLookup(["a", "b"], 3, "m")(given).tolist() == [[4, 0, 3, 2, 2]]
    assert StringLookup(["a", "b"], 3, salt=[5, 5])(given).tolist() == [[3, 1, 1, 1, 0]]
    numbers = torch.tensor([[5, 9, -1, -7, 1000]])
    assert IntegerLookup([5, 6], 3)(numbers).tolist() == [[3, 0, 2, 2, 1]]
    assert IntegerLookup([5, 6], 3, 9, hashed=True)(numbers).tolist() == [[4, 0, 1, 3, 3]]


def test_indices_become_strings_again() -> None:
    y = StringOfIndex(["a", "b"], 3, "[UNK]", "m")(torch.tensor([[0, 1, 3], [4, -1, 99]]))
    assert y.tolist() == [["m", "[UNK]", "a"], ["b", "[UNK]", "[UNK]"]]


@pytest.mark.parametrize("module", [StringLookup(["a", "b"], 0), IntegerLookup([5, 6], 0)], ids=["strings", "integers"])
def test_where_there_is_no_index_for_it_a_token_out_of_the_vocabulary_is_named(module: Any) -> None:
    strings = isinstance(module, StringLookup)
    known, unknown = (["b"], ["b", "other"]) if strings else (torch.tensor([6]), torch.tensor([6, 777]))
    assert module(known).tolist() == [1]
    with pytest.raises(ValueError, match="other" if strings else "777"):
        module(unknown)


def test_the_mask_value_has_a_bucket_of_its_own() -> None:
    y = hash_buckets(["a", "m", "b"], buckets=5, salt=None, mask_value="m")
    assert y.tolist() == [1 + text_bucket("a", 4, None), 0, 1 + text_bucket("b", 4, None)]
    assert hash_buckets(["m"], buckets=1, salt=None, mask_value="m").tolist() == [0]


@pytest.mark.parametrize("wrap", [lambda x: x, np.array, lambda x: np.array(x, object)], ids=["lists", "U", "objects"])
def test_strings_may_come_as_lists_or_arrays(wrap: Any) -> None:
    assert elements(wrap([["a", "b"], ["c", "d\u00e9"]])) == (["a", "b", "c", "d\u00e9"], (2, 2))
