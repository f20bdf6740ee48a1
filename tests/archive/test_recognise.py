"""What a path holds is told by its bytes: wrong files are refused by their name, right ones open under any suffix."""

from __future__ import annotations

import pickle
import zipfile
from functools import partial
from pathlib import Path

import h5py
import hostile
import numpy as np
import pytest
from conftest import genuine

from h5port.archive import open_archive, read_config_file
from h5port.errors import H5PortError

# builder, code, what the text must name
WRONG = [
    (hostile.no_such_file, "not-found", "model.h5"),  # the file that was meant is beside it
    (hostile.empty, "damaged-file", "empty"),
    (hostile.git_lfs_pointer, "not-keras", "git-lfs pointer"),
    (hostile.html_page, "not-keras", "HTML"),
    (hostile.xml_page, "not-keras", "XML"),
    (hostile.saved_model, "not-keras", "SavedModel"),
    (hostile.saved_model_pb, "not-keras", "SavedModel"),
    (hostile.zipped_saved_model, "not-keras", "SavedModel"),
    (hostile.checkpoint_folder, "not-keras", "TensorFlow checkpoint"),
    (hostile.checkpoint_index, "not-keras", "TensorFlow checkpoint"),
    (hostile.checkpoint_data, "not-keras", "TensorFlow checkpoint"),
    (hostile.tfjs_folder, "not-keras", "TensorFlow.js"),
    (hostile.tfjs_json, "not-keras", "TensorFlow.js"),
    (hostile.onnx, "not-keras", "ONNX"),
    (hostile.frozen_graph, "not-keras", "frozen"),
    (hostile.pytorch_zip, "not-keras", "PyTorch"),
    (hostile.npz, "not-keras", "npz"),
    (hostile.npy, "not-keras", "npy"),
    (hostile.npz_weights, "not-keras", "npz"),
    *((partial(hostile.pickled, n), "not-keras", "pickle") for n in range(2, pickle.HIGHEST_PROTOCOL + 1)),
    (hostile.tflite, "not-keras", "TensorFlow Lite"),
    (hostile.safetensors, "not-keras", "safetensors"),
    (hostile.gzipped, "not-keras", "gzip"),
    (hostile.unknown_bytes, "not-keras", "not a format that Keras writes"),
    (hostile.plain_hdf5, "not-keras", "not of Keras"),
    (hostile.empty_folder, "not-keras", "folder without a Keras model"),
]
NOT_A_MODEL = [build for build, _, _ in WRONG]


@pytest.mark.parametrize("read", [open_archive, read_config_file])
@pytest.mark.parametrize(("build", "code", "name"), WRONG, ids=hostile.label)
def test_a_wrong_file_is_refused_by_its_name(
    build: hostile.Builder, code: str, name: str, read: hostile.Builder, tmp_path: Path
) -> None:
    path = build(tmp_path)
    with pytest.raises(H5PortError) as error:
        read(path)
    assert error.value.code == code
    assert name in str(error.value)
    assert str(path) in str(error.value)
    assert error.value.problems[0].remedy


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_executed(protocol: int, tmp_path: Path) -> None:
    path = hostile.pickled(protocol, tmp_path)
    with pytest.raises(H5PortError, match="not-keras"):
        open_archive(path)
    assert not hostile.proof_of_execution(tmp_path).exists()
    pickle.loads(path.read_bytes()).close()
    assert hostile.proof_of_execution(tmp_path).exists()  # it would have been seen


RIGHT = [
    (hostile.full_h5, "h5-full"),
    (hostile.weights_h5, "weights.h5"),
    (hostile.user_block, "weights.h5"),
    (hostile.keras_zip, "keras-zip"),
    (hostile.architecture_json, "architecture"),
    (hostile.architecture_yaml, "architecture"),
]


