"""Who wrote the file, and what its words mean: the tables of what differs by Keras version and backend.

A config carries names, not definitions. Each row of `RULES` says since which release a name has which meaning.
Sources: the packages of Keras 0.3.3, 1.0.8, 1.2.2, 2.0.8, 2.1.6, 2.2.4, 2.3.1, TensorFlow 1.15 to 2.15, tf_keras
2.21 and Keras 3.0.5 to 3.15.1, each run with the same weights.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from h5port.archive import Archive
from h5port.errors import refusal

FAMILIES = ("keras0", "keras1", "keras2", "tf.keras", "keras3")


class Release(msgspec.Struct, frozen=True, order=True):
    """A release of one family; releases are ordered as their meanings follow one another."""

    family: int
    version: tuple[int, ...]

    def __str__(self) -> str:
        name = "tf.keras" if FAMILIES[self.family] == "tf.keras" else "keras"
        return f"{name}-{'.'.join(map(str, self.version))}"


def release(text: str) -> Release:
    """'0.3', '1.2.2', '2.2.4', 'tf-2.12', '3.4.1' -> the release."""
    tf, _, version = text.rpartition("-")
    numbers = tuple(int(n) for n in version.split("."))
    return Release(FAMILIES.index("tf.keras") if tf else {0: 0, 1: 1, 2: 2, 3: 4}[numbers[0]], numbers)


# The releases whose files people have: where a file does not name its writer, these are the candidates.
KNOWN = tuple(
    release(r)
    for r in (
        "0.3.3 1.0.8 1.1.2 1.2.2 2.0.8 2.1.6 2.2.4 2.3.1 "
        "tf-1.13 tf-1.15 tf-2.0 tf-2.2 tf-2.4 tf-2.8 tf-2.12 tf-2.13 tf-2.15 tf-2.21 "
        "3.0.5 3.3.3 3.4.1 3.6.0 3.9.2 3.12.0 3.15.1"
    ).split()
)

BACKENDS = ("tensorflow", "theano", "jax", "torch")

# rule -> {first release with this meaning: meaning}; a meaning that hangs on the backend is a dict of its own.
RULES: dict[str, dict[str, Any]] = {
    # clip(0.2 x + 0.5, 0, 1) or clip(x / 6 + 0.5, 0, 1); relu(x, alpha, max) without or with a lower bound
    "hard_sigmoid": {"0.1": "hard_sigmoid_fifth", "3.0": "hard_sigmoid"},
    # the mask of a merge layer of which some inputs are masked: "and" of the masks there are; none ("stop");
    # "or" of the masks if all inputs have one
    "merge_mask": {"0.1": "and", "3.0": "stop", "3.4.1": "or"},
    # whether Multiply, Maximum and Minimum leave masked steps of an input out
    "merge_masked_steps": {"0.1": "count", "3.4.1": "left out"},
    # ops.image.map_coordinates beyond the border: mirrors as waves; one place outside fills all; each by itself
    "map_coordinates": {"0.1": "waves", "3.9": "together", "3.11": "each"},
    # whether ops.image.resize gives whole numbers back for whole numbers
    "resize_of_integers": {"0.1": "integers", "3.6": "floats"},
    # ops.image.rgb_to_grayscale of whole numbers: scaled to 0 ... 1 on the way, or computed as they are
    "gray_of_integers": {"0.1": "scaled", "3.4": "plain"},
    # a value that is given for the input of a nested model, which is of another type
    "nested_input": {"0.1": "as given", "tf-2.2": "cast, and its mask lost", "3.0": "cast"},
    # what happens to a mask at a layer that cannot handle it
    "unsupported_mask": {"0.1": "refuse", "tf-1.13": "stop"},
    "dense_mask": {"0.1": "refuse", "2.0": "pass"},
    "identity_mask": {"0.1": "stop", "3.0": "pass"},
    "average_pooling_mask": {"0.1": "refuse", "2.2": "use", "tf-1.13": "use"},
    # steps of masked and unmasked inputs joined: the missing mask counts as valid, or Keras itself fails at its shape
    "steps_of_half_masked_inputs": {"0.1": "valid", "2.0": "refuse", "3.0": "valid"},
    # output of masked steps of Bidirectional(return_sequences=True)
    "bidirectional_masked_output": {"0.1": "hold", "tf-1.13": "zero"},
    # output of masked steps before the first valid one, when a state was given
    "masked_start": {
        "0.1": {"theano": "zeros", "tensorflow": "state"},
        "2.0": {"theano": "zeros", "tensorflow": "state"},
        "2.3": {"theano": "zeros", "tensorflow": "zeros"},
        "tf-1.13": "zeros",
    },
    # a mask that comes from the layer before, when initial states are passed as tensors
    "mask_with_initial_state": {"0.1": "keep", "3.0": "drop"},
    # a stateful layer that is given an initial state: taken at each call, or only while its own is still zero
    "stateful_initial_state": {"0.1": "given", "tf-1.13": "given-while-zero", "3.0": "given"},
    # whether the wrapped layer of TimeDistributed sees the mask, and whether its own mask comes out: the mask only
    # passes by; the inner layer sees it and makes the outer one; the inner layer sees it, and it passes by
    "time_distributed_mask": {"0.1": "pass", "2.2": "inner", "3.0": "seen"},
    # the same where the batch size is known: these Kerases then loop over the steps, and the inner layer sees no mask
    "time_distributed_mask_with_batch": {"0.1": "pass", "2.2": "pass", "tf-1.13": "inner", "3.0": "seen"},
    # stateful halves of a Bidirectional: kept from call to call, or started anew at each
    "bidirectional_state": {"0.1": "kept", "2.1": "anew", "tf-1.13": "kept"},
    # BatchNormalization's fourth array
    "batchnorm_spread": {"0.1": "std", "1.0": "variance"},
    # the fused kernel raises a smaller epsilon for inputs of four axes, channels last
    "batchnorm_fused_epsilon": {
        "0.1": 0.0,
        "2.2": {"theano": 0.0, "tensorflow": 1.001e-5},
        "tf-1.13": 0.0,
    },
    # a mask at GroupNormalization: it only passes by, or weighs the channels
    "group_norm_mask": {"0.1": "pass", "tf-2.14": "weigh", "3.0": "pass"},
    # what SpectralNormalization gives: the wrapped layer's output, or that as the type of its input
    "spectral_output": {"0.1": "as it is", "3.0": "cast"},
    # whether a ConvLSTM heeds `zero_output_for_mask` (base_conv_rnn.py of tf_keras 2.21 does not pass it on)
    "conv_lstm_zero_output": {"0.1": False, "3.0": True},
    # Keras 1 leaves the subsample of a ConvLSTM2D out of its config
    "conv_lstm_strides": {"0.1": "not stored", "2.0": "stored"},
    # the greatest factor of UnitNormalization: of sqrt(max(sum, 1e-12)), or min(1 / sqrt(sum), 1e12)
    "unit_norm_ceiling": {"0.1": 1e6, "3.6": 1e12},
    # a masked Softmax: a large negative number is added, or masked places are left out of the sum
    "softmax_mask": {"0.1": "ignore", "tf-2.4": "add", "3.10": "where"},
    # which mask comes out of Attention: the one that it was given; none; the one found on the query, even where
    # another was given
    "attention_output_mask": {"0.1": "given", "3.0": "none", "3.4": "found", "3.11": "given"},
    # masked queries of Attention: times zero, or zero whatever came out (NaN)
    "attention_masked_queries": {"0.1": "zero_masked", "3.15": "kept_where"},
    # the value mask of Attention: these Kerases forgot its axis of queries
    "attention_value_mask": {"0.1": "use", "3.0": "refuse", "3.12": "use"},
    # the masks of MultiHeadAttention: ignored; found on query, value and key; given as `<name>_mask`, else found; the
    # same, but the query's is always found, and no later layer finds any of them on these tensors
    "multi_head_masks": {"0.1": "ignored", "tf-2.10": "found", "3.0": "given", "3.8": "taken"},
    # whether attention of many heads goes by `ops.dot_product_attention` where it can
    "fused_attention": {"0.1": False, "3.7": True},
    # negative `attention_axes` of MultiHeadAttention
    "negative_attention_axes": {"0.1": "refuse", "3.12": "count"},
    # a mask on what ReversibleEmbedding gives in reverse
    "reversed_embedding_mask": {"0.1": True, "3.14": False},
    # convolution kernels of Theano are flipped in space
    "kernels": {"0.1": {"theano": "flipped", "tensorflow": "plain"}, "tf-1.13": "plain"},
    # where the odd cell of padding "same" goes
    "same_padding": {"0.1": {"theano": "half", "tensorflow": "end"}, "tf-1.13": "end"},
    "same_padding_3d": {"0.1": "end", "1.2.1": {"theano": "half", "tensorflow": "end"}, "tf-1.13": "end"},
    # whether the zeros of padding "same" count in the mean of a window; Theano alone ever let them
    "average_pooling_padding": {"0.1": "left out", "2.0.4": "counted", "2.1.5": "left out"},
    # whether layers that pad, crop and repeat pixels say where the channels are
    "data_format_in_config": {"0.1": "left out", "2.0": "given"},
    # where UpSampling2D puts the pixels of other interpolations than "nearest": i / times, or half a pixel off
    "upsampling_grid": {
        "0.1": {"theano": "theano", "tensorflow": "corner"},
        "tf-1.13": "corner",
        "tf-1.14": "half",
    },
    # integer images resized: the result is floating, or rounded to the same type
    "resized_integers": {"0.1": "floating", "3.0": "floating but nearest", "3.6": "rounded"},
    # RandomCrop at inference: resized to the size that is asked for, cut to it, or nothing at all
    "random_crop": {"0.1": "resize", "3.6": "cut", "3.8": "nothing"},
    "rescaling_mask": {"0.1": "stops", "3.0": "passes"},
    # the mean of integers: rounded to an integer, or floating
    "mean_of_integers": {"0.1": "refuse", "3.0": "cast"},
    # whether all is computed in one type, which the stored weights show
    "one_float_type": {"0.1": True, "tf-1.13": False},
    # what a positive number means as `dot_axes` of Merge: the last axes of one input and the first of the other
    "dot_axes": {"0.1": "last and first", "1.0": "axis of both"},
    # names of variables: W and b, or kernel and bias
    "variable_names": {"0.1": "short", "2.0": "long"},
    # the order of the variables of Highway
    "highway_variables": {"0.1": "pairs", "1.1": "weights first"},
    # layouts of stored variables
    "rnn_variables": {"0.1": "gates", "2.0": "joined"},
    "depthwise_kernel": {"0.1": "depthwise_kernel", "3.0": "kernel"},
    # what the sum of a tensor and a vector is: that of numpy, or a bias for the last or the second axis, whichever is
    # as long (add of src/backend/tensorflow/numpy.py), wherever the channels are
    "vector_added": {"0.1": "by axis", "3.7": {"tensorflow": "by length", "jax": "by axis", "torch": "by axis"}},
    # LocallyConnected1D: whether `data_format` has a meaning
    "local_1d_format": {"0.1": "ignored", "tf-1.13": "kept"},
    "conv1d_kernel": {"0.1": "out-in-taps-1", "1.1": "taps-1-in-out", "2.0": "taps-in-out"},
    # nested models have a node of their own from being built
    "nested_first_node": {"0.1": 1, "3.0": 0},
    # the least length by which Dot(normalize=True) divides
    "dot_normalize_floor": {"0.1": 1e-6, "3.0": 1e-7},
    # relu with a ceiling: Theano has no floor under it (files of 0.x are Theano's where this can be seen at all)
    "relu_ceiling": {"0.1": "min", "1.0": {"theano": "min", "tensorflow": "clip"}, "2.0": "clip"},
    # the mode `cos` of Merge: the least denominator, and whether the result has an axis more
    "cos_epsilon": {"0.1": 0.0, "1.0": 1e-7},
    "cos_extra_axis": {"0.1": False, "1.0": True},
    # preprocessing: whether Normalization passes a mask on; the type that its constants go through
    "normalization_mask": {"0.1": "stop", "3.0": "pass"},
    "normalization_constants": {"0.1": "own", "3.0": "float32"},
    # the type of bins as integers; whether learned boundaries lie in the weights, as a summary of the data
    "discretization_ints": {"0.1": "int64", "3.0": "policy", "3.12": "int32"},
    "discretization_summary": {"0.1": "stored", "3.0": "none"},
    # floating inputs of a layer whose policy is an integer type
    "integer_policy_input": {"0.1": "as given", "3.0": "cast"},
    # the type of counted tokens
    "lookup_counts": {"0.1": "policy", "3.0": "int64"},
    # one-hot rows of a last axis of one; samples of more than two axes
    "one_hot_last_axis": {"0.1": "squeezed", "3.0": "kept", "3.4.1": "squeezed"},
    "categories_of_rank_3": {"0.1": "refuse", "3.4.1": "second"},
}

# (class, option) -> {first release with this default: default}; where no row stands, the declaration's default
# held for all releases that have the option.
DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("LSTM", "recurrent_activation"): {
        "0.1": "hard_sigmoid",
        "2.3": "sigmoid",
        "tf-1.13": "hard_sigmoid",
        "tf-2.0": "sigmoid",
    },
    ("GRU", "recurrent_activation"): {
        "0.1": "hard_sigmoid",
        "2.3": "sigmoid",
        "tf-1.13": "hard_sigmoid",
        "tf-2.0": "sigmoid",
    },
    ("GRU", "reset_after"): {"0.1": False, "tf-2.0": True},
    ("BatchNormalization", "epsilon"): {"0.1": 1e-6, "1.0": 1e-5, "1.1": 1e-3},
    ("BatchNormalization", "momentum"): {"0.1": 0.9, "1.0": 0.99},
}
for _layer in ("LSTM", "GRU"):
    DEFAULTS[(_layer, "implementation")] = {"0.1": 0, "2.0": 1, "tf-2.0": 2}
for _layer in ("ZeroPadding", "Cropping", "UpSampling"):  # the place of channels that Keras 1 does not store
    for _axes in (2, 3):
        DEFAULTS[(f"{_layer}{_axes}D", "data_format")] = {"0.1": "channels_first", "1.1": "channels_last"}
for _layer in ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"):
    DEFAULTS[(_layer, "recurrent_activation")] = {"0.1": "hard_sigmoid", "3.0": "sigmoid"}
for _cell in ("LSTM", "GRU"):
    DEFAULTS[(f"{_cell}Cell", "recurrent_activation")] = DEFAULTS[(_cell, "recurrent_activation")]
DEFAULTS[("GRUCell", "reset_after")] = DEFAULTS[("GRU", "reset_after")]


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """The Keras that a file comes from: one release, or all that it can have been.

    backend  None where it is not told
    assumed  what was taken for granted where the file is silent
    """

    candidates: tuple[Release, ...]
    backend: str | None = None
    assumed: str | None = None

    @property
    def family(self) -> str:
        """The family, where there is no doubt; otherwise the eldest candidate's."""
        return FAMILIES[self.candidates[0].family]

    def __str__(self) -> str:
        if len(self.candidates) == 1:
            return str(self.candidates[0]) + (f" ({self.backend})" if self.backend else "")
        return f"{self.candidates[0]} to {self.candidates[-1]}"

    def rule(self, name: str) -> Any:
        """The meaning of `name` for this writer; refused when the file leaves it open."""
        return self._meaning(RULES[name], name)

    def may(self, name: str, meaning: Any) -> bool:
        """Whether this can be the meaning of `name`, if the file leaves it open."""
        found = [self._on_backend(_at(RULES[name], r)) for r in self.candidates]
        return any(meaning in m.values() if isinstance(m, dict) else m == meaning for m in found)

    def default(self, class_name: str, option: str) -> Any:
        """The writer's default of an option that the config does not name; KeyError if no row says so."""
        return self._meaning(DEFAULTS[(class_name, option)], f"the default of {class_name}.{option}")

    def _meaning(self, row: dict[str, Any], what: str) -> Any:
        meanings = {r: self._on_backend(_at(row, r)) for r in self.candidates}
        first = next(iter(meanings.values()))
        if any(m != first for m in meanings.values()):
            raise refusal(
                "ambiguous-writer",
                f"{what} differs between the Kerases that can have written this file: " + _choices(meanings),
                remedy="say which one it was: --writer " + ", ".join(str(r) for r in _one_each(meanings)),
            )
        if not isinstance(first, dict):
            return first
        raise refusal(
            "ambiguous-backend",
            f"{what} differs between the backends of {self}: {first}",
            remedy=f"say which one it was: --source-backend {'|'.join(first)}",
        )

    def _on_backend(self, meaning: Any) -> Any:
        """A meaning that hangs on the backend, where the backend is known or makes no difference."""
        if not isinstance(meaning, dict):
            return meaning
        if self.backend in meaning:
            return meaning[self.backend]
        alike = len({json.dumps(v) for v in meaning.values()}) == 1
        return next(iter(meaning.values())) if alike else meaning


