"""The functions that users call."""

from __future__ import annotations

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
