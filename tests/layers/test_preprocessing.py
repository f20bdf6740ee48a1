"""What the laws do not tell of preprocessing: vocabularies beside the weights, learned bins, refusals by name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import KERAS3, Entry, Synthetic, synthetic

from h5port.errors import H5PortError, Problem
from h5port.layers.numeric import quantiles
from h5port.module.program import Program

TF_KERAS = "tf.keras-2.15"
VOCABULARY = "layers/string_lookup/vocabulary.txt"


def model(*entries: Entry, assets: dict[str, bytes] | None = None, on: Any = (None, 5), **given: Any) -> Synthetic:
    built = synthetic(*entries, inputs=(on,), **{"given": "string", **given})
    built.archive.assets = {path: (lambda text=text: text) for path, text in (assets or {}).items()}
    return built


def problem(built: Synthetic) -> Problem:
    with pytest.raises(H5PortError) as error:
        built.lower()
    (one,) = error.value.problems
    return one


def args_of(program: Program) -> dict[str, Any]:
    """The arguments of the only module."""
    (module,) = program.modules.values()
    return module.args


# ---- vocabularies


def test_a_vocabulary_beside_the_weights_is_read() -> None:
    lowered = model(("StringLookup", {}), assets={VOCABULARY: b"[UNK]\nb\n\na"}).lower()
    assert args_of(lowered.program)["vocabulary"] == ["b", "", "a"]
    assert not lowered.dropped


def test_a_file_written_on_windows_is_read() -> None:
    lowered = model(
        ("IntegerLookup", {}), assets={"layers/integer_lookup/vocabulary.txt": b"-1\r\n7\r\n-3"}, given="int64"
    ).lower()
    assert args_of(lowered.program)["vocabulary"] == [7, -3]


def test_both_copies_of_a_text_vocabulary_are_compared() -> None:
    place, words = "layers/text_vectorization/", b"\n[UNK]\nb"
    copies = {f"{place}vocabulary.txt": words, f"{place}_lookup_layer/vocabulary.txt": words}
    lowered = model(("TextVectorization", {}), assets=copies, on=(None, 1)).lower()
    assert args_of(lowered.program)["vocabulary"] == ["b"]
    copies[f"{place}_lookup_layer/vocabulary.txt"] = b"\n[UNK]\nc"
    assert problem(model(("TextVectorization", {}), assets=copies, on=(None, 1))).code == "ambiguous-weights"


def test_a_file_that_no_layer_reads_is_named() -> None:
    lowered = model(("StringLookup", {"vocabulary": ["a"]}), assets={"layers/other/x.bin": b"\xff"}).lower()
    assert list(lowered.dropped) == ["assets/layers/other/x.bin"]


@pytest.mark.parametrize(
    ("options", "text", "code", "word"),
    [
        ({}, None, "missing-weights", "vocabulary"),
        ({}, b"[UNK]\n\xff", "bad-config", "UTF-8"),
        ({}, b"b\na", "bad-config", "UNK"),
        ({}, b"[UNK]\na\na", "bad-config", "twice"),
        ({}, b"[UNK]", "bad-config", "empty"),
        ({"mask_token": "m"}, b"m\n[UNK]\na\nm", "bad-config", "mask token"),
        ({"vocabulary_size": 5}, b"[UNK]\na", "bad-config", "vocabulary_size"),
        ({"max_tokens": 2}, b"[UNK]\na\nb", "bad-config", "max_tokens"),
        ({"vocabulary": ["a", "\ud800"]}, None, "bad-config", "ud800"),
        ({"vocabulary": "/etc/passwd"}, None, "unsupported-option", "vocabulary"),
        ({"vocabulary": ["a"], "invert": True, "oov_token": None}, None, "unsupported-option", "oov_token"),
        ({"vocabulary": ["a"], "encoding": "latin-1"}, None, "unsupported-option", "encoding"),
        ({"vocabulary": ["a"], "sparse": True, "output_mode": "count"}, None, "unsupported-option", "sparse"),
        ({"vocabulary": ["a"], "pad_to_max_tokens": True}, None, "unsupported-option", "max_tokens"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(
    options: dict[str, Any], text: bytes | None, code: str, word: str
) -> None:
    found = problem(model(("StringLookup", options), assets={} if text is None else {VOCABULARY: text}))
    assert found.code == code
    assert word in found.message


@pytest.mark.parametrize("ragged", [{"ragged": True}, {"standardize": {"class_name": "f"}}, {"output_mode": "one_hot"}])
def test_texts_without_an_exact_form_are_refused(ragged: dict[str, Any]) -> None:
    found = problem(model(("TextVectorization", {"vocabulary": ["a"], **ragged}), on=(None, 1)))
    assert found.code == "unsupported-option"


def test_strings_reach_no_layer_of_numbers() -> None:
    found = problem(model(("Flatten", {})))
    assert found.code == "unsupported-graph"
    assert "strings" in found.message


def test_numbers_are_no_strings() -> None:
    assert "takes strings" in problem(model(("StringLookup", {"vocabulary": ["a"]}), given="float32")).message


@pytest.mark.parametrize(("words", "front"), [(["a", "b"], [2.0]), (["[UNK]", "a", "b"], [])])
def test_weights_of_the_config_begin_with_those_of_special_tokens(words: list[str], front: list[float]) -> None:
    """An average stands for tokens of which Keras knows no frequency (index_lookup.py, set_vocabulary)."""
    given = [1.0, 3.0] if front else [0.5, 1.0, 3.0]
    options = {
        "vocabulary": words,
        "output_mode": "tf_idf",
        "idf_weights": given,
        "max_tokens": 4,
        "pad_to_max_tokens": True,
    }
    built = model(("StringLookup", options), weights=((4,),))
    built.archive.arrays.clear()  # full HDF5 files of Keras 3 do not store them
    (times,) = [c for c in built.lower().program.calls if c.target == "times"]
    assert times.args["weights"] == [*front, *given, 0.0]


# ---- what goes through the whole program


def saved(folder: Path, config: dict[str, Any], weights: bytes, assets: dict[str, bytes]) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
        for name, text in assets.items():
            archive.writestr(f"assets/{name}", text)
    return path


# ---- learned bins


def test_bins_are_quantiles_of_the_summary() -> None:
    """Against numpy's own interpolation, and where the summary is shorter than the bins."""
    values = np.sort(np.random.default_rng(0).normal(size=40)).astype(np.float32)
    edges = quantiles(np.stack([values, np.ones_like(values)]), 4)
    assert len(edges) == 3
    assert [int((values <= e).sum()) for e in edges] == [10, 20, 30]
    assert quantiles(np.stack([values[:3], values[:3]]), 5).tolist() == values[:2].tolist()