def _at(row: dict[str, Any], at: Release) -> Any:
    since = [(release(r), meaning) for r, meaning in row.items() if release(r) <= at]
    since = since or [(release(r), meaning) for r, meaning in list(row.items())[:1]]  # before the first row
    return max(since, key=lambda s: s[0])[1]


def _choices(meanings: dict[Release, Any]) -> str:
    return "; ".join(f"{r}: {m}" for r, m in meanings.items() if r in _one_each(meanings))


def _one_each(meanings: dict[Release, Any]) -> list[Release]:
    """One release, the newest, for each meaning."""
    return sorted({json.dumps(m): r for r, m in meanings.items()}.values())


# The numbers that TensorFlow wrote as keras_version while it had a Keras of its own -> its releases.
_TENSORFLOW: dict[tuple[int, ...], tuple[str, ...]] = {
    (2, 2, 4): ("tf-1.13", "tf-1.15", "tf-2.0"),
    (2, 3, 0): ("tf-2.2",),
}


def parse_version(version: str) -> tuple[Release, ...]:
    """The releases that a `keras_version` can mean: '1.2.2', '2.2.4-tf', '2.4.0', '3.15.1'; () if it is none."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not match:
        return ()
    numbers = tuple(int(n) for n in match.groups() if n is not None)
    # stand-alone Keras 2 ended with 2.3.1; TensorFlow's own says "-tf", and from 2.4 on there is no other
    if "-tf" in version or (2, 4) <= numbers[:2] < (3, 0):
        named = _TENSORFLOW.get((*numbers, 0)[:3])
        return tuple(release(r) for r in named) if named else (Release(FAMILIES.index("tf.keras"), numbers),)
    family = {0: 0, 1: 1, 2: 2, 3: 4}.get(numbers[0])
    return () if family is None else (Release(family, numbers),)


def parse_writer(text: str) -> tuple[Release, ...]:
    """`--writer NAME-VERSION`: keras-2.2.4, tf.keras-2.2 (the number of TensorFlow), tf_keras-2.21, keras-3.15.1."""
    match = re.fullmatch(r"(keras|tf\.?_?keras|tensorflow|tf)-(\d+(?:\.\d+)*)(-tf|-.*)?", text.strip(), re.IGNORECASE)
    if match and match[1].lower() != "keras":
        return (Release(FAMILIES.index("tf.keras"), tuple(int(n) for n in match[2].split("."))),)
    version = match[2] if match and "." in match[2] else f"{match[2]}.0" if match else ""
    found = parse_version(version + ("-tf" if match and match[3] == "-tf" else ""))
    if not found:
        remedy = "such as keras-2.2.4 or tf.keras-2.8"
        raise refusal("bad-argument", f"--writer {text!r} is not NAME-VERSION", remedy=remedy)
    return found


def find_writer(archive: Archive, config: Any, *, writer: str | None, source_backend: str) -> Writer:
    """The writer: as told by the user, else by the file, else all that the config's form allows."""
    document = config if isinstance(config, dict) else {}
    version = document.get("keras_version") or archive.mark.version
    backend = document.get("backend") or archive.mark.backend
    if writer is not None:
        candidates = parse_writer(writer)
    else:
        candidates = parse_version(version) if isinstance(version, str) else ()
        if not candidates:
            families = _families(document, config)
            if backend == "theano":  # no later Keras ran on it
                families = tuple(f for f in families if f in ("keras0", "keras1", "keras2")) or families
            candidates = tuple(r for r in KNOWN if FAMILIES[r.family] in families)
            candidates = tuple(r for r in candidates if _fits_evidence(r, archive)) or candidates
    found = _backend(source_backend, backend, archive, candidates)
    assumed = None
    if (
        found is None
        and archive.layout == "named"
        and not archive.arrays
        and FAMILIES[candidates[-1].family] == "keras1"
    ):
        # no weights, so nothing to tell by: the default of that Keras, which was Theano until 1.1
        found = "tensorflow" if candidates[0] >= release("1.1") else "theano"
        assumed = f"the file does not show its backend; {found}, the default of {candidates[0]}, was assumed"
    return Writer(candidates=candidates, backend=found, assumed=assumed)


