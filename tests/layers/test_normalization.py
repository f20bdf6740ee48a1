"""Normalisations: against their formulas on axes of every kind, and what differs by writer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic import KERAS2, KERAS3, Array, Entry, Shape, Synthetic, synthetic

from h5port.errors import H5PortError
from h5port.transform.recipe import read_from


def computed(model: Synthetic, x: Array) -> Array:
    torch = pytest.importorskip("torch")
    from h5port.runtime.build import build

    lowered = model.lower()
    arrays = {n: torch.from_numpy(np.array(r.apply(read_from(model.arrays)))) for n, r in lowered.recipes.items()}
    with torch.no_grad():
        y: Array = build(lowered.program, arrays)(torch.from_numpy(x)).numpy()
    return y


def sample(shape: Shape) -> Array:
    return np.random.default_rng(2).normal(size=[n or 3 for n in shape]).astype("float32")


def along(array: Array, axis: int, rank: int) -> Array:
    """An array of one axis, to be broadcast along `axis`."""
    return array.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


SHAPES: list[Shape] = [(None, 4), (None, 4, 6), (None, 4, 6, 2), (None, 2, 4, 6, 2), (None, 2, 3, 4, 6, 2)]


@pytest.mark.parametrize(("shape", "axis"), [(s, a) for s in SHAPES for a in range(1, len(s))], ids=str)
@pytest.mark.parametrize("from_the_end", [False, True])
def test_batch_normalization_on_every_axis_of_every_rank(shape: Shape, axis: int, from_the_end: bool) -> None:
    option = axis - len(shape) if from_the_end else axis
    model, x = synthetic(("BatchNormalization", {"axis": option}), inputs=(shape,)), sample(shape)
    gamma, beta, mean, variance = (along(a, axis, len(shape)) for a in model.arrays.values())
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(computed(model, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [(s, a) for s in SHAPES for a in range(1, len(s))], ids=str)
@pytest.mark.parametrize("groups", [1, 2, -1])
def test_group_normalization_on_every_axis_of_every_rank(shape: Shape, axis: int, groups: int) -> None:
    size = shape[axis] or 0
    if size % groups:
        pytest.skip("not a multiple")
    entry: Entry = ("GroupNormalization", {"axis": axis, "groups": groups})
    model, x = synthetic(entry, inputs=(shape,), weights=((size,), (size,))), sample(shape)
    gamma, beta = (along(a, axis, len(shape)) for a in model.arrays.values())
    parts = np.split(x, size if groups == -1 else groups, axis)
    axes = tuple(range(1, len(shape)))
    normed = [(p - p.mean(axes, keepdims=True)) / np.sqrt(p.var(axes, keepdims=True) + 1e-3) for p in parts]
    np.testing.assert_allclose(computed(model, x), gamma * np.concatenate(normed, axis) + beta, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keras", ["keras-3.15.1", "tf_keras-2.21"])
def test_arrays_of_layer_normalization_are_in_the_order_of_the_config_and_are_not_transposed(keras: str) -> None:
    entry: Entry = ("LayerNormalization", {"axis": [3, 1]})
    model, x = synthetic(entry, inputs=((None, 4, 6, 2),), writer=keras), sample((None, 4, 6, 2))
    gamma, beta = (a.reshape(4, 1, 2) for a in model.arrays.values())
    assert [a.shape for a in model.arrays.values()] == [(2, 4)] * 2
    normed = (x - x.mean((1, 3), keepdims=True)) / np.sqrt(x.var((1, 3), keepdims=True) + 1e-3)
    np.testing.assert_allclose(computed(model, x), gamma * normed + beta, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("keras", "factor"), [("keras-3.5.0", 1e6), ("tf_keras-2.21", 1e6), ("keras-3.6.0", 1e8)])
def test_a_tiny_row_is_made_a_unit_only_by_later_kerases(keras: str, factor: float) -> None:
    x = np.array([[1e-8, 0, 0, 0], [0, 0, 0, 0], [3, 4, 0, 0]], "float32")
    y = computed(synthetic(("UnitNormalization", {}), inputs=((None, 4),), writer=keras), x)
    np.testing.assert_allclose(y, [[1e-8 * factor, 0, 0, 0], [0, 0, 0, 0], [0.6, 0.8, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("keras", "backend", "shape", "axis", "raised"),
    [
        (KERAS2, "tensorflow", (None, 3, 5, 4), -1, True),
        (KERAS2, "tensorflow", (None, 3, 5, 4), 3, True),
        (KERAS2, "tensorflow", (None, 3, 5, 4), 1, False),
        (KERAS2, "tensorflow", (None, 5, 4), -1, False),
        (KERAS2, "theano", (None, 3, 5, 4), -1, False),
        ("keras-2.1.6", "tensorflow", (None, 3, 5, 4), -1, False),
        ("keras-2.3.1", "tensorflow", (None, 3, 5, 4), -1, True),
        ("tf.keras-2.2", "tensorflow", (None, 3, 5, 4), -1, False),
        (KERAS3, "tensorflow", (None, 3, 5, 4), -1, False),
    ],
)
def test_the_fused_kernel_raises_a_small_epsilon(keras: str, backend: str, shape: Any, axis: int, raised: bool) -> None:
    entry: Entry = ("BatchNormalization", {"axis": axis, "epsilon": 1e-7})
    lowered = synthetic(entry, inputs=(shape,), writer=keras, backend=backend).lower()
    (module,) = lowered.program.modules.values()
    assert module.args["eps"] == (1.001e-5 if raised else 1e-7)


@pytest.mark.parametrize(("keras", "refused"), [("tf_keras-2.21", True), ("tf.keras-2.12", False), (KERAS3, False)])
def test_a_mask_at_group_normalization_weighs_channels_where_keras_does_so(keras: str, refused: bool) -> None:
    chain: tuple[Entry, ...] = (("Masking", {}), ("GroupNormalization", {"groups": 2}))
    model = synthetic(*chain, writer=keras, weights=((4,), (4,)))
    if not refused:
        model.lower()
        return
    with pytest.raises(H5PortError, match="GroupNormalization"):
        model.lower()


@pytest.mark.parametrize("writer", [KERAS3, "tf_keras-2.21"])
@pytest.mark.parametrize("trainable", [True, False])
def test_spectral_normalization_is_the_wrapped_layer(writer: str, trainable: bool) -> None:
    entry: Entry = ("SpectralNormalization", {"layer": ("Dense", {"units": 5}), "trainable": trainable})
    lowered = synthetic(entry, writer=writer).lower()
    assert [m.type for m in lowered.program.modules.values()] == ["Linear"]
    assert any("spectral normalisation" in reason for reason in lowered.dropped.values())


def test_two_kernels_of_a_spectral_normalization_that_differ_are_refused() -> None:
    model = synthetic(("SpectralNormalization", {"layer": ("Dense", {"units": 5})}))
    second = next(p for p in model.arrays if p.endswith("layer/vars/0"))
    model.arrays[second] = model.arrays[second] + 1
    with pytest.raises(H5PortError, match="differ"):
        model.lower()
