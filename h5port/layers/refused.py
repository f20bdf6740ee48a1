"""Layers of Keras that are refused, each with the reason that its reader is told."""

from __future__ import annotations

REFUSED: dict[str, str] = {
    "TorchModuleWrapper": "it holds a pickled PyTorch module, which is never unpickled",
    "JaxLayer": "it holds a Python function, which is never executed",
    "FlaxLayer": "it holds a Python object, which is never executed",
    "TFSMLayer": "it points to a TensorFlow SavedModel, which only TensorFlow can run",
    "ContrastLimitedAdaptiveHistogramEqualization": (
        "it equalises each image by the histograms of its tiles, at inference too, and has no torch form here"
    ),
    "Pipeline": "a list of layers inside a layer, which is not read here: call them one after the other",
    "FeatureSpace": "a model of its own kind over a dict of features, with no graph of calls to follow",
    "DenseFeatures": "it holds feature columns of TensorFlow, which only TensorFlow can run",
    "SequenceFeatures": "it holds feature columns of TensorFlow, which only TensorFlow can run",
    **dict.fromkeys(
        ("ClassMethod", "InstanceMethod", "InstanceProperty"),
        "it calls a method of TensorFlow's ragged or sparse tensors, which torch has not",
    ),
}