def _fits_evidence(candidate: Release, archive: Archive) -> bool:
    """What a file without a version shows of its writer (FORMATS: version and backend)."""
    if archive.container == "h5-full":
        return candidate.family <= 1  # all later ones name their version there
    if archive.container == "weights-sharded":
        return candidate >= release("3.10")
    if archive.layout != "paths":
        return True
    groups = [g for g in archive.attributes if g.split("/")[-1] == "vars"]
    if any(g.startswith("_layer_checkpoint_dependencies") for g in archive.attributes):
        return release("tf-2.12") <= candidate < release("tf-2.15")
    if FAMILIES[candidate.family] == "keras3" and groups:
        named = any("name" in archive.attributes[g] for g in groups)
        return (candidate >= release("3.6")) == named
    return True


def _backend(asked: str, named: Any, archive: Archive, candidates: tuple[Release, ...]) -> str | None:
    if asked in BACKENDS:
        return asked
    if asked != "auto":
        raise refusal("bad-argument", f"--source-backend {asked!r}", remedy=f"one of auto, {', '.join(BACKENDS)}")
    families = {FAMILIES[c.family] for c in candidates}
    if families == {"tf.keras"}:
        return "tensorflow"
    if isinstance(named, str):
        return named if named in BACKENDS else "tensorflow"
    if families <= {"tf.keras", "keras3"}:
        return None  # where no row asks for it, TensorFlow's numbers are the meaning
    weights = [n for a in archive.attributes.values() for n in a.get("weight_names") or []]
    if weights:  # TensorFlow's names end in ":0", Theano's do not
        return "tensorflow" if any(re.search(r":\d+$", str(n)) for n in weights) else "theano"
    return None


