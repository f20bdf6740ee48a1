"""Nothing of a config is ignored silently: what a declaration does not know is refused by name, all at once."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from synthetic import KERAS1, KERAS2, KERAS3, Entry, Shape, document, synthetic, writer_of

from h5port.errors import H5PortError, Problem
from h5port.layers.base import Layer, example
from h5port.layers.catalogue import LAYERS, Lowered
from h5port.schema.parse import parse_model

SEQUENCE: tuple[Shape, ...] = ((None, 7, 4),)
CELL: Entry = ("LSTMCell", {"units": 5})

# Options with which each declared class can be read; the wrappers and cells have no examples.
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: dict(cls.examples[0].options) for name, cls in LAYERS.items() if cls.examples},
    **{name: {"units": 5} for name in ("LSTMCell", "GRUCell", "SimpleRNNCell")},
    "InputLayer": {},
    "Merge": {"mode": "sum"},
    "StackedRNNCells": {"cells": [CELL]},
    "RNN": {"cell": CELL},
    "Bidirectional": {"layer": ("LSTM", {"units": 5})},
    "TimeDistributed": {"layer": ("Dense", {"units": 5})},
    "SpectralNormalization": {"layer": ("Dense", {"units": 5})},
}
every_class = pytest.mark.parametrize("name", sorted(OPTIONS))


def chain_of(name: str, **options: Any) -> tuple[Entry, ...]:
    """A model with one such layer, with further options; a cell is put into an RNN."""
    entry = (name, {**OPTIONS[name], **options})
    in_rnn = name.endswith("Cell") or name == "StackedRNNCells"
    return (("RNN", {"cell": entry}),) if in_rnn else (entry,)


def built_on(name: str, keras: str = KERAS3) -> dict[str, Any]:
    """What such a layer is called on, and who wrote it."""
    cls = LAYERS[name]
    given = cls.examples[0] if cls.examples else example(on=((7, 4), (7, 4)) if name == "Merge" else ((7, 4),))
    return {
        "inputs": tuple((None, *shape) for shape in given.on),
        "writer": writer_of(name, keras),
        "given": given.dtype,
        "weights": given.weights,
    }


def problems(*entries: Entry, inputs: tuple[Shape, ...] = SEQUENCE, **given: Any) -> tuple[Problem, ...]:
    """What stands in the way of converting this chain of layers."""
    with pytest.raises(H5PortError) as error:
        synthetic(*entries, inputs=inputs, **given).lower()
    assert error.value.code == error.value.problems[0].code
    return error.value.problems


def problem(*entries: Entry, inputs: tuple[Shape, ...] = SEQUENCE, **given: Any) -> Problem:
    (one,) = problems(*entries, inputs=inputs, **given)
    return one


def test_every_declared_class_has_options_here() -> None:
    functions = {name for name, cls in LAYERS.items() if cls.is_function}  # they are called on more than a tensor
    assert set(OPTIONS) == set(LAYERS) - functions


# ---- unknown options


@every_class
@pytest.mark.parametrize("value", [None, 0, {"class_name": "Thing", "config": {}}], ids=str)
def test_an_option_that_the_declaration_does_not_know_is_refused_by_name(name: str, value: Any) -> None:
    found = problem(*chain_of(name, surprise=value), **built_on(name))
    assert found.code == "unknown-option"
    assert "surprise" in found.message
    assert name in found.message
    assert "config.layers[" in str(found.layer)


def test_all_unknown_options_of_a_layer_are_named_at_once() -> None:
    found = problems(("Dense", {"units": 5, "sparsity": 0.5, "normalise": True, "kernel_initializer": "zeros"}))
    assert [p.code for p in found] == ["unknown-option"] * 2
    assert ["sparsity" in found[0].message, "normalise" in found[1].message] == [True, True]


# ---- values


def typed_options() -> list[tuple[str, str]]:
    """(class, option) of every option whose type is declared."""
    return [
        (name, field.name)
        for name, cls in sorted(LAYERS.items())
        for field in msgspec.structs.fields(cls)
        if field.type is not Any and not cls.is_function
    ]


@pytest.mark.parametrize(("name", "option"), typed_options())
def test_a_value_of_another_type_is_refused(name: str, option: str) -> None:
    found = problem(*chain_of(name, **{option: {"odd": 1}}), **built_on(name))
    assert found.code == "unsupported-option"
    assert option in found.message
    assert name in found.message


WRONG: list[tuple[tuple[Entry, ...], str, str]] = [
    ((("Dense", {"units": 5, "activation": "sinus"}),), "unknown-activation", "sinus"),
    ((("Activation", {"activation": "threshold"}),), "unknown-activation", "threshold"),
    ((("LSTM", {"units": 5, "activation": "sinus"}),), "unknown-activation", "sinus"),
    ((("LSTM", {"units": 5, "recurrent_activation": "sinus"}),), "unknown-activation", "sinus"),
    ((("Conv1D", {"filters": 5, "kernel_size": [3], "padding": "around"}),), "unsupported-option", "around"),
    ((("Conv1D", {"filters": 5, "kernel_size": [3, 3]}),), "unsupported-option", "kernel_size"),
    ((("Conv1D", {"filters": 5, "kernel_size": 3, "groups": 2}),), "unsupported-option", "2 groups"),
    ((("DepthwiseConv1D", {"kernel_size": 3, "padding": "causal"}),), "unsupported-option", "causal"),
    ((("DepthwiseConv1D", {"kernel_size": 3, "groups": 2}),), "unsupported-option", "groups"),
    (
        (("Conv1DTranspose", {"filters": 5, "kernel_size": 3, "output_padding": 1}),),
        "unsupported-option",
        "longer by 1",
    ),
    ((("Conv1DTranspose", {"filters": 5, "kernel_size": 3, "padding": "causal"}),), "unsupported-option", "causal"),
    ((("LocallyConnected1D", {"filters": 5, "kernel_size": 3, "padding": "same"}),), "unsupported-option", "same"),
    ((("MaxPooling1D", {"pool_size": [2, 2]}),), "unsupported-option", "pool_size"),
    ((("ZeroPadding1D", {"padding": {"left": 1}}),), "unsupported-option", "padding"),
    ((("BatchNormalization", {"virtual_batch_size": 2}),), "unsupported-option", "virtual_batch_size"),
    ((("BatchNormalization", {"adjustment": "f"}),), "unsupported-option", "adjustment"),
    ((("UnitNormalization", {"axis": 3}),), "unsupported-option", "axis 3"),
    ((("LayerNormalization", {"axis": [1, -2]}),), "unsupported-option", "axis"),
    ((("UnitNormalization", {"axis": []}),), "unsupported-option", "axis"),
    ((("GroupNormalization", {"groups": 3}),), "unsupported-option", "3 groups"),
    ((("GroupNormalization", {"groups": 1, "axis": 0}),), "unsupported-option", "axis 0"),
    ((("RMSNormalization", {"axis": 1}),), "unsupported-option", "axis 1"),
    ((("SpectralNormalization", {"layer": ("LSTM", {"units": 5})}),), "unsupported-option", "LSTM"),
    ((("Bidirectional", {**OPTIONS["Bidirectional"], "merge_mode": "max"}),), "unsupported-option", "max"),
    (
        (("RNN", {"cell": ("StackedRNNCells", {"cells": [CELL], "reverse_state_order": True}), "return_state": True}),),
        "unsupported-option",
        "reverse_state_order",
    ),
    ((("LSTM", {"units": 5, "stateful": True}),), "unsupported-graph", "stateful"),
    *(
        ((("Dense", {"units": 5, "dtype": f"{q}_from_float32"}),), "unsupported-option", q)
        for q in ("int4", "gptq", "awq")
    ),
    ((("Dense", {"units": 5, "dtype": "int8_from_float32"}),), "bad-config", "int8"),
    ((("Normalization", {"axis": 5}),), "bad-config", "axes"),
    ((("Normalization", {"mean": [1.0, 2.0], "variance": 1.0}),), "unsupported-option", "mean"),
    ((("CategoryEncoding", {"num_tokens": 4, "sparse": True}),), "unsupported-option", "sparse"),
    ((("Hashing", {"num_bins": 0}),), "unsupported-option", "num_bins"),
    ((("STFTSpectrogram", {"frame_length": 4, "frame_step": 5}),), "unsupported-option", "frames"),
    ((("FeatureSpace", {"features": {}}),), "unsupported-layer", "FeatureSpace"),
    ((("DenseFeatures", {"feature_columns": []}),), "unsupported-layer", "feature columns"),
    ((("RNN", {"cell": ("Dense", {"units": 5})}),), "unknown-layer", "Dense"),
    ((("RNN", {"cell": ("AttentionCell", {"units": 5})}),), "unknown-layer", "AttentionCell"),
    ((("TimeDistributed", {"layer": ("Capsule", {})}),), "unknown-layer", "Capsule"),
    (
        (("TimeDistributed", {"layer": ("MelSpectrogram", {"fft_length": 16, "sequence_stride": 8})}),),
        "unsupported-graph",
        "MelSpectrogram",
    ),
]


@pytest.mark.parametrize(("entries", "code", "word"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_a_value_without_an_exact_form_is_refused_by_name(entries: tuple[Entry, ...], code: str, word: str) -> None:
    found = problem(*entries)
    assert found.code == code
    assert word in found.message


@pytest.mark.parametrize("mode", ["median", "subtract", None, {"function": "f"}])
def test_a_merge_by_a_function_is_refused(mode: Any) -> None:
    found = problem(("Merge", {"mode": mode}), inputs=(*SEQUENCE, *SEQUENCE), writer=KERAS1)
    assert found.code in ("unsupported-option", "lambda")


ODD: list[Any] = [None, 0, 5.5, "odd", [], ["odd"], [1, 2, 3]]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (n, f.name)
        for n, cls in sorted(LAYERS.items())
        if n in OPTIONS and n != "InputLayer"
        for f in msgspec.structs.fields(cls)
    ],
)
def test_any_value_of_an_option_is_converted_or_refused_but_never_a_crash(name: str, option: str) -> None:
    given = built_on(name)
    whole = synthetic(*chain_of(name), **given)
    for value in ODD:
        entries = chain_of(name, **{option: value})
        config = document(
            entries, given["inputs"], "float32", given["given"] or "float32", keras3=whole.writer.family == "keras3"
        )
        with contextlib.suppress(H5PortError):
            replace(whole, model=parse_model(config, whole.writer)).lower()


# ---- what changes nothing

INERT: dict[str, Any] = {
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "bias_regularizer": {"class_name": "L1L2", "config": {"l1": 0.1, "l2": 0.0}},
    "activity_regularizer": "l2",
    "recurrent_constraint": {"class_name": "package>MyConstraint", "config": {}},
    "seed": 7,
    "input_dtype": "float32",
    "lora_rank": None,
}


def lowered_with(name: str, **options: Any) -> Lowered:
    return synthetic(*chain_of(name, **options), **built_on(name, KERAS2)).lower()


def assert_same(one: Lowered, two: Lowered) -> None:
    assert one.program == two.program
    assert one.recipes == two.recipes
    assert one.notes == two.notes


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"InputLayer"}))
def test_initializers_regularizers_and_constraints_change_nothing(name: str) -> None:
    assert_same(lowered_with(name, **INERT), lowered_with(name))


def inert_options() -> list[tuple[str, str]]:
    return [(name, option) for name, cls in sorted(LAYERS.items()) for option in sorted(cls.inert)]


@pytest.mark.parametrize(("name", "option"), [(n, o) for n, o in inert_options() if n != "InputLayer"])
def test_what_a_declaration_calls_inert_changes_nothing(name: str, option: str) -> None:
    value = None if option == "layers" else ["anything"]
    assert_same(lowered_with(name, **{option: value}), lowered_with(name))


def test_no_option_is_declared_and_called_inert_as_well() -> None:
    def options(cls: type[Layer]) -> set[str]:
        return {f.name for f in msgspec.structs.fields(cls)}

    assert not [name for name, cls in LAYERS.items() if options(cls) & cls.inert]


# ---- classes


@pytest.mark.parametrize("name", ["Capsule", "Attention2", "lstm", "Layer", "Struct", "__class__"])
@pytest.mark.parametrize("writer", [KERAS3, KERAS2, KERAS1])
def test_an_unknown_class_is_refused_by_its_name(name: str, writer: str) -> None:
    found = problem((name, {"units": 5}), writer=writer)
    assert found.code == "unknown-layer"
    assert name in found.message
    assert found.remedy is not None
    assert name in found.remedy


@pytest.mark.parametrize(
    "last",
    [
        {"class_name": "pkg>LSTM"},
        {"registered_name": "pkg>LSTM"},
        {"registered_name": "pkg>LSTM", "module": "pkg.layers"},
    ],
    ids=str,
)
@pytest.mark.parametrize("writer", [KERAS3, "tf.keras-2.15"])
def test_somebody_elses_class_of_a_known_name_is_refused(last: dict[str, Any], writer: str) -> None:
    found = problem(("LSTM", {"units": 5}), writer=writer, last=last)
    assert found.code == "unknown-layer"
    assert "pkg>LSTM" in found.message


def test_a_class_of_somebody_elses_module_is_refused() -> None:
    found = problem(("LSTM", {"units": 5}), last={"module": "pkg.layers", "registered_name": "LSTM"})
    assert found.code == "unknown-layer"
    assert "LSTM" in found.message


def test_somebody_elses_activation_is_refused() -> None:
    spec = {"class_name": "function", "config": "relu", "registered_name": "pkg>relu", "module": "pkg"}
    found = problem(("Dense", {"units": 5, "activation": spec}))
    assert found.code == "unknown-activation"
    assert "pkg>relu" in found.message


@pytest.mark.parametrize("writer", [KERAS3, KERAS2, KERAS1])
def test_a_lambda_is_refused_by_the_name_of_its_layer(writer: str) -> None:
    code = {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None, "closure": None}}
    found = problem(("Lambda", {"function": code, "arguments": {}}), writer=writer)
    assert found.code == "lambda"
    assert "lambda_at_0" in found.message


def test_all_problems_of_a_model_come_in_one_error() -> None:
    found = problems(
        ("Dense", {"units": 5, "surprise": 1}),
        ("Lambda", {"function": "f"}),
        ("Capsule", {}),
        ("LSTM", {"units": "many"}),
        ("Dense", {"units": 5, "one": 1, "two": 2}),
        ("Bidirectional", {"layer": ("LSTM", {"units": 5, "inner": 1})}),
    )
    assert [p.code for p in found] == [
        "unknown-option",
        "lambda",
        "unknown-layer",
        "unsupported-option",
        "unknown-option",
        "unknown-option",
        "unknown-option",
    ]
    for p, place in zip(found, (1, 2, 3, 4, 5, 5, 6), strict=True):
        assert f"layers[{place}]" in str(p.layer)
