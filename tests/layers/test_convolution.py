"""Convolutions of all kinds against sums written out in numpy, over all sizes, strides and paddings."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from synthetic import KERAS1, KERAS2, KERAS3, Array, Entry, Shape, Synthetic, synthetic

from h5port.errors import H5PortError
from h5port.transform.recipe import read_from

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from h5port.runtime.build import build  # noqa: E402


def computed(model: Synthetic, x: Array) -> Array:
    """What the converted model gives."""
    lowered = model.lower()
    arrays = {n: r.apply(read_from(model.arrays)) for n, r in lowered.recipes.items()}
    tensors = {n: torch.from_numpy(np.array(a, order="C")) for n, a in arrays.items()}
    with torch.no_grad():
        y: Array = build(lowered.program, tensors)(torch.from_numpy(x)).numpy()
    return y


def check(
    entry: Entry, size: int, expected: Callable[..., Array], *weights: tuple[int, ...], known: bool = True, **given: Any
) -> None:
    """A layer on (3, size, 4) in float64, against `expected(x, *weights)`."""
    inputs: tuple[Shape, ...] = ((None, size if known else None, 4),)
    model = synthetic(entry, inputs=inputs, dtype="float64", weights=weights, **given)
    x = np.random.default_rng(1).normal(size=(3, size, 4))
    np.testing.assert_allclose(computed(model, x), expected(x, *model.arrays.values()), rtol=1e-10, atol=1e-10)


# ---- convolutions: output o sees the inputs o * stride - start + tap * rate


def correlation(x: Array, kernel: Array, start: int, count: int, stride: int, rate: int = 1) -> Array:
    y = np.zeros((len(x), count, kernel.shape[2]))
    for o, tap in itertools.product(range(count), range(len(kernel))):
        at = o * stride - start + tap * rate
        if 0 <= at < x.shape[1]:
            y[:, o] += x[:, at] @ kernel[tap]
    return y


def tensorflow_start(n: int, width: int, stride: int) -> int:
    return max((-(-n // stride) - 1) * stride + width - n, 0) // 2


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size not known"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_same_of_tensorflow(stride: int, known: bool) -> None:
    for n, taps, rate in itertools.product((6, 7, 8), (1, 2, 3, 4), (1, 2)):
        start = tensorflow_start(n, (taps - 1) * rate + 1, stride)

        def expected(x: Array, k: Array, n: int = n, start: int = start, rate: int = rate) -> Array:
            return correlation(x, k, start, -(-n // stride), stride, rate)

        options = {"filters": 5, "kernel_size": taps, "strides": stride, "dilation_rate": rate, "padding": "same"}
        check(("Conv1D", {**options, "use_bias": False}), n, expected, (taps, 4, 5), known=known)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_same_of_theano_begins_half_a_window_before_and_its_kernels_are_turned_round(stride: int) -> None:
    for n, taps in itertools.product((6, 7, 8), (1, 2, 3, 4)):

        def expected(x: Array, k: Array, n: int = n, taps: int = taps) -> Array:
            return correlation(x, k[::-1], taps // 2, -(-n // stride), stride)

        options = {"filters": 5, "kernel_size": taps, "strides": stride, "padding": "same", "use_bias": False}
        check(("Conv1D", options), n, expected, (taps, 4, 5), writer=KERAS2, backend="theano")


@pytest.mark.parametrize(("writer", "start"), [("keras-1.0.8", 1), (KERAS1, 2)])
def test_padding_same_of_theano_in_3d_was_tensorflows_before_keras_1_2_1(writer: str, start: int) -> None:
    options = {"filters": 1, "kernel_size": [4, 1, 1], "padding": "same", "use_bias": False}
    shape = (None, 5, 1, 1, 1)
    model = synthetic(("Conv3D", options), inputs=(shape,), writer=writer, backend="theano", dtype="float64")
    x = np.random.default_rng(1).normal(size=(2, 5, 1, 1, 1))
    kernel = next(iter(model.arrays.values())).reshape(4, 1, 1)[::-1]
    expected = correlation(x.reshape(2, 5, 1), kernel, start, 5, 1)
    np.testing.assert_allclose(computed(model, x).reshape(2, 5, 1), expected, rtol=1e-10)


# ---- transposed: input i adds to the outputs i * stride - front + tap * rate


def spread(x: Array, kernel: Array, front: int, count: int, stride: int, rate: int = 1) -> Array:
    y = np.zeros((len(x), count, kernel.shape[1]))
    for i, tap in itertools.product(range(x.shape[1]), range(len(kernel))):
        at = i * stride - front + tap * rate
        if 0 <= at < count:
            y[:, at] += x[:, i] @ kernel[tap].T
    return y


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("extra", [None, 0, 1])
@pytest.mark.parametrize("known", [True, False], ids=["size known", "size not known"])
def test_transposed_convolutions(padding: str, extra: int | None, known: bool) -> None:
    for taps, (stride, rate) in itertools.product((1, 2, 3, 4, 5), ((1, 1), (2, 1), (3, 1), (1, 2))):
        if extra is not None and extra >= stride:
            continue
        width = (taps - 1) * rate + 1
        if padding == "valid":
            count = 5 * stride + (max(width, stride) if extra is None else width + extra)
            front = 0
        else:
            count = 6 * stride if extra is None else 5 * stride + width - 2 * (width // 2) + extra
            front = max(5 * stride + width - count, 0) // 2

        def expected(
            x: Array, k: Array, b: Array, at: tuple[int, int, int, int] = (front, count, stride, rate)
        ) -> Array:
            return spread(x, k, *at) + b

        options = {"filters": 5, "kernel_size": taps, "strides": stride, "dilation_rate": rate, "padding": padding}
        entry = ("Conv1DTranspose", {**options, "output_padding": extra})
        check(entry, 6, expected, (taps, 5, 4), (5,), known=known, writer=KERAS3)


def test_transposed_convolutions_of_theano_are_cut_by_half_a_window() -> None:
    for taps, stride in itertools.product((1, 3, 5), (1, 2, 3)):

        def expected(x: Array, k: Array, taps: int = taps, stride: int = stride) -> Array:
            return spread(x, k[::-1], taps // 2, 6 * stride, stride)

        options = {"filters": 5, "kernel_size": taps, "strides": stride, "padding": "same", "use_bias": False}
        check(("Conv1DTranspose", options), 6, expected, (taps, 5, 4), writer=KERAS2, backend="theano")


@pytest.mark.parametrize("name", ["Conv2DTranspose", "SeparableConv2D"])
def test_even_kernels_that_theano_cuts_wrongly_are_refused(name: str) -> None:
    weights = ((2, 2, 5, 4), (5,)) if name == "Conv2DTranspose" else ((2, 2, 4, 1), (1, 1, 4, 5), (5,))
    options = {"filters": 5, "kernel_size": 2, "padding": "same"}
    model = synthetic((name, options), inputs=((None, 6, 7, 4),), writer=KERAS2, backend="theano", weights=weights)
    with pytest.raises(H5PortError, match="even kernel"):
        model.lower()


@pytest.mark.parametrize("height", [11, 15, None])
def test_an_output_shape_that_the_windows_do_not_reach_is_refused(height: int | None) -> None:
    options = {"filters": 5, "kernel_size": [3, 1], "strides": [2, 1], "output_shape": [None, height, 7, 5]}
    model = synthetic(
        ("Conv2DTranspose", options), inputs=((None, 6, 7, 4),), writer=KERAS1, weights=((3, 1, 4, 5), (5,))
    )
    with pytest.raises(H5PortError, match=r"longer by|output_shape"):
        model.lower()


# ---- channels by themselves


def test_output_channels_of_a_depthwise_convolution_are_ordered_by_input_channel() -> None:
    def expected(x: Array, k: Array, b: Array) -> Array:
        y = np.stack([correlation(x[..., [c]], k[:, [c]], 0, 5, 1) for c in range(4)], -2)
        return y.reshape(3, 5, 8) + b

    check(("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}), 7, expected, (3, 4, 2), (8,))


# ---- locally connected layers: the three ways to store a kernel


def local(x: Array, kernel: Array, start: int, stride: int) -> Array:
    """kernel (places, taps, in, out)."""
    y = np.zeros((len(x), kernel.shape[0], kernel.shape[3]))
    for o, tap in itertools.product(range(kernel.shape[0]), range(kernel.shape[1])):
        at = o * stride - start + tap
        if 0 <= at < x.shape[1]:
            y[:, o] += x[:, at] @ kernel[o, tap]
    return y


def seen(n: int, places: int, taps: int, stride: int, start: int) -> list[tuple[int, int, int]]:
    """(place, tap, input) of all connections, in their order."""
    every = ((o, tap, o * stride - start + tap) for o in range(places) for tap in range(taps))
    return [(o, tap, at) for o, tap, at in every if 0 <= at < n]


@pytest.mark.parametrize("implementation", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_locally_connected_layers(implementation: int, padding: str) -> None:
    for n, taps, stride in itertools.product((6, 7), (1, 2, 3), (1, 2, 3)):
        if padding == "same" and implementation == 1:
            continue
        places = -(-(n - taps + 1) // stride) if padding == "valid" else -(-n // stride)
        start = 0 if padding == "valid" else taps // 2
        pairs = seen(n, places, taps, stride, start)
        shapes = {1: (places, taps * 4, 5), 2: (n, 4, places, 5), 3: (len(pairs) * 20,)}

        def expected(
            x: Array,
            stored: Array,
            b: Array,
            places: int = places,
            taps: int = taps,
            at: tuple[int, int] = (start, stride),
            pairs: list[tuple[int, int, int]] = pairs,
        ) -> Array:
            kernel = np.zeros((places, taps, 4, 5))
            if implementation == 1:
                kernel = stored.reshape(kernel.shape)
            elif implementation == 2:
                for o, tap, i in pairs:
                    kernel[o, tap] = stored[i, :, o]
            else:  # sorted by (place, out), then by (input, in)
                values = iter(stored)
                for o in range(places):
                    for out, (_, tap, _), c in itertools.product(range(5), (p for p in pairs if p[0] == o), range(4)):
                        kernel[o, tap, c, out] = next(values)
            return local(x, kernel, *at) + b

        options = {"filters": 5, "kernel_size": taps, "strides": stride, "padding": padding}
        entry = ("LocallyConnected1D", {**options, "implementation": implementation})
        check(entry, n, expected, shapes[implementation], (places, 5), writer="tf.keras-2.15")