# Keys and classes that only one family writes.
_KERAS1_KEYS = frozenset(
    """nb_filter nb_row filter_length inner_activation inner_init border_mode W_regularizer subsample subsample_length
    dim_ordering input_dtype consume_less forget_bias_init pool_length mode_type init""".split()
)
_KERAS1_CLASSES = frozenset(
    """Convolution1D Convolution2D Convolution3D Merge AtrousConvolution1D AtrousConvolution2D Deconvolution2D
    TimeDistributedDense MaxoutDense Highway ParametricSoftplus SReLU SeparableConvolution2D""".split()
)
_KERAS2_KEYS = frozenset(
    """units kernel_initializer embeddings_initializer kernel_size use_bias recurrent_activation data_format
    moving_mean_initializer recurrent_initializer negative_slope beta_initializer alpha_initializer""".split()
)
_TENSORFLOW_KEYS = frozenset("registered_name shared_object_id build_config time_major ragged".split())
_KERAS3_KEYS = frozenset("keras_history batch_shape".split())


def _families(document: dict[str, Any], config: Any) -> tuple[str, ...]:
    """The families that can have written a config which does not name its version, by its keys and classes."""
    if "class_name" not in document and document.get("name") in ("Sequential", "Graph"):
        return ("keras0",)
    keys: set[str] = set()
    classes: set[str] = set()
    _collect(config, keys, classes)
    if keys & _KERAS3_KEYS or classes & {"DTypePolicy", "__keras_tensor__"}:
        return ("keras3",)
    if keys & _TENSORFLOW_KEYS or "Functional" in classes:
        return ("tf.keras",)
    if keys & _KERAS2_KEYS:
        return ("keras2", "tf.keras")
    if keys & _KERAS1_KEYS or classes & _KERAS1_CLASSES:
        return ("keras1",)
    return ("keras1", "keras2", "tf.keras")


def _collect(value: Any, keys: set[str], classes: set[str]) -> None:
    """The keys of all objects in a document, and the class names."""
    if isinstance(value, dict):
        keys.update(value)
        if isinstance(value.get("class_name"), str):
            classes.add(value["class_name"])
        for item in value.values():
            _collect(item, keys, classes)
    elif isinstance(value, list):
        for item in value:
            _collect(item, keys, classes)
