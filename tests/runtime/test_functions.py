"""The functions of the module config equal independent numpy formulas, at their edges too."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # at these sizes threads cost more than they bring

import h5port.runtime.functions  # noqa: E402
from h5port.layers.activations import NAMES  # noqa: E402
from h5port.runtime.build import FUNCTIONS  # noqa: E402

functions = SimpleNamespace(**FUNCTIONS)

Array = np.ndarray[Any, np.dtype[Any]]

# Steps of 1/4, so that each bound of a piecewise function (0, 1/2, 1, 2.5, 3, 6 ...) is met exactly.
GRID = np.concatenate([np.linspace(-12, 12, 97), [-700.0, -50.0, -1e-9, -0.0, 1e-9, 20.5, 50.0, 700.0]])


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x: Array) -> Array:
    return 0.5 * (np.tanh(0.5 * x) + 1)


def keras_relu(x: Array, slope: float, ceiling: float | None, threshold: float) -> Array:
    """The steps of keras/src/activations/activations.py, ReLU.static_call, of Keras 3.15."""
    below = np.maximum(threshold - x, 0)
    x = x * (x > threshold) if threshold else np.maximum(x, 0)
    if ceiling is not None:
        x = np.clip(x, 0, ceiling)
    return x - slope * below if slope else x


FORMULAS: list[tuple[str, dict[str, Any], Callable[[Array], Array]]] = [
    ("identity", {}, lambda x: x),
    ("relu", {}, lambda x: np.where(x > 0, x, 0)),
    ("relu6", {}, lambda x: np.clip(x, 0, 6)),
    ("sigmoid", {}, sigmoid),
    ("tanh", {}, np.tanh),
    ("softsign", {}, lambda x: x / (1 + np.abs(x))),
    ("elu", {"alpha": 1.0}, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    ("elu", {"alpha": 0.5}, lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))),
    (
        "selu",
        {},
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    ),
    ("celu", {"alpha": 0.5}, lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0) / 0.5))),
    ("gelu", {}, lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2),
    ("silu", {}, lambda x: x * sigmoid(x)),
    ("mish", {}, lambda x: x * np.tanh(softplus(x))),
    ("exp", {}, np.exp),
    ("leaky_relu", {"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    ("hard_silu", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    ("hard_tanh", {}, lambda x: np.clip(x, -1, 1)),
    ("hard_shrink", {"lambd": 0.5}, lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    ("soft_shrink", {"lambd": 0.5}, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("tanh_shrink", {}, lambda x: x - np.tanh(x)),
    ("log_sigmoid", {}, lambda x: -softplus(-x)),
    ("squareplus", {"b": 4.0}, lambda x: (x + np.hypot(x, 2)) / 2),
    ("squareplus", {"b": 0.25}, lambda x: (x + np.hypot(x, 0.5)) / 2),
    ("sparse_plus", {}, lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4))),
    ("sparse_sigmoid", {}, lambda x: np.where(x <= -1, 0, np.where(x >= 1, 1, (x + 1) / 2))),
    ("hard_sigmoid", {}, lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, (x + 3) / 6))),
    ("hard_sigmoid_fifth", {}, lambda x: np.where(x <= -2.5, 0, np.where(x >= 2.5, 1, (x + 2.5) / 5))),
    ("threshold", {"theta": 1.0}, lambda x: np.where(x > 1, x, 0)),
    ("threshold", {"theta": -0.5}, lambda x: np.where(x > -0.5, x, 0)),
    ("threshold_magnitude", {"theta": 1.0}, lambda x: np.where(np.abs(x) > 1, x, 0)),
]


def close(got: Any, expected: Array, tolerance: float = 1e-12) -> None:
    assert got.dtype == torch.from_numpy(expected[:0]).dtype
    np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance, atol=tolerance)


# ---- the table


def test_every_function_of_the_room_can_be_called_by_its_name() -> None:
    texts = [f.read_text(encoding="utf-8") for f in Path(h5port.runtime.functions.__path__[0]).glob("*.py")]
    written = [node.name for t in texts for node in ast.parse(t).body if isinstance(node, ast.FunctionDef)]
    assert len(written) == len(set(written))
    assert set(written) == FUNCTIONS.keys()


@pytest.mark.parametrize("name", sorted(n for n, f in NAMES.items() if f is not None))
def test_every_activation_of_keras_has_its_function(name: str) -> None:
    function = NAMES[name]
    assert function is not None
    y = FUNCTIONS[function.name](torch.linspace(-2, 2, 8).reshape(2, 4), **function.args)
    assert torch.isfinite(y).all()


# ---- activations


@pytest.mark.parametrize(("name", "args", "formula"), FORMULAS, ids=lambda v: str(v) if isinstance(v, str) else None)
def test_an_activation_equals_its_formula(name: str, args: dict[str, Any], formula: Callable[[Array], Array]) -> None:
    close(FUNCTIONS[name](torch.from_numpy(GRID), **args), formula(GRID))


def test_softplus_is_linear_above_twenty_as_in_torch() -> None:
    close(functions.softplus(torch.from_numpy(GRID)), softplus(GRID), 3e-9)


def test_the_two_hard_sigmoids_differ() -> None:
    x = torch.tensor([-2.75, -1.0, 1.0, 2.75])
    assert (functions.hard_sigmoid(x) - functions.hard_sigmoid_fifth(x)).abs().min() > 0.01


@pytest.mark.parametrize("threshold", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("ceiling", [None, 2.0, 6.0])
@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_relu_with_all_options_follows_keras(slope: float, ceiling: float | None, threshold: float) -> None:
    infinities = [math.inf] if threshold else [math.inf, -math.inf]  # below a threshold Keras' own -inf * 0 is nan
    x = np.concatenate([GRID, infinities])
    y = functions.keras_relu(torch.from_numpy(x), negative_slope=slope, max_value=ceiling, threshold=threshold)
    close(y, keras_relu(x, slope, ceiling, threshold))


def test_relu_is_zero_where_x_is_the_threshold() -> None:
    x = torch.tensor([0.5, math.nextafter(0.5, 1.0)], dtype=torch.float64)
    y = functions.keras_relu(x, negative_slope=0.3, max_value=None, threshold=0.5)
    assert y.tolist() == [0.0, x[1].item()]


def test_thresholds_are_strict() -> None:
    x = torch.tensor([1.0, math.nextafter(1.0, 2.0), -1.0, math.nextafter(-1.0, -2.0)], dtype=torch.float64)
    assert functions.threshold(x, theta=1.0).tolist() == [0, x[1].item(), 0, 0]
    assert functions.threshold_magnitude(x, theta=1.0).tolist() == [0, x[1].item(), 0, x[3].item()]


def sparsemax(row: Array) -> Array:
    """ops.sparsemax of Keras 3.15, one row: the running sums of the support are summed once more."""
    ordered = sorted(row, reverse=True)
    sums = list(itertools.accumulate(ordered))
    support = [s for k, (v, s) in enumerate(zip(ordered, sums, strict=True), 1) if v > (s - 1) / k]
    return np.maximum(row - (sum(support) - 1) / len(support), 0)


def test_sparsemax_is_keras_own_and_not_the_papers() -> None:
    x = torch.tensor([[1.0, 0.9, 0.8, 0.1], [5.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    assert functions.sparsemax(x, dim=-1).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    more = np.random.default_rng(0).normal(size=(50, 6))
    close(functions.sparsemax(torch.from_numpy(more), dim=-1), np.array([sparsemax(row) for row in more]))


@pytest.mark.parametrize("dims", [[1], [1, 2], [0, 2], [-1, 0]])
def test_softmax_over_axes_is_joint(dims: list[int]) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 5)) * 300
    e = np.exp(x - x.max(axis=tuple(dims), keepdims=True))
    close(functions.softmax_axes(torch.from_numpy(x), dims=dims), e / e.sum(axis=tuple(dims), keepdims=True))


@pytest.mark.parametrize("dim", [1, -1])
def test_softmax_and_its_logarithm_and_glu_take_their_axis(dim: int) -> None:
    x = np.random.default_rng(2).normal(size=(3, 4, 6))
    e = np.exp(x)
    given, expected = torch.from_numpy(x), e / e.sum(dim, keepdims=True)
    close(functions.softmax(given, dim=dim), expected)
    close(functions.log_softmax(given, dim=dim), np.log(expected))
    one, two = np.split(x, 2, dim)
    close(functions.glu(given, dim=dim), one * sigmoid(two))


def test_l2_normalize_divides_by_the_length_and_leaves_zeros() -> None:
    x = np.random.default_rng(3).normal(size=(3, 4, 5))
    x[1, :, 2] = 0
    length = np.sqrt((x**2).sum(1, keepdims=True))
    close(functions.l2_normalize(torch.from_numpy(x), dim=1, floor=1e-6), x / np.where(length == 0, 1, length))


# ---- masks


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [1, 2])
def test_masked_mean_is_that_of_the_valid_steps_and_nan_without_any(dim: int, keepdim: bool) -> None:
    x = np.random.default_rng(4).normal(size=(3, 5, 5))
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], bool)
    expected = np.full((3, 5), np.nan)
    for row, channel in np.ndindex(2, 5):
        steps = x[row, :, channel] if dim == 1 else x[row, channel]
        expected[row, channel] = steps[mask[row]].mean()
    y = functions.masked_mean(torch.from_numpy(x), torch.from_numpy(mask), dim=dim, keepdim=keepdim)
    close(y, np.expand_dims(expected, dim) if keepdim else expected)


MASK = np.array([[[1, 1, 1], [1, 0, 1]], [[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]], bool)


# What a place gives where all n are masked. Keras 2 adds -1e9, beside which float32 keeps nothing of the scores; over
# several axes it takes exp(x - logsumexp(x)), in which the logarithm of the count is lost as well.
DEAD: dict[tuple[str, int], Callable[[int], float]] = {
    ("masked_softmax_add", 1): lambda n: 1 / n,
    ("masked_softmax_add", 2): lambda n: 1,
    ("masked_softmax_where", 1): lambda n: 0,
    ("masked_softmax_where", 2): lambda n: 0,
}


@pytest.mark.parametrize("dims", [[-1], [1], [1, 2]])
@pytest.mark.parametrize("name", ["masked_softmax_add", "masked_softmax_where"])
def test_a_masked_softmax_is_that_of_the_valid_places(name: str, dims: list[int]) -> None:
    x, axes = np.random.default_rng(5).normal(size=MASK.shape).astype(np.float32), tuple(dims)
    e = np.exp(x) * MASK
    total = e.sum(axes, keepdims=True)
    alive = np.broadcast_to(total > 0, x.shape)
    y = FUNCTIONS[name](torch.from_numpy(x), torch.from_numpy(MASK), dims=dims).numpy()
    np.testing.assert_allclose(y[alive], (e / np.where(total == 0, 1, total))[alive], rtol=1e-6, atol=0)
    assert not y[alive & ~MASK].any()
    assert (~alive).any()
    np.testing.assert_allclose(y[~alive], DEAD[name, len(dims)](x.shape[dims[0]]), rtol=1e-6)


def test_masking_looks_at_all_features_of_a_step() -> None:
    x = torch.tensor([[[9.0, 9.0], [9.0, 1.0], [math.nan, 9.0]]])
    mask = functions.any_differs(x, value=9.0)
    assert mask.tolist() == [[False, True, True]]
    assert functions.zero_masked(x[:, :2], mask[:, :2]).tolist() == [[[0, 0], [9, 1]]]


# ---- padding and pooling


def windows(x: Array, size: int, stride: int) -> list[Array]:
    """What each step of a window with padding "same" sees of the real steps: the odd one of the padding at the end."""
    n = len(x)
    count = math.ceil(n / stride)
    front = max((count - 1) * stride + size - n, 0) // 2
    starts = [k * stride - front for k in range(count)]
    return [x[max(s, 0) : max(s + size, 0)] for s in starts]


POOLED: dict[str, Callable[[Array], float]] = {
    "max_pool_same_end": lambda window: window.max(),
    "average_pool_same_end": lambda window: window.mean(),
    "pad_same": lambda window: window.sum(),
}


@pytest.mark.parametrize("name", POOLED)
def test_padding_and_pooling_same_equal_brute_force(name: str) -> None:
    got, expected = [], []
    for n, size, stride in itertools.product(range(1, 13), range(1, 6), range(1, 5)):
        row = np.random.default_rng(n).uniform(-9, -1, n)  # below zero: a padding of zeros would win
        x = torch.from_numpy(row)[None, None]
        if name == "pad_same":
            got.append(functions.pad_same(x, widths=[size], strides=[stride])[0, 0].unfold(0, size, stride).sum(-1))
        else:
            got.append(FUNCTIONS[name](x, size=[size], stride=[stride])[0, 0])
        expected.append([POOLED[name](window) for window in windows(row, size, stride)])
    assert [len(y) for y in got] == [len(y) for y in expected]
    close(torch.cat(got), np.concatenate(expected))


def test_padding_same_adds_the_odd_step_at_the_end() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert functions.pad_same(x, widths=[2], strides=[1]).tolist() == [[[1, 2, 3, 0]]]
    assert functions.pad_same(x, widths=[4], strides=[1]).tolist() == [[[0, 1, 2, 3, 0, 0]]]
