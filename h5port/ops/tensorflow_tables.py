"""The functions and the graph operations of TensorFlow that tf.keras keeps as layers, a row each.

The signatures are those of TensorFlow 2.21, and of `compat.v1` beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from h5port.ops import tensorflow_functions as tf


class Row(msgspec.Struct, frozen=True):
    """operation  of h5port/ops, by its class name in Keras 3
    tensors    TensorFlow's names of the tensors, in the order in which the operation takes them
    options    those of the other arguments: "axis", or "perm=axes" where the operation calls it otherwise
    fixed      options of the operation that TensorFlow has no argument for, or another default
    floats     whether whole numbers mean something else to TensorFlow, and are refused
    """

    operation: str
    tensors: str = "x"
    options: str = ""
    fixed: dict[str, Any] = {}
    floats: bool = False

    def renamed(self) -> dict[str, str]:
        pairs = (o.partition("=") for o in self.options.split())
        return {given: ours or given for given, _, ours in pairs}


_REDUCE = "axis keepdims reduction_indices=axis keep_dims=keepdims"
_UNARY = {
    "math.abs": "Absolute",
    "math.acos": "Arccos",
    "math.acosh": "Arccosh",
    "math.asin": "Arcsin",
    "math.asinh": "Arcsinh",
    "math.atan": "Arctan",
    "math.atanh": "Arctanh",
    "math.ceil": "Ceil",
    "math.cos": "Cos",
    "math.cosh": "Cosh",
    "math.erf": "Erf",
    "math.erfc": "Erfc",
    "math.erfinv": "Erfinv",
    "math.exp": "Exp",
    "math.expm1": "Expm1",
    "math.floor": "Floor",
    "math.is_finite": "Isfinite",
    "math.is_inf": "Isinf",
    "math.is_nan": "Isnan",
    "math.log": "Log",
    "math.log1p": "Log1p",
    "math.log_sigmoid": "LogSigmoid",
    "math.logical_not": "LogicalNot",
    "math.negative": "Negative",
    "math.reciprocal": "Reciprocal",
    "math.rint": "Round",
    "math.round": "Round",
    "math.rsqrt": "Rsqrt",
    "math.sigmoid": "Sigmoid",
    "math.sign": "Sign",
    "math.sin": "Sin",
    "math.sinh": "Sinh",
    "math.sqrt": "Sqrt",
    "math.square": "Square",
    "math.tan": "Tan",
    "math.tanh": "Tanh",
}
_BINARY = {
    "__operators__.add": "Add",
    "__operators__.eq": "Equal",
    "__operators__.ne": "NotEqual",
    "math.add": "Add",
    "math.divide": "TrueDivide",
    "math.divide_no_nan": "DivideNoNan",
    "math.equal": "Equal",
    "math.floordiv": "FloorDivide",
    "floor_div": "FloorDivide",
    "math.floormod": "Mod",
    "math.greater": "Greater",
    "math.greater_equal": "GreaterEqual",
    "math.less": "Less",
    "math.less_equal": "LessEqual",
    "math.logical_and": "LogicalAnd",
    "math.logical_or": "LogicalOr",
    "math.logical_xor": "LogicalXor",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.not_equal": "NotEqual",
    "math.pow": "Power",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
_DIVIDING = {"math.divide", "math.divide_no_nan", "math.truediv", "math.pow"}

# Name of the function, without "compat.v1." -> what it means. Names that say where a function comes from twice
# ("math.abs", "abs") stand under the one that TensorFlow writes.
FUNCTIONS: dict[str, Row | Callable[..., Any]] = {
    **{name: Row(operation, floats=name not in ("math.abs", "math.logical_not")) for name, operation in _UNARY.items()},
    "math.logical_not": Row("LogicalNot"),
    "math.negative": Row("Negative"),
    "math.sign": Row("Sign"),
    "math.square": Row("Square"),
    "math.abs": Row("Absolute"),
    "math.softplus": Row("Softplus", "features", floats=True),
    "math.digamma": tf.unary("digamma"),
    "math.lgamma": tf.unary("lgamma"),
    "identity": Row("Copy", "input"),
    "stop_gradient": Row("StopGradient", "input"),
    "cast": tf.cast,
    "clip_by_value": Row("Clip", "t", "clip_value_min=x_min clip_value_max=x_max"),
    **{name: Row(operation, "x y", floats=name in _DIVIDING) for name, operation in _BINARY.items()},
    "math.atan2": Row("Arctan2", "y x", floats=True),
    "math.squared_difference": tf.binary("squared_difference"),
    "math.multiply_no_nan": tf.binary("multiply_no_nan"),
    "math.add_n": tf.add_n,
    "where": Row("Where", "condition x y"),
    "nn.bias_add": tf.bias_add,
    "nn.crelu": tf.crelu,
    "nn.elu": Row("Elu", "features"),
    "nn.gelu": Row("Gelu", "features", "approximate", {"approximate": False}),
    "nn.leaky_relu": tf.leaky_relu,
    "nn.log_softmax": Row("LogSoftmax", "logits", "axis"),
    "nn.relu": Row("Relu", "features"),
    "nn.relu6": Row("Relu6", "features"),
    "nn.selu": Row("Selu", "features"),
    "nn.silu": tf.silu,
    "nn.softmax": Row("Softmax", "logits", "axis"),
    "nn.softsign": Row("Softsign", "features"),
    "math.l2_normalize": tf.l2_normalize,
    "math.reduce_all": Row("All", "input_tensor", _REDUCE),
    "math.reduce_any": Row("Any", "input_tensor", _REDUCE),
    "math.reduce_logsumexp": Row("Logsumexp", "input_tensor", _REDUCE, floats=True),
    "math.reduce_max": Row("Max", "input_tensor", _REDUCE),
    "math.reduce_mean": Row("Mean", "input_tensor", _REDUCE, floats=True),
    "math.reduce_min": Row("Min", "input_tensor", _REDUCE),
    "math.reduce_prod": Row("Prod", "input_tensor", _REDUCE, floats=True),
    "math.reduce_std": Row("Std", "input_tensor", _REDUCE, floats=True),
    "math.reduce_sum": Row("Sum", "input_tensor", _REDUCE),
    "math.reduce_variance": Row("Var", "input_tensor", _REDUCE, floats=True),
    "math.argmax": tf.place("Argmax"),
    "math.argmin": tf.place("Argmin"),
    "math.cumsum": tf.running("sum"),
    "math.cumprod": tf.running("product"),
    "norm": tf.norm,
    "sort": tf.sort,
    "argsort": tf.argsort,
    "broadcast_to": Row("BroadcastTo", "input", "shape"),
    "concat": Row("Concatenate", "values", "axis"),
    "expand_dims": Row("ExpandDims", "input", "axis dim=axis"),
    "repeat": Row("Repeat", "input", "repeats axis"),
    "reshape": tf.reshape,
    "reverse": Row("Flip", "tensor", "axis"),
    "roll": Row("Roll", "input", "shift axis"),
    "shape": tf.shape,
    "split": tf.split,
    "squeeze": Row("Squeeze", "input", "axis squeeze_dims=axis"),
    "stack": Row("Stack", "values", "axis"),
    "tile": Row("Tile", "input", "multiples=repeats"),
    "transpose": tf.transpose,
    "unstack": Row("Unstack", "value", "num axis"),
    "nn.depth_to_space": Row("DepthToSpace", "input", "block_size"),
    "nn.space_to_depth": Row("SpaceToDepth", "input", "block_size"),
    "pad": tf.pad,
    "gather": tf.gather,
    "one_hot": tf.one_hot,
    "__operators__.getitem": tf.getitem,
    "strided_slice": tf.strided_slice,
    "linalg.matmul": tf.matmul,
    "tensordot": tf.tensordot,
    "image.adjust_brightness": tf.adjust_brightness,
    "image.adjust_contrast": tf.adjust_contrast,
    "image.central_crop": tf.central_crop,
    "image.crop_to_bounding_box": tf.crop_to_bounding_box,
    "image.flip_left_right": Row("Flip", "image", "", {"axis": -2}),
    "image.flip_up_down": Row("Flip", "image", "", {"axis": -3}),
    "image.pad_to_bounding_box": tf.pad_to_bounding_box,
    "image.per_image_standardization": tf.per_image_standardization,
    "image.resize": tf.resize_images,
    "image.rgb_to_grayscale": Row("RGBToGrayscale", "images", floats=True),
    "image.rot90": tf.rotate_by_quarters,
    "raw_ops.ResizeBilinear": tf.resize_bilinear,
}

# Operations of TensorFlow's graphs -> (function above, its names of the inputs; "*" for all of them but those that
# follow, its names of the attributes).
RAW: dict[str, tuple[str, str, str]] = {
    **{
        raw: (f"math.{name}", "x y", "")
        for raw, name in {
            "Add": "add",
            "AddV2": "add",
            "Sub": "subtract",
            "Mul": "multiply",
            "RealDiv": "truediv",
            "Maximum": "maximum",
            "Minimum": "minimum",
            "Pow": "pow",
            "SquaredDifference": "squared_difference",
            "Greater": "greater",
            "GreaterEqual": "greater_equal",
            "Less": "less",
            "LessEqual": "less_equal",
            "Equal": "equal",
            "NotEqual": "not_equal",
            "LogicalAnd": "logical_and",
            "LogicalOr": "logical_or",
            "FloorDiv": "floordiv",
            "FloorMod": "floormod",
        }.items()
    },
    **{
        raw: (f"math.{name}", "x", "")
        for raw, name in {
            "Abs": "abs",
            "Neg": "negative",
            "Exp": "exp",
            "Log": "log",
            "Log1p": "log1p",
            "Sqrt": "sqrt",
            "Rsqrt": "rsqrt",
            "Square": "square",
            "Sign": "sign",
            "Floor": "floor",
            "Ceil": "ceil",
            "Round": "round",
            "Sin": "sin",
            "Cos": "cos",
            "Tanh": "tanh",
            "Sigmoid": "sigmoid",
            "Erf": "erf",
            "LogicalNot": "logical_not",
        }.items()
    },
    "Softplus": ("math.softplus", "features", ""),
    "Relu": ("nn.relu", "features", ""),
    "Relu6": ("nn.relu6", "features", ""),
    "Elu": ("nn.elu", "features", ""),
    "Selu": ("nn.selu", "features", ""),
    "LeakyRelu": ("nn.leaky_relu", "features", "alpha"),
    "Softsign": ("nn.softsign", "features", ""),
    "Softmax": ("nn.softmax", "logits", ""),
    "LogSoftmax": ("nn.log_softmax", "logits", ""),
    "BiasAdd": ("nn.bias_add", "value bias", "data_format"),
    "Identity": ("identity", "input", ""),
    "StopGradient": ("stop_gradient", "input", ""),
    "Cast": ("cast", "x", "DstT=dtype"),
    **{
        raw: (f"math.reduce_{name}", "input_tensor axis", "keep_dims=keepdims")
        for raw, name in {"Sum": "sum", "Mean": "mean", "Max": "max", "Min": "min", "Prod": "prod"}.items()
    },
    "All": ("math.reduce_all", "input_tensor axis", "keep_dims=keepdims"),
    "Any": ("math.reduce_any", "input_tensor axis", "keep_dims=keepdims"),
    "ArgMax": ("math.argmax", "input axis", "output_type"),
    "ArgMin": ("math.argmin", "input axis", "output_type"),
    "Cumsum": ("math.cumsum", "x axis", "exclusive reverse"),
    "Reshape": ("reshape", "tensor shape", ""),
    "Transpose": ("transpose", "a perm", ""),
    "ExpandDims": ("expand_dims", "input axis", ""),
    "Squeeze": ("squeeze", "input", "squeeze_dims"),
    "ConcatV2": ("concat", "*values axis", ""),
    "Pack": ("stack", "*values", "axis"),
    "Unpack": ("unstack", "value", "num axis"),
    "Split": ("split", "axis value", "num_split=num_or_size_splits"),
    "SplitV": ("split", "value num_or_size_splits axis", ""),
    "Tile": ("tile", "input multiples", ""),
    "Pad": ("pad", "tensor paddings", ""),
    "PadV2": ("pad", "tensor paddings constant_values", ""),
    "ReverseV2": ("reverse", "tensor axis", ""),
    "GatherV2": ("gather", "params indices axis", "batch_dims"),
    "StridedSlice": (
        "strided_slice",
        "input_ begin end strides",
        "begin_mask end_mask ellipsis_mask new_axis_mask shrink_axis_mask",
    ),
    "Shape": ("shape", "input", "out_type"),
    "MatMul": ("linalg.matmul", "a b", "transpose_a transpose_b"),
    "BatchMatMulV2": ("linalg.matmul", "a b", "adj_x=adjoint_a adj_y=adjoint_b"),
    "SelectV2": ("where", "condition x y", ""),
    "ResizeBilinear": ("raw_ops.ResizeBilinear", "images size", "align_corners half_pixel_centers"),
}
