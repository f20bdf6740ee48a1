"""The functions that users call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import FIXTURES, genuine

import h5port
from h5port import custom

BILSTM = FIXTURES / "made" / "bilstm_keras231" / "model.h5"
SQUARE = genuine("tf_keras-2.21/custom_lstm_activation")


@pytest.fixture(autouse=True)
def _forget_replacements() -> Iterator[None]:
    before = dict(custom.REGISTRY)
    yield
    custom.REGISTRY.clear()
    custom.REGISTRY.update(before)


def test_state_dict_of_a_layer_fits_a_module_of_ones_own() -> None:
    torch = pytest.importorskip("torch")
    lstm = torch.nn.LSTM(8, 6, batch_first=True, bidirectional=True)
    arrays = {k: torch.from_numpy(v) for k, v in h5port.state_dict(BILSTM, "bilstm_1").items()}
    assert lstm.load_state_dict(arrays) == ([], [])


def test_state_dict_holds_the_stored_weights_bit_for_bit() -> None:
    arrays = h5port.state_dict(BILSTM, "bilstm_1")
    with h5py.File(BILSTM) as file:
        stored = file["model_weights/bilstm_1/bilstm_1"]
        for half, end in (("forward_lstm_1", ""), ("backward_lstm_1", "_reverse")):
            kernel, bias = stored[f"{half}/kernel:0"][()], stored[f"{half}/bias:0"][()]
            np.testing.assert_array_equal(arrays[f"weight_ih_l0{end}"], kernel.T)
            np.testing.assert_array_equal(arrays[f"bias_ih_l0{end}"], bias)
            assert not arrays[f"bias_hh_l0{end}"].any()


def test_state_dict_of_an_unknown_layer_names_those_there_are() -> None:
    with pytest.raises(h5port.H5PortError, match="bilstm_2"):
        h5port.state_dict(BILSTM, "lstm_9")


def test_inspect_shows_what_each_layer_becomes() -> None:
    found = h5port.inspect(BILSTM)
    layers = {layer.name: layer for layer in found.layers}
    assert found.problems == ()
    assert layers["bilstm_1"].becomes == ["LSTM"]
    assert layers["bilstm_1"].outputs == [[None, 7, 12]]
    assert layers["words"].parameters == 400
    assert found.parameters == sum(layer.parameters for layer in found.layers)


def test_inspect_lists_problems_and_does_not_raise() -> None:
    found = h5port.inspect(SQUARE.source)
    assert [p.code for p in found.problems] == ["unknown-activation"]
    assert "square_it" in str(next(layer.problem for layer in found.layers if layer.problem))


def test_inspect_lists_the_arrays_of_weights_alone() -> None:
    case = genuine("keras-3.12.0-torch/container_weights_h5_cells")
    found = h5port.inspect(case.source)
    assert found.layers == []
    assert {a.path for a in found.arrays} >= {"layers/dense/vars/0"}
    assert [p.code for p in found.problems] == ["no-architecture"]


def test_check_writes_nothing_and_says_what_convert_says(tmp_path: Path) -> None:
    checked = h5port.check(BILSTM)
    converted = h5port.convert(BILSTM, tmp_path / "out")
    assert checked.tensors == converted.tensors
    assert checked.notes == converted.notes


def test_explain_follows_a_tensor_to_its_source(tmp_path: Path) -> None:
    h5port.convert(BILSTM, tmp_path / "out")
    text = h5port.explain(tmp_path / "out", "bilstm_1.weight_ih_l0_reverse")
    assert "backward_lstm_1/kernel:0" in text
    assert "transpose" in text


def test_an_existing_folder_is_refused_and_replaced_only_when_asked(tmp_path: Path) -> None:
    h5port.convert(BILSTM, tmp_path / "out")
    with pytest.raises(h5port.H5PortError) as error:
        h5port.convert(BILSTM, tmp_path / "out")
    assert error.value.code == "output-exists"
    h5port.convert(BILSTM, tmp_path / "out", overwrite=True)


def test_raw_writes_every_array_under_its_own_name(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    h5port.convert(BILSTM, tmp_path / "all.safetensors", raw=True)
    tensors = load_file(tmp_path / "all.safetensors")
    with h5py.File(BILSTM) as file:
        stored: dict[str, Any] = {}
        file.visititems(lambda n, o: stored.update({n: o[()]}) if isinstance(o, h5py.Dataset) else None)
    assert stored.keys() == tensors.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(tensors[name], array)


def test_stacked_layers_give_the_same_outputs_from_one_module() -> None:
    torch = pytest.importorskip("torch")
    plain, stacked = h5port.load(BILSTM), h5port.load(BILSTM, stack_recurrent=True)
    ids = torch.randint(0, 50, (3, 7))
    with torch.inference_mode():
        torch.testing.assert_close(stacked(ids), plain(ids))
    assert stacked.bilstm_1.num_layers == 1  # 6 and 5 units: not equal, so they stay two


# ---- layers of somebody else


def test_a_replacement_gets_the_config_and_the_arrays() -> None:
    torch = pytest.importorskip("torch")
    seen: dict[str, Any] = {}

    @h5port.register("lstm")
    class Squared(torch.nn.Module):
        def __init__(self, config: dict[str, Any], tensors: dict[str, Any]) -> None:
            super().__init__()
            seen.update(config=config, tensors={k: tuple(v.shape) for k, v in tensors.items()})
            self.kernel = torch.nn.Parameter(tensors["kernel"] if "kernel" in tensors else next(iter(tensors.values())))

        def forward(self, x: Any) -> Any:
            return x.new_ones(x.shape[0], 3)

        @staticmethod
        def output_shape(config: dict[str, Any], shape: list[int | None]) -> list[int | None]:
            return [shape[0], config["units"]]

    module = h5port.load(SQUARE.source)
    inputs, _ = SQUARE.calls()[0]
    assert module(torch.from_numpy(inputs[0])).shape[0] == len(inputs[0])
    assert seen["config"]["units"] == 3
    assert len(seen["tensors"]) == 3


def test_a_folder_with_a_replacement_asks_for_it_by_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Zero(torch.nn.Module):
        def __init__(self, config: dict[str, Any], tensors: dict[str, Any]) -> None:
            super().__init__()
            self.units = config["units"]

        def forward(self, x: Any) -> Any:
            return x.new_zeros(x.shape[0], self.units)

    h5port.convert(SQUARE.source, tmp_path / "out", custom={"LSTM": Zero})
    with pytest.raises(h5port.H5PortError, match="LSTM"):
        h5port.load(tmp_path / "out")
    x = torch.from_numpy(SQUARE.calls()[0][0][0])
    expected = h5port.load(tmp_path / "out", custom={"LSTM": Zero})(x)
    namespace: dict[str, Any] = {"__file__": str(tmp_path / "out" / "model.py"), "__name__": "model"}
    exec((tmp_path / "out" / "model.py").read_text(), namespace)
    torch.testing.assert_close(namespace["load"](custom={"LSTM": Zero})(x), expected)


def test_partial_converts_the_rest_and_the_stub_names_its_layer(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    h5port.convert(SQUARE.source, tmp_path / "out", partial=True)
    module = h5port.load(tmp_path / "out")
    assert {n for n, _ in module.lstm.named_buffers()}
    assert module.lstm.config["units"] == 3
    with pytest.raises(NotImplementedError, match="square_it"):
        module(torch.from_numpy(SQUARE.calls()[0][0][0]))


# ---- model.py, by itself


def test_model_py_needs_nothing_but_torch_and_safetensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    h5port.convert(BILSTM, tmp_path / "out")
    ids = torch.randint(0, 50, (3, 7))
    torch.save(ids, tmp_path / "ids.pt")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['h5port'] = None\n"
        "import torch; from model import load; torch.set_grad_enabled(False)\n"
        "torch.save(load()(torch.load(sys.argv[2])), sys.argv[3])"
    )
    files = [str(tmp_path / n) for n in ("out", "ids.pt", "y.pt")]
    subprocess.run([sys.executable, "-I", "-c", code, *files], check=True)
    with torch.inference_mode():
        torch.testing.assert_close(torch.load(tmp_path / "y.pt"), h5port.load(BILSTM)(ids))


def stacked_lstms(path: Path, units: list[int], masked: bool = False) -> Path:
    """A file of Keras 2.3.1 with LSTMs one behind the other, on sequences of 4 features; random weights."""
    options = {"return_sequences": True, "activation": "tanh", "recurrent_activation": "sigmoid"}
    shape = {"batch_input_shape": [None, 5, 4]}
    entries = [("Masking", {"name": "masking", "mask_value": 0.0, **shape})] if masked else []
    entries += [("LSTM", {"name": f"lstm_{i}", "units": u, **options, **shape}) for i, u in enumerate(units)]
    layers = [{"class_name": c, "config": o} for c, o in entries]
    config = {"class_name": "Sequential", "config": {"name": "stack", "layers": layers}}
    random, width = np.random.default_rng(0), 4
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [o["name"] for _, o in entries]
        for holder in (file, group):
            holder.attrs["keras_version"], holder.attrs["backend"] = "2.3.1", "tensorflow"
        for _, options in entries:
            layer, u = group.create_group(options["name"]), options.get("units", 0)
            shapes = {"kernel:0": (width, 4 * u), "recurrent_kernel:0": (u, 4 * u), "bias:0": (4 * u,)} if u else {}
            layer.attrs["weight_names"] = [f"{options['name']}/{n}" for n in shapes]
            for name, size in shapes.items():
                layer[f"{options['name']}/{name}"] = random.normal(size=size).astype("f4")
            width = u or width
    return path


@pytest.mark.parametrize(
    ("units", "masked", "layers"),
    [([4, 4, 4], False, {"lstm_0": 3}), ([4, 4, 3], False, {"lstm_0": 2, "lstm_2": 1}), ([4, 4], True, {})],
)
def test_equal_layers_become_one_module_where_that_is_exact(
    units: list[int], masked: bool, layers: dict[str, int], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    source = stacked_lstms(tmp_path / "model.h5", units, masked)
    plain, stacked = h5port.load(source), h5port.load(source, stack_recurrent=True)
    for name, count in layers.items():
        assert getattr(stacked, name).num_layers == count
    x = torch.randn(3, 5, 4)
    with torch.inference_mode():
        torch.testing.assert_close(stacked(x), plain(x))


def test_the_report_says_which_old_names_were_read_as_new_ones() -> None:
    case = genuine("keras-1.2.2-theano/conv1d_same")
    notes = " ".join(h5port.check(case.source, **case.options).notes)
    assert "Convolution1D -> Conv1D" in notes
    assert "Conv1D.nb_filter -> filters" in notes