def test_learned_bins_become_numbers_and_their_summary_is_named() -> None:
    built = synthetic(
        ("Discretization", {"num_bins": 4, "epsilon": 0.01}), inputs=((None, 5),), writer=TF_KERAS, weights=((2, 40),)
    )
    lowered = built.lower()
    (path,) = built.arrays
    assert lowered.dropped.keys() == {path}
    assert lowered.program.calls[1].args["boundaries"] == [float(e) for e in quantiles(built.arrays[path], 4)]


def test_bins_that_were_never_learned_are_refused() -> None:
    found = problem(synthetic(("Discretization", {"num_bins": 4}), inputs=((None, 5),), writer=KERAS3))
    assert found.code == "unsupported-option"
    assert "adapted" in found.message


# ---- types and masks by writer


@pytest.mark.parametrize(("writer", "dtype"), [(TF_KERAS, "int64"), ("keras-3.15.1", "int32")])
def test_bins_are_integers_of_the_writers_type(writer: str, dtype: str) -> None:
    program = (
        synthetic(("Discretization", {"bin_boundaries": [0.5]}), inputs=((None, 5),), writer=writer).lower().program
    )
    assert program.values[program.outputs[0] if isinstance(program.outputs, list) else program.outputs].dtype == dtype


@pytest.mark.parametrize(
    ("writer", "policy", "compared"),
    [(TF_KERAS, "int64", "float64"), (TF_KERAS, "float32", "float32"), ("keras-3.6.0", "int64", "float32")],
)
def test_doubles_are_compared_as_the_writer_compares_them(writer: str, policy: str, compared: str) -> None:
    """tf.keras casts no inputs of a layer of integers: 0.1 as a double is below the boundary, as a float it is not."""
    entry: Entry = ("Discretization", {"bin_boundaries": [0.1], "dtype": policy})
    program = synthetic(entry, inputs=((None, 5),), given="float64", writer=writer).lower().program
    (bins,) = [c for c in program.calls if c.target == "bin_of"]
    assert program.values[str(bins.inputs[0])].dtype == compared