@pytest.mark.parametrize("name", ["x.h5", "x.keras", "x.json", "x.yaml", "x.zip", "x.pkl", "x.index", "x.pb", "x"])
@pytest.mark.parametrize(("build", "container"), RIGHT, ids=hostile.label)
def test_content_decides_and_never_the_suffix(
    build: hostile.Builder, container: str, name: str, tmp_path: Path
) -> None:
    path = build(tmp_path).rename(tmp_path / name)
    with open_archive(path) as archive:
        assert archive.container == container


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("build", [b for b in NOT_A_MODEL if b is not hostile.checkpoint_data], ids=hostile.label)
def test_a_right_suffix_helps_no_wrong_file(build: hostile.Builder, suffix: str, tmp_path: Path) -> None:
    path = build(tmp_path)
    if path.exists():
        path = path.rename(tmp_path / f"named{suffix}")
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code in {"not-keras", "damaged-file", "not-found"}


@pytest.mark.parametrize("offset", [1024, 2048, 4096])
def test_a_zip_is_a_zip_also_where_h5py_takes_it_for_hdf5(offset: int, tmp_path: Path) -> None:
    path = hostile.signature_inside_zip(offset, tmp_path)
    with h5py.File(path) as f:
        assert f.userblock_size == offset  # h5py is deceived
    with open_archive(path) as archive:
        assert (archive.container, archive.config) == ("keras-zip", hostile.CONFIG)
        np.testing.assert_array_equal(archive.read(f"{hostile.VARS}/0"), hostile.KERNEL)


def test_a_genuine_zip_that_h5py_takes_for_hdf5_is_a_zip() -> None:
    path = genuine("tf_keras-2.21/dict_inputs_zip").source
    assert h5py.is_hdf5(path)
    with open_archive(path) as archive:
        assert archive.container == "keras-zip"


@pytest.mark.parametrize("size", [512, 1024, 4096, 65536])
@pytest.mark.parametrize("text", [b"MATLAB 7.3 MAT-file", b"{", b"<html>", b"\x80\x04", b"version https://git-lfs"])
def test_hdf5_behind_a_user_block_is_hdf5_whatever_the_block_says(text: bytes, size: int, tmp_path: Path) -> None:
    path = hostile.weights_h5(tmp_path, userblock_size=size)
    with path.open("r+b") as f:
        f.write(text)
    with open_archive(path) as archive:
        np.testing.assert_array_equal(archive.read(f"{hostile.VARS}/0"), hostile.KERNEL)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_cut_anywhere_is_refused(compression: int, tmp_path: Path) -> None:
    members = hostile.keras_members(hostile.weights_h5(tmp_path))
    whole = hostile.zipped(tmp_path / "whole", members, compression).read_bytes()
    path = tmp_path / "model.keras"
    for size in {*range(2, len(whole), 97), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:size])
        with pytest.raises(H5PortError) as error:
            open_archive(path)
        assert error.value.code == "damaged-file"
        assert "cut short" in str(error.value)


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"userblock_size": 512}], ids=str)
def test_an_hdf5_file_cut_anywhere_is_refused(options: dict[str, object], tmp_path: Path) -> None:
    path = hostile.weights_h5(tmp_path, **options)
    whole = path.read_bytes()
    start = whole.index(b"\x89HDF") + 8  # before it there is nothing to tell HDF5 by
    for size in {*range(start, len(whole), 97), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:size])
        with pytest.raises(H5PortError) as error:
            open_archive(path)
        assert error.value.code == "damaged-file"
        assert "cut short" in str(error.value)


@pytest.mark.parametrize("name", ["x" * 300, "no\0name", "a/b/c", "\ud800"], ids=["long", "nul", "deep", "surrogate"])
def test_a_path_that_no_file_can_have_is_not_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(H5PortError) as error:
        open_archive(tmp_path / name)
    assert error.value.code == "not-found"


def test_a_link_to_itself_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    with pytest.raises(H5PortError) as error:
        open_archive(tmp_path / "loop.h5")
    assert error.value.code == "not-found"
