"""Attention: masks by the rules of the writer, rows without any valid key, and what is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic import Entry, Shape, synthetic

from h5port.errors import H5PortError
from h5port.layers.catalogue import Lowered

torch = pytest.importorskip("torch")

from h5port.runtime.build import FUNCTIONS  # noqa: E402

SELF: tuple[tuple[int, ...], ...] = ((4, 2, 3), (2, 3), (4, 2, 3), (2, 3), (4, 2, 3), (2, 3), (2, 3, 4), (4,))
HEADS: Entry = ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3})


def masked_self_attention(writer: str, **call: Any) -> Lowered:
    """Embedding(mask_zero) -> MultiHeadAttention on itself -> Add of both -> GlobalAveragePooling1D."""
    entries: tuple[Entry, ...] = (("Embedding", {"input_dim": 9, "output_dim": 4, "mask_zero": True}), HEADS)
    entries += (("Add", {}), ("GlobalAveragePooling1D", {}))
    made = synthetic(*entries, inputs=((None, 6),), writer=writer, weights=((9, 4), *SELF), **call)
    embedding, heads, add, pool = (c for c in made.model.calls if c.layer != "x0")
    (x,), (y,) = heads.args, add.args
    calls = [c for c in made.model.calls if c.layer == "x0"]
    calls += [embedding, replaced(heads, args=(x, x)), replaced(add, args=([x, y],)), pool]
    return type(made)(made.archive, replaced(made.model, calls=tuple(calls)), made.writer, made.arrays).lower()


def replaced(struct: Any, **fields: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(struct, **fields)


def targets(lowered: Lowered) -> list[str]:
    return [c.target for c in lowered.program.calls]


@pytest.mark.parametrize(
    ("writer", "masked_attention", "masked_mean"),
    [
        ("tf.keras-2.8", False, True),  # no masks inside; Add of one masked input is masked
        ("tf.keras-2.15", True, True),
        ("keras-3.3.3", True, False),  # Add gives no mask
        ("keras-3.6.0", True, True),
        ("keras-3.8.0", True, False),  # the attention took the mask off the embedding's output
        ("keras-3.15.1", True, False),
    ],
)
def test_masks_of_a_residual_attention(writer: str, masked_attention: bool, masked_mean: bool) -> None:
    found = targets(masked_self_attention(writer))
    masked = {"attend_masked", "masked_softmax_add", "masked_softmax_where"} & set(found)
    assert bool(masked) == masked_attention
    assert ("masked_mean" in found) == masked_mean


@pytest.mark.parametrize(
    ("writer", "options", "function"),
    [
        ("tf.keras-2.15", {}, "masked_softmax_add"),
        ("tf.keras-2.15", {"softmax_robust_masking": True}, "masked_softmax_fill"),
        ("keras-3.6.0", {}, "masked_softmax_add"),
        ("keras-3.9.2", {}, "attend_masked"),
        ("keras-3.9.2", {"dropout": 0.1}, "masked_softmax_add"),
        ("keras-3.12.0", {"dropout": 0.1}, "masked_softmax_where"),
    ],
)
def test_the_writer_decides_what_a_masked_row_gives(writer: str, options: dict[str, Any], function: str) -> None:
    entry = (HEADS[0], {**HEADS[1], "sliding_window": 2, **options})
    made = synthetic(entry, inputs=((None, 6, 4), (None, 6, 4)), writer=writer, weights=SELF)
    assert function in targets(made.lower())


@pytest.mark.parametrize(
    ("function", "expected"),
    [("masked_softmax_add", 1 / 3), ("masked_softmax_fill", 1 / 3), ("masked_softmax_where", 0.0)],
)
def test_a_row_without_a_valid_place(function: str, expected: float) -> None:
    scores, mask = torch.zeros(2, 3), torch.tensor([[False] * 3, [True, False, True]])
    weights = FUNCTIONS[function](scores, mask, dims=[-1])
    np.testing.assert_allclose(weights, [[expected] * 3, [0.5, 0, 0.5]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attend_masked_is_the_softmax_over_valid_keys_and_the_mean_where_there_are_none(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, n, 4)) for n in (5, 6, 6))
    mask = rng.random((2, 1, 5, 6)) > 0.5
    mask[0, 0, 2], mask[1, 0, 0] = False, True
    scores = np.where(mask, 0.5 * q @ k.swapaxes(-1, -2), -1e300)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ v
    inputs = [torch.tensor(x, dtype=dtype) for x in (q, k, v)]
    found = FUNCTIONS["attend_masked"](*inputs, torch.tensor(mask), scale=0.5)
    np.testing.assert_allclose(found, expected, atol=1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("axes", [[1], [2], [1, 2], [2, 1]])
def test_heads_go_before_the_steps_and_back(axes: list[int]) -> None:
    x = torch.arange(2.0 * 3 * 5 * 8).reshape(2, 3, 5, 8)
    heads = FUNCTIONS["heads_before"](x, heads=4, axes=axes)
    steps = np.prod([x.shape[a] for a in axes])
    assert heads.shape[-3:] == (4, steps, 2)
    assert torch.equal(FUNCTIONS["heads_behind"](heads, x, axes=axes), x)


TWO: tuple[Shape, ...] = ((None, 6, 4), (None, 6, 4))
REFUSED: list[tuple[Entry, tuple[Shape, ...], str, str]] = [
    ((HEADS[0], {**HEADS[1], "attention_axes": [-2]}), TWO, "keras-3.9.2", "attention_axes"),
    ((HEADS[0], {**HEADS[1], "attention_axes": [2]}), TWO, "keras-3.15.1", "attention_axes"),
    ((HEADS[0], {**HEADS[1], "attention_axes": []}), TWO, "keras-3.15.1", "attention_axes"),
    ((HEADS[0], HEADS[1]), ((None, 6, 4), (None, 6, 5, 4)), "keras-3.15.1", "rank"),
    (("Attention", {}), ((None, 6, 4),), "keras-3.15.1", "[query, value]"),
]


@pytest.mark.parametrize(("entry", "inputs", "writer", "word"), REFUSED)
def test_what_has_no_meaning_is_refused_by_name(
    entry: Entry, inputs: tuple[Shape, ...], writer: str, word: str
) -> None:
    weights = SELF if entry[0] == "MultiHeadAttention" else None
    with pytest.raises(H5PortError) as error:
        synthetic(entry, inputs=inputs, writer=writer, weights=weights).lower()
    assert word in str(error.value)


@pytest.mark.parametrize(
    ("equation", "shape"),
    [
        ("ab,cd->ab", [4]),  # a letter of the kernel that is nowhere else
        ("abc->abc", [None, 4]),
        ("...ab...,bc->...ac...", 5),
        ("aab,bc->aac", [None, 5]),
        ("abc,cd->abd", [5]),
        ("abc,cd->abde", [None, 5, 2]),
    ],
)
def test_equations_that_keras_does_not_take_are_refused(equation: str, shape: Any) -> None:
    entry = ("EinsumDense", {"equation": equation, "output_shape": shape})
    with pytest.raises(H5PortError):
        synthetic(entry, weights=((4, 5),)).lower()