@pytest.mark.parametrize(("writer", "dtype"), [(TF_KERAS, "float32"), ("keras-3.15.1", "int64")])
def test_counted_tokens_have_the_writers_type(writer: str, dtype: str) -> None:
    built = model(("StringLookup", {"vocabulary": ["a"], "output_mode": "count"}), writer=writer)
    program = built.lower().program
    assert program.values[program.outputs[0] if isinstance(program.outputs, list) else program.outputs].dtype == dtype


@pytest.mark.parametrize(("writer", "masked"), [(TF_KERAS, False), ("keras-3.15.1", True)])
def test_whether_normalization_passes_a_mask_on(writer: str, masked: bool) -> None:
    chain: tuple[Entry, ...] = (
        ("Masking", {}),
        ("Normalization", {"mean": 1.0, "variance": 2.0}),
        ("GlobalAveragePooling1D", {}),
    )
    targets = [c.target for c in synthetic(*chain, writer=writer).lower().program.calls]
    assert ("masked_mean" in targets) == masked


@pytest.mark.parametrize(("writer", "refused"), [(TF_KERAS, True), ("keras-3.3.3", True), ("keras-3.6.0", False)])
def test_samples_of_more_than_two_axes(writer: str, refused: bool) -> None:
    built = synthetic(("CategoryEncoding", {"num_tokens": 4}), inputs=((None, 5, 2),), given="int32", writer=writer)
    if refused:
        assert problem(built).code == "unsupported-graph"
    else:
        assert built.lower().program.values


# ---- long vocabularies


def test_a_long_vocabulary_stays_in_the_config_beside_the_model(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import h5port

    words = [f"word{i}" for i in range(500)]
    built = model(("StringLookup", {"vocabulary": words}))
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "m",
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "InputLayer",
                    "config": {"name": "x", "batch_shape": [None, 2], "dtype": "string"},
                },
                {
                    "module": "keras.layers",
                    "class_name": "StringLookup",
                    "config": {"name": "ids", "vocabulary": words},
                },
            ],
        },
    }
    assert built.lower().program
    source = saved(tmp_path, config, _empty_h5(tmp_path), {})
    h5port.convert(source, tmp_path / "out")
    text = (tmp_path / "out" / "model.py").read_text()
    assert "argument('ids', 'vocabulary')" in text
    assert "word499" not in text
    namespace: dict[str, Any] = {"__name__": "model", "__file__": str(tmp_path / "out" / "model.py")}
    exec(compile(text, "model.py", "exec"), namespace)
    given = [["word7", "other"], ["word499", "word0"]]
    for module in (namespace["load"](), h5port.load(tmp_path / "out"), h5port.load(source)):
        assert torch.equal(module(given), torch.tensor([[8, 0], [500, 1]]))


def _empty_h5(folder: Path) -> bytes:
    import h5py

    with h5py.File(folder / "w.h5", "w") as f:
        f.create_group("layers/string_lookup/vars")
        f.create_group("vars")
    return (folder / "w.h5").read_bytes()


@pytest.mark.parametrize(
    ("name", "policy", "given"),
    [
        ("StringLookup", "int64", "string"),
        ("IntegerLookup", "int64", "int64"),
        ("TextVectorization", "string", "string"),
        ("CategoryEncoding", "int64", "int64"),
        ("Discretization", "int64", "float32"),
        ("Hashing", "int64", "string"),
    ],
)
@pytest.mark.parametrize("mode", ["int", "multi_hot", "count"])
@pytest.mark.parametrize("writer", [TF_KERAS, KERAS3])
def test_layers_of_categories_may_have_the_type_of_their_categories(
    name: str, policy: str, given: str, mode: str, writer: str
) -> None:
    """tf.keras writes such a dtype even where nobody asked for one."""
    options: dict[str, Any] = {
        "StringLookup": {"vocabulary": ["a", "b"], "output_mode": mode},
        "IntegerLookup": {"vocabulary": [7, 1], "output_mode": mode},
        "TextVectorization": {"vocabulary": ["a", "b"], "output_mode": mode},
        "CategoryEncoding": {"num_tokens": 3, "output_mode": "multi_hot" if mode == "int" else mode},
        "Discretization": {"bin_boundaries": [0.5], "output_mode": mode},
        "Hashing": {"num_bins": 3, "output_mode": mode},
    }
    on = (None, 1) if name == "TextVectorization" else (None, 5)
    model((name, options[name] | {"dtype": policy}), on=on, given=given, writer=writer).lower()
