"""Old class and option names become the newest, and no option is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from h5port.errors import H5PortError
from h5port.schema import upgrade

LAW = settings(max_examples=100, deadline=None)
OLD = (0, 1)  # generations whose names changed most
# The dropping of an option is a statement of the tables alone: it must stand there, class by class.
TABLES: tuple[dict[str, dict[str, str]], ...] = (upgrade._KERAS1_CLASS, upgrade._KERAS2_CLASS)
DROPPED = {(c, key) for table in TABLES for c, names in table.items() for key, new in names.items() if not new}
CLASSES = sorted({c for table in TABLES for c in table} | {"Conv2D", "MaxPooling2D", "Dropout", "SomebodysLayer"})


@pytest.mark.parametrize("generation", OLD)
@pytest.mark.parametrize(
    ("class_name", "old", "new"),
    [
        ("Dense", {"output_dim": 3, "init": "zero", "bias": True}, {"units": 3, "use_bias": True}),
        ("GRU", {"output_dim": 3, "inner_activation": "relu"}, {"units": 3, "recurrent_activation": "relu"}),
        ("LSTM", {"output_dim": 3, "forget_bias_init": "one"}, {"units": 3}),
        ("SimpleRNN", {"output_dim": 3, "consume_less": "gpu"}, {"units": 3, "implementation": 2}),
        ("LSTM", {"consume_less": "cpu", "dropout_U": 0.5}, {"implementation": 0, "recurrent_dropout": 0.5}),
        ("LSTM", {"consume_less": "mem", "dropout_W": 0.5}, {"implementation": 1, "dropout": 0.5}),
        ("Embedding", {"output_dim": 3, "input_dim": 9, "init": "uniform"}, {"output_dim": 3, "input_dim": 9}),
        (
            "Convolution1D",
            {"nb_filter": 3, "filter_length": 5, "subsample_length": 2, "border_mode": "same"},
            {"filters": 3, "kernel_size": 5, "strides": 2, "padding": "same"},
        ),
        (
            "Convolution2D",
            {"nb_filter": 3, "nb_row": 5, "nb_col": 7, "subsample": [1, 2], "dim_ordering": "th"},
            {"filters": 3, "kernel_size": [5, 7], "strides": [1, 2], "data_format": "channels_first"},
        ),
        (
            "Convolution3D",
            {"kernel_dim1": 3, "kernel_dim2": 4, "kernel_dim3": 5, "dim_ordering": "tf"},
            {"kernel_size": [3, 4, 5], "data_format": "channels_last"},
        ),
        ("AtrousConvolution2D", {"atrous_rate": [2, 2]}, {"dilation_rate": [2, 2]}),
        ("MaxPooling1D", {"pool_length": 2, "stride": 3}, {"pool_size": 2, "strides": 3}),
        ("UpSampling1D", {"length": 2}, {"size": 2}),
        ("Dropout", {"p": 0.25}, {"rate": 0.25}),
        ("GaussianNoise", {"sigma": 0.25}, {"stddev": 0.25}),
        ("LeakyReLU", {"alpha": 0.1}, {"negative_slope": 0.1}),
        ("ELU", {"alpha": 0.1}, {"alpha": 0.1}),
    ],
)
def test_options_of_keras_0_and_1_become_the_newest(
    class_name: str, old: dict[str, Any], new: dict[str, Any], generation: int
) -> None:
    found = upgrade.options(upgrade.class_name(class_name), old, generation)
    assert {k: v for k, v in found.items() if k in new or not _says_how_training_began(k)} == new


def _says_how_training_began(option: str) -> bool:
    return upgrade.is_inert(option) or option == "unit_forget_bias"


@pytest.mark.parametrize(
    ("class_name", "old", "new"),
    [
        ("Dense", "init", "kernel_initializer"),
        ("LSTM", "inner_init", "recurrent_initializer"),
        ("Embedding", "init", "embeddings_initializer"),
        ("PReLU", "init", "alpha_initializer"),
        ("Dense", "W_regularizer", "kernel_regularizer"),
        ("LSTM", "U_regularizer", "recurrent_regularizer"),
        ("Dense", "b_regularizer", "bias_regularizer"),
        ("Dense", "W_constraint", "kernel_constraint"),
        ("Dense", "b_constraint", "bias_constraint"),
    ],
)
@pytest.mark.parametrize("generation", OLD)
def test_what_only_training_needs_is_renamed_and_inert(class_name: str, old: str, new: str, generation: int) -> None:
    assert upgrade.options(class_name, {old: "x"}, generation) == {new: "x"}
    assert upgrade.is_inert(new)


@pytest.mark.parametrize(
    "option", ["units", "activation", "use_bias", "padding", "epsilon", "axis", "stateful", "rate"]
)
def test_what_changes_the_numbers_is_not_inert(option: str) -> None:
    assert not upgrade.is_inert(option)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Convolution1D", "Conv1D"),
        ("Convolution2D", "Conv2D"),
        ("Convolution3D", "Conv3D"),
        ("AtrousConvolution2D", "Conv2D"),
        ("Deconvolution2D", "Conv2DTranspose"),
        ("SeparableConvolution2D", "SeparableConv2D"),
        ("Model", "Functional"),
        ("Dense", "Dense"),
        ("SomebodysLayer", "SomebodysLayer"),
    ],
)
def test_classes_have_their_newest_name(old: str, new: str) -> None:
    assert upgrade.class_name(old) == new


def test_the_newest_class_names_stay() -> None:
    for new in {*upgrade.CLASSES.values(), *CLASSES}:
        assert upgrade.class_name(new) == new


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("key", ["output_dim", "init", "p", "bias", "subsample", "nb_row", "input_dim", "dropout"])
def test_words_of_keras_1_mean_nothing_to_later_kerases(key: str, generation: int) -> None:
    assert upgrade.options("Dense", {key: 0.5}, generation) == {key: 0.5}


def test_keras_3_is_left_alone() -> None:
    raw = {"alpha": 1, "input_length": 2, "units": 3, "data_format": "channels_last"}
    for class_name in CLASSES:
        assert upgrade.options(class_name, raw, 3) == raw


KNOWN_KEYS = sorted(
    {*upgrade._KERAS1, *(k for t in TABLES for names in t.values() for k in names), "units", "filters", "mode", "axis"}
)
option_dicts = st.dictionaries(
    st.sampled_from(KNOWN_KEYS) | st.text("abcde_", min_size=1, max_size=8),
    st.integers() | st.sampled_from(["th", "tf", "cpu", "gpu", "same"]) | st.lists(st.integers(), max_size=3),
    max_size=8,
)


@LAW
@given(class_name=st.sampled_from(CLASSES), raw=option_dicts, generation=st.integers(0, 3))
def test_the_newest_names_are_not_renamed_again(class_name: str, raw: dict[str, Any], generation: int) -> None:
    try:
        new = upgrade.options(class_name, raw, generation)
    except H5PortError:  # two keys for one option
        return
    assert upgrade.options(class_name, new, 3) == new
    # a key that happens to be both old and new would be renamed again and again
    assert upgrade.options(class_name, new, generation) == new


@LAW
@given(class_name=st.sampled_from(CLASSES), raw=option_dicts, generation=st.integers(0, 3))
def test_an_option_is_renamed_or_kept_or_in_the_table_of_dropped_ones(
    class_name: str, raw: dict[str, Any], generation: int
) -> None:
    before = repr(raw)
    wanted: dict[str, Any] = {}
    for key, value in raw.items():
        alone = upgrade.options(class_name, {key: value}, generation)
        assert alone or (class_name, key) in DROPPED
        assume(not alone.keys() & wanted.keys())  # two keys for one option: see the next test
        wanted |= alone
    assert upgrade.options(class_name, raw, generation) == wanted
    assert repr(raw) == before


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("class_name", "raw"),
    [
        ("Conv1D", {"nb_filter": 3, "filters": 5}),
        ("Conv1D", {"subsample": 1, "subsample_length": 2}),
        ("LeakyReLU", {"alpha": 0.1, "negative_slope": 0.2}),
        ("Conv2D", {"nb_row": 3, "nb_col": 3, "kernel_size": [5, 5]}),
    ],
)
def test_two_keys_for_one_option_must_agree(class_name: str, raw: dict[str, Any], order: int) -> None:
    """Nothing in a file is ignored silently, so neither value may win without a word."""
    with pytest.raises(H5PortError) as error:
        upgrade.options(class_name, dict(list(raw.items())[::order]), 1)
    assert all(key in str(error.value) for key in raw)


@pytest.mark.parametrize("sides", [("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3")])
@LAW
@given(data=st.data())
def test_the_sides_of_a_kernel_are_joined_in_their_order_whatever_the_order_of_the_keys(
    sides: tuple[str, ...], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sides))
    raw = {side: sides.index(side) + 2 for side in order}
    assert upgrade.options("Conv2D", raw, 1) == {"kernel_size": list(range(2, 2 + len(sides)))}


@pytest.mark.parametrize(("old", "new"), [("th", "channels_first"), ("tf", "channels_last"), ("default", None)])
def test_the_order_of_axes_has_its_newest_spelling(old: str, new: str | None) -> None:
    assert upgrade.options("Conv2D", {"dim_ordering": old}, 1) == {"data_format": new}
