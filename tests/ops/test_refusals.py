"""Operations that have no exact form, or whose arguments are none of Keras', are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_operations import document

from h5port.archive import Archive
from h5port.errors import H5PortError
from h5port.layers.base import example
from h5port.layers.catalogue import OPERATIONS, Lowered, lower_model
from h5port.ops.refused import REFUSED_OPERATIONS
from h5port.schema.graph import Constant
from h5port.schema.parse import parse_model
from h5port.schema.writer import find_writer


def lowered(config: dict[str, Any], keras: str = "keras-3.15.1") -> Lowered:
    archive = Archive(Path("synthetic"), "keras-zip", layout="paths")
    writer = find_writer(archive, {}, writer=keras, source_backend="tensorflow")
    return lower_model(archive, parse_model(config, writer), writer)


def problem(name: str, keras: str = "keras-3.15.1", **given: Any) -> tuple[str, str]:
    try:
        (found,) = lowered(document(name, example(**given)), keras).problems
    except H5PortError as error:
        (found,) = error.problems
    return found.code, found.message


@pytest.mark.parametrize("name", sorted(REFUSED_OPERATIONS))
def test_a_refused_operation_tells_its_reason(name: str) -> None:
    code, message = problem(name)
    assert code == "unsupported-layer"
    assert REFUSED_OPERATIONS[name] in message


@pytest.mark.parametrize(
    ("name", "given", "code", "word"),
    [
        ("TopK", {"k": 2, "sorted": False}, "unsupported-option", "sorted=False"),
        ("SVD", {}, "unsupported-option", "signs"),
        ("OneHot", {"num_classes": 3, "sparse": True, "dtype": "int32"}, "unsupported-option", "sparse"),
        ("Sigmoid", {"dtype": "int32"}, "unsupported-graph", "int32"),
        ("Softmax", {"axis": 5}, "bad-config", "axis 5"),
        ("Norm", {"ord": "fro", "axis": 1}, "unsupported-option", "fro"),
        ("Det", {}, "shape-mismatch", "Det"),
        ("Slice", {"shape": [1, 2], "args": ["x0", [0, 0]]}, "bad-config", "slice"),
        ("MaxPool", {"pool_size": [2, 2, 2]}, "unsupported-option", "pool_size"),
        ("FFT", {}, "bad-config", "imaginary"),
        ("Relu", {"args": []}, "bad-config", "Relu"),
        ("Cast", {"gives": "complex64"}, "unsupported-graph", "complex64"),
    ],
)
def test_what_has_no_exact_form_is_refused(name: str, given: dict[str, Any], code: str, word: str) -> None:
    found, message = problem(name, **given)
    assert found == code
    assert word in message


PLACES = [[0.0, 1.0], [1.0, 2.0], [2.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "keras", "given"),
    [
        ("MapCoordinates", "keras-3.8.0", {"order": 1, "fill_mode": "reflect", "args": ["x0", PLACES]}),
        ("MapCoordinates", "keras-3.9.2", {"order": 1, "args": ["x0", PLACES]}),
        ("Resize", "keras-3.5.0", {"size": [3, 3], "on": ((6, 5, 3),), "dtype": "uint8"}),
        ("RGBToGrayscale", "keras-3.3.3", {"on": ((6, 5, 3),), "dtype": "uint8"}),
    ],
)
def test_what_another_release_computes_is_refused(name: str, keras: str, given: dict[str, Any]) -> None:
    code, message = problem(name, keras, **given)
    assert code.startswith("unsupported")
    assert keras in message
    assert not lowered(document(name, example(**given))).problems


@pytest.mark.parametrize("name", ["Slice", "Scatter"])
def test_a_shape_may_be_an_argument_of_the_call(name: str) -> None:
    """As Keras before 3.11 writes it."""
    given = {
        "Slice": example(on=((5, 4),), args=["x0", [0, 1, 2], [1, 3, 2]]),
        "Scatter": example(on=((2,), ()), dtype=("int32", "float32"), args=["x0", "x1", [4, 4]]),
    }[name]
    assert not lowered(document(name, given), "keras-3.6.0").problems


@pytest.mark.parametrize("activation", ["Sigmoid", "Softmax"])
def test_a_loss_takes_the_logits_of_probabilities_as_tensorflow_does(activation: str) -> None:
    """keras/src/backend/tensorflow/nn.py, _get_logits."""
    name = {"Sigmoid": "BinaryCrossentropy", "Softmax": "CategoricalCrossentropy"}[activation]
    config = document(name, example(on=((5, 4), (5, 4))))
    *inputs, loss = config["config"]["layers"]
    node = document(activation, example(on=((5, 4),)))["config"]["layers"][-1] | {"name": "probabilities"}
    loss["inbound_nodes"][0]["args"][1]["config"]["keras_history"][0] = "probabilities"
    node["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "x1"
    config["config"]["layers"] = [*inputs, node, loss]
    *_, last = lowered(config).program.calls
    assert last.target.endswith("_of_logits")


def test_every_class_of_the_modules_of_keras_is_computed_or_refused() -> None:
    """The public classes of keras/src/ops/{nn,core,math,linalg,image}.py of Keras 3.15.1."""
    classes = """Map Scan AssociativeScan Scatter ScatterUpdate Slice SliceUpdate Switch WhileLoop StopGradient ForiLoop
        Unstack Cast SaturateCast ConvertToTensor Cond VectorizedMap Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign
        SoftShrink SparsePlus Silu Squareplus LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu Gelu Celu Glu
        TanhShrink HardTanh HardShrink Threshold Softmax LogSoftmax Sparsemax MaxPool AdaptiveMaxPool AveragePool
        AdaptiveAveragePool Conv DepthwiseConv SeparableConv ConvTranspose OneHot BinaryCrossentropy
        CategoricalCrossentropy SparseCategoricalCrossentropy MultiHot Moments BatchNorm CTCLoss CTCDecode Normalize
        PSNR DotProductAttention RMSNorm LayerNorm Polar Unfold Fold DepthToSpace SpaceToDepth SegmentSum SegmentMax
        SegmentMin SegmentProd TopK InTopK Logsumexp CDist ExtractSequences FFT FFT2 IFFT2 RFFT IRFFT STFT ISTFT Rsqrt
        Erf Erfc Erfinv Logdet ViewAsComplex ViewAsReal Cholesky CholeskyInverse Det Eig Eigh Inv LuFactor Norm Qr Solve
        SolveTriangular SVD Lstsq MatrixRank Pinv JVP RGBToGrayscale RGBToHSV HSVToRGB Resize AffineTransform
        ExtractPatches MapCoordinates PadImages CropImages PerspectiveTransform GaussianBlur ElasticTransform
        ScaleAndTranslate SobelEdges SSIM""".split()
    assert set(classes) <= OPERATIONS.keys() | REFUSED_OPERATIONS.keys()


@pytest.mark.parametrize("other", [(5, 4), (1, 4), (5, 1), (4, 1)])  # with a batch of unknown size: no vectors
def test_sums_of_tensors_are_those_of_numpy(other: tuple[int, ...]) -> None:
    on = ((other[0] if other[0] > 1 else 5, 4), other)
    assert not lowered(document("Add", example(on=on))).problems


@pytest.mark.parametrize(
    ("vector", "is_exact"),
    [([[1.0], [2.0], [3.0], [4.0]], False), ([[[1.0, 2.0, 3.0, 4.0]]], True), ([1.0, 2.0, 3.0, 4.0], True)],
)
def test_a_vector_that_tensorflow_adds_along_another_axis_is_refused(vector: Any, is_exact: bool) -> None:
    given = example(on=((5, 4, 4),), args=["x0", Constant(vector, "float32")])
    found = lowered(document("Add", given)).problems
    assert ["unsupported-graph"] * (not is_exact) == [p.code for p in found]
    assert not lowered(document("Subtract", given)).problems


@pytest.mark.parametrize(("name", "is_kept"), [("Conjugate", True), ("Copy", False), ("Abs", False)])
def test_a_mask_goes_on_behind_an_operation_that_gives_its_argument_back(name: str, is_kept: bool) -> None:
    found = document(name, example(on=((5, 4),)))
    layers = found["config"]["layers"]
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 4], "dtype": "float32"}}

    def layer(class_name: str, name: str, of: str, **config: Any) -> dict[str, Any]:
        argument = {**tensor, "config": {**tensor["config"], "keras_history": [of, 0, 0]}}
        own = {"name": name, "trainable": True, "dtype": "float32", **config}
        inbound = [{"args": [argument], "kwargs": {}}]
        return {
            "module": "keras.layers",
            "class_name": class_name,
            "name": name,
            "config": own,
            "inbound_nodes": inbound,
        }

    before = layers[0]["config"]["name"]
    layers[1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "masking"
    layers.insert(1, layer("Masking", "masking", before))
    layers.append(layer("GlobalAveragePooling1D", "mean", layers[-1]["name"]))
    found["config"]["output_layers"] = ["mean", 0, 0]
    targets = [c.target for c in lowered(found).program.calls]
    assert ("masked_mean" in targets) is is_kept
