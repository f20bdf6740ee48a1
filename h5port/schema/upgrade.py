"""Old names become the newest: tables of class and option names (FORMATS: config dialects)."""

from __future__ import annotations

from typing import Any

from h5port.errors import refusal

_POOLS = (("Max", "Max"), ("Avg", "Average"))

# Class names of other releases -> today's.
CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    **{f"Convolution{n}DTranspose": f"Conv{n}DTranspose" for n in (1, 2, 3)},
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "SeparableConvolution1D": "SeparableConv1D",
    "SyncBatchNormalization": "BatchNormalization",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "GroupedQueryAttention": "GroupQueryAttention",  # its own name, in the .h5 of Keras 3
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    **{f"{g}{old}Pool{n}D": f"{g}{new}Pooling{n}D" for g in ("", "Global") for old, new in _POOLS for n in (1, 2, 3)},
    "Network": "Functional",
    "Model": "Functional",
    "Container": "Functional",
}

# Option names of Keras 0 and 1 -> today's, for all classes.
_KERAS1: dict[str, str] = {
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample_length": "strides",
    "subsample": "strides",
    "border_mode": "padding",
    "dim_ordering": "data_format",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "forget_bias_init": "unit_forget_bias",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "consume_less": "implementation",
    "p": "rate",
    "sigma": "stddev",
    "pool_length": "pool_size",
    "stride": "strides",
    "atrous_rate": "dilation_rate",
}

# The same for one class; "" drops a key that says nothing about the numbers.
_KERAS1_CLASS: dict[str, dict[str, str]] = {
    "Dense": {"output_dim": "units", "input_dim": ""},
    "TimeDistributedDense": {"output_dim": "units", "input_dim": "", "input_length": ""},
    "MaxoutDense": {"output_dim": "units", "input_dim": ""},
    "Highway": {"input_dim": "", "transform_bias": ""},
    "LSTM": {"output_dim": "units", "input_dim": "", "input_length": ""},
    "GRU": {"output_dim": "units", "input_dim": "", "input_length": ""},
    "SimpleRNN": {"output_dim": "units", "input_dim": "", "input_length": ""},
    "Embedding": {"init": "embeddings_initializer", "input_length": ""},
    "UpSampling1D": {"length": "size"},
    "Reshape": {"dims": "target_shape"},
    "Conv1D": {"input_dim": "", "input_length": ""},
    "LocallyConnected1D": {"input_dim": "", "input_length": ""},
    "Activation": {"beta": ""},
    "PReLU": {"init": "alpha_initializer", "weights": ""},
    "ParametricSoftplus": {"weights": ""},
    "SReLU": {"weights": ""},
    "BatchNormalization": {"weights": ""},
}

# Classes whose configs of Keras 0 and 1 do not say where the channels are.
_WITHOUT_DIM_ORDERING = frozenset(f"{name}{n}D" for name in ("ZeroPadding", "Cropping", "UpSampling") for n in (2, 3))

# Options of Keras 2 whose names changed in Keras 3.
_KERAS2_CLASS: dict[str, dict[str, str]] = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "ReLU": {"alpha": "negative_slope"},
    "Embedding": {"input_length": ""},
    "CategoryEncoding": {"max_tokens": "num_tokens"},
    "Discretization": {"bins": "bin_boundaries"},
    "IntegerLookup": {"max_values": "max_tokens", "mask_value": "mask_token", "oov_value": "oov_token"},
}

# Spellings of values.
_VALUES: dict[str, dict[Any, Any]] = {
    "data_format": {"tf": "channels_last", "th": "channels_first", "default": None},
    "implementation": {"cpu": 0, "mem": 1, "gpu": 2},
    "output_mode": {"binary": "multi_hot", "tf-idf": "tf_idf"},
}

# Keys that every layer may have and that change no number at inference. (`trainable`, `dtype` and shapes are read
# before the options.)
_INERT = frozenset(
    """name trainable dtype custom_name cache_enabled batch_input_shape batch_shape input_shape input_dtype
    batch_size gamma_init beta_init seed rng_type build_config compile_config lora_rank lora_alpha
    quantization_config""".split()
)
# How weights began, and what training adds to the loss or does to the weights.
_INERT_ENDINGS = ("_initializer", "_regularizer", "_constraint")


def is_inert(option: str) -> bool:
    """Whether an option of any layer has no bearing on inference."""
    return option in _INERT or option.endswith(_INERT_ENDINGS)


def class_name(name: str) -> str:
    return CLASSES.get(name, name)


def names(class_name: str, generation: int) -> dict[str, str]:
    """Old option name -> newest ("" where the key says nothing). `generation` is the writer's first digit (0 to 3)."""
    found: dict[str, str] = {}
    if generation <= 1:
        found = {**_KERAS1, **_KERAS1_CLASS.get(class_name, {})}
    if generation <= 2:
        found = {**found, **_KERAS2_CLASS.get(class_name, {})}
    return found


def options(class_name: str, raw: dict[str, Any], generation: int) -> dict[str, Any]:
    """The options under their newest names."""
    renamed = names(class_name, generation)
    result: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in raw.items():
        new = renamed.get(key, key)
        if not new:
            continue
        value = _spelling(new, value)
        if result.get(new) not in (None, value) and value is not None:
            raise refusal(
                "bad-config", f"{spelled[new]} is {result[new]!r} and {key} is {value!r}: they are one option"
            )
        if result.get(new) is None:
            result[new], spelled[new] = value, key
    if generation <= 1:
        _join_kernel_size(result)
    return result


def dim_orderings(document: Any) -> set[str]:
    """Where the layers of a model of Keras 0 or 1 say that the channels are."""
    inside = list(document.values()) if isinstance(document, dict) else document if isinstance(document, list) else []
    own = document.get("dim_ordering") if isinstance(document, dict) else None
    return {n for n in ("tf", "th") if n == own}.union(*map(dim_orderings, inside))


def with_dim_ordering(class_name: str, raw: Any, said: set[str]) -> Any:
    """The options of a layer that leaves the place of channels out, with what all others of its model say."""
    if class_name not in _WITHOUT_DIM_ORDERING or len(said) != 1 or not isinstance(raw, dict):
        return raw
    return {"dim_ordering": next(iter(said)), **raw}


def _spelling(key: str, value: Any) -> Any:
    table = _VALUES.get(key, {})
    return table.get(value, value) if isinstance(value, str) else value


def _join_kernel_size(options: dict[str, Any]) -> None:
    """Keras 1 names the sides of a kernel one by one."""
    sides = [k for k in ("kernel_dim1", "kernel_dim2", "kernel_dim3", "nb_row", "nb_col") if k in options]
    if sides and "kernel_size" in options:
        raise refusal("bad-config", f"the size of a kernel stands twice: kernel_size and {sides}")
    if sides:
        options["kernel_size"] = [options.pop(k) for k in sides]
