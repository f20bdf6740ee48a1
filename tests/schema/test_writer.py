"""Which Kerases can have written a file, and what their words mean: laws of the tables, evidence of genuine files."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Case, genuine_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from h5port.archive import Archive, WriterMark, open_archive, read_config_file
from h5port.errors import H5PortError
from h5port.schema.writer import (
    DEFAULTS,
    FAMILIES,
    KNOWN,
    RULES,
    Release,
    Writer,
    find_writer,
    parse_version,
    parse_writer,
    release,
)

LAW = settings(max_examples=100, deadline=None)
BACKENDS = ("theano", "tensorflow")
# Everything that can be asked of a writer: a rule by its name, a default by its class and option.
WORDS: list[str | tuple[str, str]] = [*RULES, *DEFAULTS]
CASES = genuine_cases()
case_by_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
word_by_word = pytest.mark.parametrize("word", WORDS, ids=str)


def writer(*candidates: Release, backend: str | None = None) -> Writer:
    return Writer(candidates=candidates, backend=backend)


def ask(who: Writer, word: str | tuple[str, str]) -> Any:
    return who.rule(word) if isinstance(word, str) else who.default(*word)


def backends_of(at: Release) -> tuple[str, ...]:
    """What this Keras ran on."""
    return ("tensorflow", "jax", "torch") if FAMILIES[at.family] == "keras3" else BACKENDS


def row_of(word: str | tuple[str, str]) -> dict[str, Any]:
    return RULES[word] if isinstance(word, str) else DEFAULTS[word]


def meanings(at: Release, backend: str | None, word: str | tuple[str, str]) -> list[Any]:
    """What the word means on the backend; where that is not told, on each of them, or once if they agree."""
    found = [ask(writer(at, backend=b), word) for b in ([backend] if backend else backends_of(at))]
    return found[:1] if all(f == found[0] for f in found) else found


def refused(code: str, call: Any, *args: Any, **kwargs: Any) -> str:
    """The text of the refusal, which must have this code."""
    with pytest.raises(H5PortError) as error:
        call(*args, **kwargs)
    assert error.value.code == code
    return str(error.value)


def outcome(call: Any, *args: Any, **kwargs: Any) -> tuple[Any, H5PortError | None]:
    """(answer, None), or (None, the refusal)."""
    try:
        return call(*args, **kwargs), None
    except H5PortError as error:
        return None, error


def architecture(config: Any) -> Archive:
    return Archive(Path("model.json"), "architecture", config=config)


def find(config: Any, **options: Any) -> Writer:
    return find_writer(architecture(config), config, **{"writer": None, "source_backend": "auto", **options})


def sequential(*layers: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": [{"class_name": c, "config": o} for c, o in layers], **more}


# ---- names and versions


@pytest.mark.parametrize(
    ("version", "family"),
    [
        ("0.3.3", "keras0"),
        ("1.0.8", "keras1"),
        ("1.2.2", "keras1"),
        ("2.0.8", "keras2"),
        ("2.2.4", "keras2"),
        ("2.3.1", "keras2"),
        ("2.1.6-tf", "tf.keras"),
        ("2.2.4-tf", "tf.keras"),
        ("2.3.0-tf", "tf.keras"),
        ("2.4.0", "tf.keras"),
        ("2.15.0", "tf.keras"),
        ("2.21.0", "tf.keras"),
        ("3.0.5", "keras3"),
        ("3.15.1", "keras3"),
    ],
)
def test_a_version_as_files_carry_it_falls_into_its_family(version: str, family: str) -> None:
    found = find({"class_name": "Model", "keras_version": version})
    assert found.family == family
    assert found.candidates == parse_version(version)


@pytest.mark.parametrize("version", ["0.3.3", "1.2.2", "2.3.1", "2.3.0-tf", "2.4.0", "3.15.1"])
def test_whoever_types_the_version_that_a_file_shows_means_the_same(version: str) -> None:
    assert parse_writer(f"keras-{version}") == parse_version(version)


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("keras-0.3", "keras0", (0, 3)),
        ("keras-1.2.2", "keras1", (1, 2, 2)),
        ("keras-2.2.4", "keras2", (2, 2, 4)),
        ("keras-2.8", "tf.keras", (2, 8)),
        ("tf.keras-2.8", "tf.keras", (2, 8)),
        ("tf.keras-2.2", "tf.keras", (2, 2)),
        ("tf_keras-2.21", "tf.keras", (2, 21)),
        ("keras-3.15.1", "keras3", (3, 15, 1)),
        (" Keras-3 ", "keras3", (3, 0)),
    ],
)
def test_a_writer_that_is_told_is_taken(text: str, family: str, version: tuple[int, ...]) -> None:
    told = find({"class_name": "Model", "keras_version": "1.2.2"}, writer=text)
    assert told.candidates == (Release(FAMILIES.index(family), version),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keras",
        "keras-",
        "2.2.4",
        "keras 2.2.4",
        "keras-2.x",
        "keras-latest",
        "keras-9.1",
        "torch-2.0",
        "keras-2..4",
    ],
)
def test_a_writer_that_is_nonsense_is_refused(text: str) -> None:
    assert repr(text) in refused("bad-argument", find, {"class_name": "Model"}, writer=text)


@LAW
@given(st.from_regex(r"(tf\.?)?_?(keras|tf)-[0-4](\.\d{1,2}){0,3}", fullmatch=True) | st.text(max_size=20))
def test_a_writer_is_refused_or_has_a_meaning_for_every_word(text: str) -> None:
    told, error = outcome(find, {"class_name": "Model"}, writer=text, source_backend="tensorflow")
    if error:
        assert error.code == "bad-argument"
    else:
        for word in WORDS:
            ask(told, word)


@LAW
@given(st.from_regex(r"[0-4]\.\d{1,2}(\.\d{1,2})?(-tf|rc0)?", fullmatch=True) | st.text(max_size=8))
def test_whatever_version_a_file_names_its_words_have_meanings_or_are_refused(version: str) -> None:
    found = find({"class_name": "Model", "keras_version": version}, source_backend="tensorflow")
    for word in WORDS:
        _, error = outcome(ask, found, word)
        assert error is None or error.code == "ambiguous-writer"


@pytest.mark.parametrize("known", KNOWN, ids=str)
def test_the_name_of_a_release_is_understood_as_that_release(known: Release) -> None:
    assert parse_writer(str(known)) == (known,)


def test_releases_follow_one_another_as_they_are_listed() -> None:
    assert list(KNOWN) == sorted(set(KNOWN))
    assert {FAMILIES[r.family] for r in KNOWN} == set(FAMILIES)


# ---- laws of the tables


# What genuine runs showed, release by release: the tables must say the same.
SEEN: list[tuple[str | tuple[str, str], str, dict[str, Any]]] = [
    ("hard_sigmoid", "", {"0.3.3": "hard_sigmoid_fifth", "1.2.2": "hard_sigmoid_fifth", "2.3.1": "hard_sigmoid_fifth"}),
    ("hard_sigmoid", "", {"tf-2.21": "hard_sigmoid_fifth", "3.0.5": "hard_sigmoid", "3.15.1": "hard_sigmoid"}),
    ("merge_mask", "", {"1.2.2": "and", "2.2.4": "and", "tf-2.15": "and", "tf-2.21": "and", "3.4.1": "or"}),
    ("merge_mask", "", {"3.15.1": "or"}),
    ("unsupported_mask", "", {"1.2.2": "refuse", "2.3.1": "refuse", "tf-1.15": "stop", "3.15.1": "stop"}),
    ("dense_mask", "", {"1.2.2": "refuse", "2.2.4": "pass", "tf-2.15": "pass", "3.15.1": "pass"}),
    ("bidirectional_masked_output", "", {"1.2.2": "hold", "2.3.1": "hold", "tf-1.15": "zero", "3.0.5": "zero"}),
    ("masked_start", "tensorflow", {"1.2.2": "state", "2.2.4": "state", "2.3.1": "zeros", "tf-1.15": "zeros"}),
    ("masked_start", "theano", {"1.2.2": "zeros", "2.2.4": "zeros"}),
    ("mask_with_initial_state", "", {"2.3.1": "keep", "tf-2.21": "keep", "3.0.5": "drop", "3.15.1": "drop"}),
    ("batchnorm_spread", "", {"0.3.3": "std", "1.0.8": "variance", "1.2.2": "variance", "2.0.8": "variance"}),
    ("batchnorm_fused_epsilon", "tensorflow", {"2.2.4": 1.001e-5, "2.3.1": 1.001e-5, "tf-2.2": 0.0, "3.15.1": 0.0}),
    ("softmax_mask", "", {"tf-2.15": "add", "tf-2.21": "add", "3.0.5": "add", "3.9.2": "add", "3.10.0": "where"}),
    ("kernels", "theano", {"0.3.3": "flipped", "1.2.2": "flipped", "2.2.4": "flipped"}),
    ("kernels", "tensorflow", {"1.2.2": "plain", "2.2.4": "plain", "tf-2.2": "plain", "3.15.1": "plain"}),
    ("rnn_variables", "", {"0.3.3": "gates", "1.2.2": "gates", "2.0.8": "joined", "3.15.1": "joined"}),
    ("conv1d_kernel", "", {"0.3.3": "out-in-taps-1", "1.2.2": "taps-1-in-out", "2.0.8": "taps-in-out"}),
    ("nested_first_node", "", {"1.2.2": 1, "2.0.8": 1, "2.3.1": 1, "tf-2.8": 1, "tf-2.15": 1, "3.0.5": 0, "3.15.1": 0}),
    (("LSTM", "recurrent_activation"), "", {"1.2.2": "hard_sigmoid", "2.2.4": "hard_sigmoid", "2.3.1": "sigmoid"}),
    (("LSTM", "recurrent_activation"), "", {"tf-1.15": "hard_sigmoid", "tf-2.2": "sigmoid", "3.15.1": "sigmoid"}),
    (("GRU", "reset_after"), "", {"2.2.4": False, "2.3.1": False, "tf-1.15": False, "tf-2.2": True, "3.15.1": True}),
    (("BatchNormalization", "epsilon"), "", {"0.3.3": 1e-6, "1.2.2": 1e-3, "2.2.4": 1e-3, "3.15.1": 1e-3}),
    (("BatchNormalization", "momentum"), "", {"0.3.3": 0.9, "1.2.2": 0.99, "3.15.1": 0.99}),
]


@pytest.mark.parametrize(("word", "backend", "seen"), SEEN)
def test_the_tables_say_what_genuine_runs_showed(
    word: str | tuple[str, str], backend: str, seen: dict[str, Any]
) -> None:
    for at, meaning in seen.items():
        assert set(meanings(release(at), backend or None, word)) == {meaning}, at


@word_by_word
def test_a_meaning_changes_exactly_at_the_releases_of_its_row(word: str | tuple[str, str]) -> None:
    row = row_of(word)
    changes = [release(r) for r in row]
    assert changes == sorted(changes)
    for at in {*KNOWN, *changes}:
        expected = list(row.values())[max(sum(change <= at for change in changes), 1) - 1]
        for backend in backends_of(at):
            assert ask(writer(at, backend=backend), word) == (
                expected[backend] if isinstance(expected, dict) else expected
            )


@word_by_word
@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_candidates_are_refused_exactly_when_their_meanings_differ(
    backend: str | None, word: str | tuple[str, str]
) -> None:
    all_known = [known for known in KNOWN if backend is None or backend in backends_of(known)]
    means = {known: meanings(known, backend, word) for known in all_known}
    for candidates in [*itertools.combinations(all_known, 2), all_known[:8], all_known]:
        each = [means[c] for c in candidates]
        value, error = outcome(ask, writer(*candidates, backend=backend), word)
        if any(m != each[0] for m in each):
            assert error
            assert error.code == "ambiguous-writer"
            names = re.findall(r"(?:tf\.)?keras-[\d.]*\d", str(error.problems[0].remedy))
            choices = [release for name in names for release in parse_writer(name)]
            assert set(choices) <= set(candidates)
            settled = [means[c] for c in choices]
            assert all(m in settled for m in each)
            assert len(settled) == len({str(m) for m in each})
        elif any(m != each[0][0] for m in each[0]):
            assert error
            assert error.code == "ambiguous-backend"
            choice = re.search(r"--source-backend (\S+)", str(error))
            assert choice
            assert set(choice[1].split("|")) == set(backends_of(candidates[0]))
        else:
            assert error is None, f"{candidates} all mean {each[0]}"
            assert value == each[0][0]


@pytest.mark.parametrize("version", ["0.3.3", "1.2.2", "2.2.4"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_choice_of_a_backend_settles_it(version: str, backend: str) -> None:
    document = {"class_name": "Model", "keras_version": version}
    assert refused("ambiguous-backend", find(document).rule, "kernels")
    assert find(document, source_backend=backend).rule("kernels") == RULES["kernels"]["0.1"][backend]


def test_a_backend_that_no_file_can_have_been_written_on_is_refused() -> None:
    assert "cntk" in refused("bad-argument", find, {"class_name": "Model"}, source_backend="cntk")


# ---- what a file shows

DENSE2 = ("Dense", {"name": "d", "units": 3, "kernel_initializer": "zeros", "batch_input_shape": [None, 4]})
LSTM1 = ("LSTM", {"name": "l", "output_dim": 3, "inner_activation": "hard_sigmoid", "init": "uniform"})
EMBEDDING = {"name": "e", "input_dim": 9, "output_dim": 4, "batch_input_shape": [None, 5], "mask_zero": False}


@pytest.mark.parametrize(
    ("config", "families"),
    [
        ({"name": "Sequential", "layers": [{"name": "Dense", "output_dim": 3}]}, {"keras0"}),
        ({"name": "Graph", "nodes": {}, "node_config": []}, {"keras0"}),
        (sequential(LSTM1), {"keras1"}),
        (sequential(LSTM1)["config"], {"keras1"}),
        (sequential(("ZeroPadding1D", {"name": "z", "padding": 1}), LSTM1), {"keras1"}),
        (sequential(("LSTM", {**LSTM1[1], "name": "padding"})), {"keras1"}),
        (sequential(("Embedding", {**EMBEDDING, "W_regularizer": None, "init": "uniform"})), {"keras1"}),
        (sequential(DENSE2), {"keras2", "tf.keras"}),
        (sequential(("Embedding", {**EMBEDDING, "embeddings_initializer": "uniform"})), {"keras2", "tf.keras"}),
        (sequential(("Dense", {**DENSE2[1], "name": "batch_shape"})), {"keras2", "tf.keras"}),
        ({"class_name": "Functional", "config": {"name": "m", "layers": []}}, {"tf.keras"}),
        (sequential(("InputLayer", {"name": "i", "batch_shape": [None, 4]}), DENSE2), {"keras3"}),
    ],
)
def test_a_config_without_a_version_shows_its_families_by_its_form(config: Any, families: set[str]) -> None:
    assert {FAMILIES[c.family] for c in find(config).candidates} == families


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backend_that_a_document_names_is_taken_even_without_a_version(backend: str) -> None:
    assert find(sequential(DENSE2, backend=backend)).backend == backend
    assert find(sequential(LSTM1, backend=backend)).backend == backend


@pytest.mark.parametrize(("name", "backend"), [("d_W:0", "tensorflow"), ("d_W", "theano")])
def test_the_names_of_weights_tell_the_backend_of_keras_1(name: str, backend: str) -> None:
    config = sequential(LSTM1)
    archive = Archive(Path("m.h5"), "h5-full", layout="named", attributes={"d": {"weight_names": [name]}})
    assert find_writer(archive, config, writer=None, source_backend="auto").backend == backend


def test_where_one_version_stands_for_several_tensorflows_their_differing_defaults_are_refused() -> None:
    """TensorFlow 1.15 and 2.0 both write "2.2.4-tf" (two genuine files show it), and their GRUs differ by default."""
    named = {c.data["writer"]["backend"] for c in CASES if c.data["writer"]["version"] == "2.2.4-tf"}
    assert len(named) > 1
    found = find({"class_name": "Model", "keras_version": "2.2.4-tf"})
    refused("ambiguous-writer", found.default, "GRU", "reset_after")


def family_of(case: Case) -> str:
    version = case.data["writer"]["version"]
    major, minor = (int(n) for n in version.split(".")[:2])
    if "tf" in case.data["writer"]["package"] or (major == 2 and minor >= 4):
        return "tf.keras"
    return f"keras{major}"


def opened(case: Case) -> tuple[Archive, Any]:
    with open_archive(case.source) as archive:
        config = case.options.get("config")
        return archive, read_config_file(config) if config else archive.config


def check_meanings(truth: Release, found: Writer) -> None:
    """The true meaning of every word is among those that the file leaves open."""
    for word in WORDS:
        assert meanings(truth, "tensorflow", word) in [meanings(c, "tensorflow", word) for c in found.candidates]


@case_by_case
def test_genuine_files_name_their_writer(case: Case) -> None:
    archive, config = opened(case)
    found = find_writer(archive, config, writer=None, source_backend="auto")
    assert {FAMILIES[c.family] for c in found.candidates} == {family_of(case)}
    truth = parse_version(case.data["writer"]["version"])[0]
    check_meanings(truth, found)
    wrote_on = case.data["writer"]["backend"].split()[0]
    if family_of(case) == "tf.keras":
        assert found.backend == "tensorflow"
    else:
        assert found.backend in (None, wrote_on)


@case_by_case
def test_a_file_that_lost_its_version_is_not_taken_for_that_of_another_keras(case: Case) -> None:
    archive, config = opened(case)
    bare = {k: v for k, v in config.items() if k != "keras_version"} if isinstance(config, dict) else config
    same = Archive(
        archive.source,
        "h5-weights" if archive.container == "h5-full" else archive.container,
        mark=WriterMark(backend=archive.mark.backend),
        layout=archive.layout,
        arrays=archive.arrays,
        attributes=archive.attributes,
    )
    found = find_writer(same, bare, writer=None, source_backend="auto")
    assert family_of(case) in {FAMILIES[c.family] for c in found.candidates}
    truth = parse_version(case.data["writer"]["version"])[0]
    check_meanings(truth, found)
    if family_of(case) in ("keras0", "keras1", "keras2"):
        assert found.backend in (None, case.data["writer"]["backend"].split()[0])


def test_a_full_file_without_a_version_is_of_keras_1() -> None:
    archive = Archive(Path("m.h5"), "h5-full", layout="named", attributes={"": {"layer_names": []}})
    found = find_writer(archive, sequential(LSTM1), writer=None, source_backend="auto")
    assert found.family == "keras1"


@pytest.mark.parametrize(
    ("container", "attributes", "version"),
    [
        ("weights-sharded", {}, "3.12.0"),
        ("weights.h5", {"layers/dense/vars": {"name": "dense"}}, "3.6.0"),
        ("weights.h5", {"layers/dense/vars": {}}, "3.3.3"),
    ],
)
def test_the_form_of_a_path_store_narrows_the_candidates(
    container: str, attributes: dict[str, Any], version: str
) -> None:
    archive = Archive(Path("m"), container, layout="paths", attributes=attributes)
    config = sequential(("InputLayer", {"name": "i", "batch_shape": [None, 4]}))
    found = find_writer(archive, config, writer=None, source_backend="auto").candidates
    everything = find(config).candidates
    assert release(version) in found
    assert set(found) < set(everything)


def test_the_writer_is_named_in_words() -> None:
    assert str(writer(release("2.2.4"), backend="theano")) == "keras-2.2.4 (theano)"
    assert str(writer(*KNOWN)) == f"{KNOWN[0]} to {KNOWN[-1]}"
