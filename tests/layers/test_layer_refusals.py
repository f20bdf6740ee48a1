"""Options and shapes that have no exact form, or on which Kerases themselves differ, are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic import KERAS2, Shape, synthetic

from h5port.errors import H5PortError

PIXELS: Shape = (None, 7, 6, 4)
VOXELS: Shape = (None, 5, 7, 6, 4)
TF_KERAS = "tf.keras-2.15"
CONV = {"filters": 5, "kernel_size": 2}


def refusal(*entry: Any, **given: Any) -> H5PortError:
    with pytest.raises(H5PortError) as error:
        synthetic(entry, **given).lower()
    return error.value


@pytest.mark.parametrize(
    ("entry", "on", "code", "word"),
    [
        (("Dropout", {"rate": 1.5}), (None, 7, 4), "unsupported-option", "1.5"),
        (("SpatialDropout2D", {"rate": -0.1}), PIXELS, "unsupported-option", "-0.1"),
        (("Conv1D", {**CONV, "kernel_size": 8}), (None, 7, 4), "unsupported-graph", "fits"),
        (("MaxPooling2D", {"pool_size": [8, 2]}), PIXELS, "unsupported-graph", "fits"),
        (("AveragePooling3D", {"pool_size": 6}), VOXELS, "unsupported-graph", "fits"),
        (("MaxPooling2D", {"pool_size": [2, 2, 2]}), PIXELS, "unsupported-option", "pool_size"),
        (("AveragePooling1D", {}), PIXELS, "unsupported-graph", "axes"),
        (("Cropping1D", {"cropping": [3, 4]}), (None, 7, 4), "unsupported-graph", "empty"),
        (("Cropping2D", {"cropping": [[1, -1], [0, 0]]}), PIXELS, "unsupported-option", "cropping"),
        (("ZeroPadding2D", {"padding": [[1, 2, 3], [0, 0]]}), PIXELS, "unsupported-option", "padding"),
        (("Resizing", {"height": 0, "width": 3}), PIXELS, "unsupported-option", "0 x 3"),
        (
            ("Resizing", {"height": 3, "width": 3, "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}),
            PIXELS,
            "unsupported-option",
            "at once",
        ),
        (("Rescaling", {"scale": [1.0, 2.0]}), PIXELS, "unsupported-option", "[1.0, 2.0]"),
        (("AutoContrast", {"value_range": [1, 0]}), PIXELS, "unsupported-option", "value_range"),
        (("ConvLSTM2D", CONV), (None, 7, 4), "unsupported-graph", "axes"),
        (("BatchNormalization", {"epsilon": -0.3}), PIXELS, "unsupported-option", "-0.3"),
        (("STFTSpectrogram", {"frame_length": 9}), (None, 7, 2), "unsupported-graph", "fits"),
    ],
)
def test_what_no_torch_module_computes_is_refused(entry: Any, on: Shape, code: str, word: str) -> None:
    error = refusal(*entry, inputs=(on,))
    assert error.code == code
    assert word in str(error)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (("BatchNormalization", {"virtual_batch_size": 2}), "virtual_batch_size"),
        (("ConvLSTM2D", {**CONV, "time_major": True}), "time_major"),
    ],
)
def test_an_option_without_a_form_is_refused_by_its_name(entry: Any, word: str) -> None:
    error = refusal(*entry, inputs=((None, 3, 7, 6, 4),), writer=TF_KERAS)
    assert error.code == "unsupported-option"
    assert word in str(error)


@pytest.mark.parametrize("given", ["uint16", "uint32", "uint64", "complex64", "float8_e4m3fn"])
def test_an_input_of_a_type_that_torch_does_not_compute_in_is_refused(given: str) -> None:
    error = refusal("Flatten", {}, given=given)
    assert error.code == "unsupported-option"
    assert given in str(error)


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "complex64"])
@pytest.mark.parametrize("layer", ["Normalization", "Flatten", "ReLU"])
def test_a_layer_that_shall_compute_in_whole_numbers_is_refused(layer: str, dtype: str) -> None:
    error = refusal(layer, {"dtype": dtype, **({"mean": 1.0, "variance": 2.0} if layer == "Normalization" else {})})
    assert error.code == "unsupported-option"
    assert dtype in str(error)


@pytest.mark.parametrize("given", ["int32", "uint8", "bool"])
@pytest.mark.parametrize(
    "entry",
    [
        ("LayerNormalization", {}),
        ("GroupNormalization", {"groups": 2}),
        ("RMSNormalization", {}),
        ("LeakyReLU", {}),
        ("ReLU", {"max_value": 2.0}),
        ("UpSampling2D", {"interpolation": "bilinear"}),
    ],
    ids=lambda entry: entry[0],
)
def test_whole_numbers_are_refused_where_keras_gives_them_back_as_such(entry: Any, given: str) -> None:
    error = refusal(*entry, inputs=(PIXELS,), given=given)
    assert error.code == "unsupported-graph"
    assert given in str(error)


@pytest.mark.parametrize("name", ["UpSampling2D", "ReLU", "BatchNormalization", "UnitNormalization"])
def test_whole_numbers_are_taken_where_keras_takes_them(name: str) -> None:
    synthetic((name, {}), inputs=(PIXELS,), given="int32").lower()


# ---- where Kerases differ


@pytest.mark.parametrize("name", ["MaxPooling3D", "AveragePooling3D", "Conv3D"])
@pytest.mark.parametrize("known", [True, False], ids=["sizes known", "sizes not known"])
def test_volumes_whose_padding_same_is_negative_are_refused(name: str, known: bool) -> None:
    """A stride two above the window: of 6 voxels TensorFlow's CPU takes the second and the fifth, of 5 the first and
    the fourth."""
    window = {"filters": 5, "kernel_size": [2, 2, 1]} if name == "Conv3D" else {"pool_size": [2, 2, 1]}
    options = {**window, "strides": [1, 1, 3], "padding": "same"}
    error = refusal(name, options, inputs=((None, 5, 7, 6, 4) if known else (None, None, None, None, 4),))
    assert error.code == "unsupported-option"
    assert "CPU" in str(error)
    if known:
        synthetic((name, options), inputs=((None, 5, 7, 5, 4),)).lower()
    synthetic((name, {**options, "strides": [1, 1, 2]}), inputs=((None, 5, 7, 6, 4),)).lower()
    synthetic((name, options), inputs=((None, 5, 7, 6, 4),), writer=KERAS2, backend="theano").lower()


@pytest.mark.parametrize(
    ("entry", "weights", "alike", "unlike"),
    [
        (("Conv1D", CONV), ((2, 4, 5), (5,)), (None, 4, 6), (None, 4, 7)),
        (("Conv2D", CONV), ((2, 2, 4, 5), (5,)), (None, 4, 7, 6), (None, 4, 6, 7)),
        (("Conv2DTranspose", CONV), ((2, 2, 5, 3), (5,)), (None, 3, 3, 4), (None, 3, 4, 3)),
        (("DepthwiseConv2D", {"kernel_size": 2}), ((2, 2, 5, 1), (5,)), (None, 5, 7, 6), (None, 5, 6, 7)),
        (("SeparableConv1D", CONV), ((2, 4, 1), (1, 4, 5), (5,)), (None, 4, 6), (None, 4, 7)),
    ],
    ids=lambda v: v[0],
)
def test_a_bias_as_long_as_the_last_axis_needs_the_backend(
    entry: Any, weights: tuple[tuple[int, ...], ...], alike: Shape, unlike: Shape
) -> None:
    name, options = entry[0], {**entry[1], "data_format": "channels_first"}
    entry, given = (name, options), {"inputs": (alike,), "weights": weights}
    assert refusal(*entry, **given, backend="auto").code == "ambiguous-backend"
    assert refusal(*entry, **given, backend="tensorflow").code == "unsupported-graph"
    for backend in ("torch", "jax"):
        synthetic(entry, **given, backend=backend).lower()
    synthetic(entry, inputs=(unlike,), weights=weights, backend="auto").lower()
    without = (name, options | {"use_bias": False})
    synthetic(without, inputs=(alike,), weights=weights[:-1], backend="auto").lower()
    for writer in ("keras-3.6", TF_KERAS):
        synthetic(entry, **given, writer=writer).lower()


@pytest.mark.parametrize(
    ("equation", "kernel", "alike", "unlike"),
    [
        ("abc,cd->adb", (4, 5), (None, 5, 4), (None, 6, 4)),
        ("abcd,de->abec", (4, 5), (None, 5, 3, 4), (None, 6, 3, 4)),
    ],
)
def test_a_bias_of_an_equation_needs_the_backend_as_well(
    equation: str, kernel: tuple[int, ...], alike: Shape, unlike: Shape
) -> None:
    """Its axis is the last but one; the last or the second is as long."""
    output = equation.split("->")[1]
    shape = [None if letter == "a" else 9 for letter in output[1:]]
    letter = equation.split(",")[1].split("->", maxsplit=1)[0][1]
    entry = ("EinsumDense", {"equation": equation, "output_shape": shape, "bias_axes": letter})
    for size, on in ((5, alike), (5, unlike)):
        sizes = dict(zip(equation.split(",", maxsplit=1)[0], on, strict=True)) | {letter: size}
        entry[1]["output_shape"] = [sizes[k] for k in output[1:]]
        given = {"inputs": (on,), "weights": (kernel, (5, 1))}
        if on is alike:
            assert refusal(*entry, **given, backend="auto").code == "ambiguous-backend"
        synthetic(entry, **given, backend="auto" if on is unlike else "torch").lower()


@pytest.mark.parametrize(
    ("options", "is_exact"),
    [
        ({}, True),
        ({"interpolation": "nearest"}, True),
        ({"antialias": True}, False),
        ({"interpolation": "area"}, False),
        ({"interpolation": "bicubic"}, False),
        ({"interpolation": "lanczos3"}, False),
    ],
)
def test_whole_numbers_that_are_resized_and_rounded_are_refused_where_the_last_bit_may_differ(
    options: dict[str, Any], is_exact: bool
) -> None:
    entry = ("Resizing", {"height": 3, "width": 9, **options})
    synthetic(entry, inputs=(PIXELS,)).lower()
    synthetic(entry, inputs=(PIXELS,), given="uint8", writer=TF_KERAS).lower()
    if is_exact:
        synthetic(entry, inputs=(PIXELS,), given="uint8").lower()
    else:
        error = refusal(*entry, inputs=(PIXELS,), given="uint8")
        assert error.code == "unsupported-option"
        assert "rounded" in str(error)


def test_a_half_of_another_type_than_its_wrapper_is_refused() -> None:
    entry = ("Bidirectional", {"layer": ("ConvLSTM2D", {**CONV, "dtype": "float64"}), "dtype": "float32"})
    error = refusal(*entry, inputs=((None, 3, 7, 6, 4),))
    assert error.code == "unsupported-option"
    assert "float64" in str(error)


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
@pytest.mark.parametrize(("filters", "is_free"), [(4, False), (5, True)])
def test_a_bias_that_goes_along_an_axis_of_its_length_is_looked_for_when_the_module_runs(
    backend: str, filters: int, is_free: bool
) -> None:
    torch = pytest.importorskip("torch")
    from h5port.runtime.build import build

    options = {"filters": filters, "kernel_size": 1, "data_format": "channels_first"}
    given = synthetic(("Conv1D", options), inputs=((None, 3, None),), backend=backend)
    lowered = given.lower()
    tensors = {n: torch.from_numpy(np.array(r.apply(given.archive.read))) for n, r in lowered.recipes.items()}
    module = build(lowered.program, tensors)
    assert module(torch.zeros(2, 3, 7)).shape == (2, filters, 7)
    if backend == "torch" or is_free:
        assert module(torch.zeros(2, 3, 4)).shape == (2, filters, 4)
    else:
        with pytest.raises(RuntimeError, match="TensorFlow"):
            module(torch.zeros(2, 3, 4))
