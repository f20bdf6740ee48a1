"""Builders of valid, wrong and hostile files: each takes a folder and returns the path of what it made there.

All of them are the same model of one Dense layer, spoiled in one place.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Builder = Callable[[Path], Path]

KERNEL = np.arange(6, dtype=np.float32).reshape(3, 2)
BIAS = np.array([-0.5, 0.25], np.float32)
VARS = "layers/dense/vars"
CONFIG: dict[str, Any] = {
    "class_name": "Sequential",
    "config": {
        "name": "small",
        "layers": [{"class_name": "Dense", "config": {"name": "dense", "units": 2, "batch_input_shape": [None, 3]}}],
    },
}
METADATA = {"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"


def label(build: object) -> str:
    """The name of a builder, for the ids of tests."""
    if isinstance(build, partial):
        return f"{build.func.__name__}{build.args}"
    return getattr(build, "__name__", str(build))


def _file(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# ---- valid files


def full_h5(folder: Path) -> Path:
    """As `model.save("model.h5")` writes it."""
    path = folder / "model.h5"
    with h5py.File(path, "w") as f:
        f.attrs.update({"keras_version": "2.2.4", "backend": "tensorflow", "model_config": json.dumps(CONFIG)})
        weights = f.create_group("model_weights")
        weights.attrs.update({"keras_version": "2.2.4", "backend": "tensorflow", "layer_names": [b"dense"]})
        layer = weights.create_group("dense")
        layer.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        layer["dense/kernel:0"], layer["dense/bias:0"] = KERNEL, BIAS
    return path


def weights_h5(
    folder: Path, kernel: Callable[[h5py.Group], object] | None = None, name: str = "model.weights.h5", **options: Any
) -> Path:
    """As `save_weights("model.weights.h5")` writes it; `kernel` may put something else where the kernel belongs."""
    path = folder / name
    with h5py.File(path, "w", **options) as f:
        group = f.create_group(VARS)
        kernel(group) if kernel else group.create_dataset("0", data=KERNEL)
        group["1"] = BIAS
    return path


def keras_zip(folder: Path, weights: Path | None = None, **members: bytes | str) -> Path:
    """As `model.save("model.keras")` writes it: nothing is compressed."""
    return zipped(folder / "model.keras", keras_members(weights or weights_h5(folder)) | members)


def keras_members(weights: Path) -> dict[str, bytes | str]:
    return {
        "metadata.json": json.dumps(METADATA),
        "config.json": json.dumps(CONFIG),
        "model.weights.h5": weights.read_bytes(),
    }


def zipped(path: Path, members: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def keras_folder(folder: Path, weights: Path | None = None) -> Path:
    target = folder / "unzipped"
    target.mkdir()
    for name, data in keras_members(weights or weights_h5(folder)).items():
        _file(target / name, data)
    return target


def shards(folder: Path, weights: Path | None = None) -> Path:
    shard = (weights or weights_h5(folder)).rename(folder / "model_00000.weights.h5")
    return shard_index(folder, {f"/{VARS}": [shard.name]})


def shard_index(folder: Path, weight_map: Any) -> Path:
    return _file(folder / "model.weights.json", json.dumps({"metadata": {}, "weight_map": weight_map}))


def architecture_json(folder: Path) -> Path:
    return _file(folder / "arch.json", json.dumps(CONFIG))


def architecture_yaml(folder: Path) -> Path:
    return _file(folder / "arch.yaml", "class_name: Sequential\nconfig:\n- class_name: Dense\n  config: {units: 2}\n")


def user_block(folder: Path) -> Path:
    """MATLAB puts text before the HDF5 signature."""
    path = weights_h5(folder, userblock_size=1024)
    with path.open("r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file".ljust(1024))
    return path


def signature_inside_zip(offset: int, folder: Path) -> Path:
    """A `.keras` whose stored weights lie where h5py looks for a signature behind a user block."""
    blank = keras_zip(folder).read_bytes().index(b"\x89HDF\r\n\x1a\n")
    return keras_zip(folder, **{"metadata.json": json.dumps(METADATA) + " " * (offset - blank)})


def _carry_zip(compression: int, weights: Path) -> Path:
    return zipped(weights.parent / "model.keras", keras_members(weights), compression)


# How the weights file of a model may come: the path of it -> the path that a user gives.
CARRIERS: dict[str, Callable[[Path], Path]] = {
    "alone": lambda weights: weights,
    "zip": partial(_carry_zip, zipfile.ZIP_STORED),
    "compressed zip": partial(_carry_zip, zipfile.ZIP_DEFLATED),
    "folder": lambda weights: keras_folder(weights.parent, weights),
    "shard": lambda weights: shards(weights.parent, weights),
}


# ---- HDF5 files that lead to another file; `secret` is that file


def secret(folder: Path) -> Path:
    path = folder / "secret.h5"
    with h5py.File(path, "w") as f:
        f["kernel"] = np.full((3, 2), 42, np.float32)
    return path


def external_link(folder: Path) -> Path:
    other = str(secret(folder))
    return weights_h5(folder, lambda group: group.update({"0": h5py.ExternalLink(other, "/kernel")}))


def soft_link_through_external_link(folder: Path) -> Path:
    other = str(secret(folder))

    def kernel(group: h5py.Group) -> None:
        group["0"] = h5py.SoftLink("/zz/kernel")
        group.file["zz"] = h5py.ExternalLink(other, "/")

    return weights_h5(folder, kernel)


def external_storage(folder: Path) -> Path:
    other = str(secret(folder))
    external = [(other, 0, h5py.h5f.UNLIMITED)]
    return weights_h5(folder, lambda group: group.create_dataset("0", (3, 2), "f4", external=external))


def virtual_dataset(folder: Path) -> Path:
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource(secret(folder), "kernel", (3, 2))
    return weights_h5(folder, lambda group: group.create_virtual_dataset("0", layout))


# ---- HDF5 files that lie about themselves


def soft_link(folder: Path) -> Path:
    return weights_h5(folder, lambda group: group.update({"0": h5py.SoftLink(f"/{VARS}/1")}))


def dangling_soft_link(folder: Path) -> Path:
    return weights_h5(folder, lambda group: group.update({"0": h5py.SoftLink("/nowhere")}))


def never_stored(folder: Path) -> Path:
    return weights_h5(folder, lambda group: group.create_dataset("0", (2**20, 2**20), "f4"))


def never_stored_chunks(folder: Path) -> Path:
    def kernel(group: h5py.Group) -> None:
        group.create_dataset("0", (64, 64), "f4", chunks=(8, 8))[:8] = 1

    return weights_h5(folder, kernel)


def deflate_bomb(folder: Path) -> Path:
    return weights_h5(folder, _bomb)


def _bomb(group: h5py.Group) -> None:
    bomb = group.create_dataset("0", (2**28,), "f4", chunks=(2**28,), compression="gzip")
    bomb.id.write_direct_chunk((0,), zlib.compress(bytes(2**16)))


def deflate_bomb_that_lies(folder: Path) -> Path:
    """The same bomb, its chunk said to be 2 GB long on disk."""
    path = weights_h5(folder, _bomb)
    size = len(zlib.compress(bytes(2**16))).to_bytes(4, "little")
    rest = bytes(20)  # of the key in the B-tree: no filter skipped, offset 0
    data = path.read_bytes()
    assert data.count(size + rest) == 1
    return _file(path, data.replace(size + rest, (2**31 - 1).to_bytes(4, "little") + rest))


def filtered(folder: Path, **filters: Any) -> Path:
    return weights_h5(folder, lambda group: group.create_dataset("0", data=KERNEL, chunks=(3, 2), **filters))


def lzf(folder: Path) -> Path:
    return filtered(folder, compression="lzf")


def scale_offset(folder: Path) -> Path:
    return filtered(folder, scaleoffset=3)


def _low_level_filters(folder: Path, numbers: tuple[int, ...]) -> Path:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((3, 2))
    for number in numbers:
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1,))

    def kernel(group: h5py.Group) -> None:
        space = h5py.h5s.create_simple((3, 2))
        h5py.Dataset(h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, space, properties))[:] = KERNEL

    return weights_h5(folder, kernel)


def unknown_filter(folder: Path) -> Path:
    return _low_level_filters(folder, (32123,))


def repeated_filter(folder: Path) -> Path:
    return _low_level_filters(folder, (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_DEFLATE))


def _of_type(name: str, dtype: Any, value: Any = None) -> Builder:
    dtype = np.dtype(dtype)

    def build(folder: Path) -> Path:
        def kernel(group: h5py.Group) -> None:
            group.create_dataset("0", (3,), dtype)[:] = np.zeros((), dtype) if value is None else value

        return weights_h5(folder, kernel)

    build.__name__ = name
    return build


compound = _of_type("compound", [("a", "f4"), ("b", "i4")])
compound_of_two_bytes = _of_type("compound_of_two_bytes", [("a", "u1"), ("b", "u1")])
opaque = _of_type("opaque", "V4")
enum = _of_type("enum", h5py.enum_dtype({"no": 0, "yes": 1, "perhaps": 2}, "u1"))
complex_numbers = _of_type("complex_numbers", "c8")
long_doubles = _of_type("long_doubles", "g")
fixed_strings = _of_type("fixed_strings", "S4")
vlen_strings = _of_type("vlen_strings", h5py.string_dtype(), "abc")


def vlen_numbers(folder: Path) -> Path:
    def kernel(group: h5py.Group) -> None:
        array = group.create_dataset("0", (3,), h5py.vlen_dtype(np.float32))
        for i in range(3):
            array[i] = KERNEL[i]

    return weights_h5(folder, kernel)


def references(folder: Path) -> Path:
    def kernel(group: h5py.Group) -> None:
        array = group.create_dataset("0", (3,), h5py.ref_dtype)
        for i in range(3):
            array[i] = group.ref

    return weights_h5(folder, kernel)


def array_type_of_two_bytes(folder: Path) -> Path:
    """An HDF5 array type, as long as a bfloat16."""

    def kernel(group: h5py.Group) -> None:
        group.create_dataset("0", (3,), np.dtype(("u1", (2,))))[...] = np.ones((3, 2), "u1")

    return weights_h5(folder, kernel)


def time_type(folder: Path) -> Path:
    """A type that numpy has no name for."""

    def kernel(group: h5py.Group) -> None:
        h5py.h5d.create(group.id, b"0", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((3,)))

    return weights_h5(folder, kernel)


def no_shape(folder: Path) -> Path:
    return weights_h5(folder, lambda group: group.create_dataset("0", data=h5py.Empty("f4")))


def stored_type(folder: Path) -> Path:
    """A named datatype where an array belongs."""
    return weights_h5(folder, lambda group: group.update({"0": np.dtype("f4")}))


def hard_link_cycle(folder: Path) -> Path:
    return weights_h5(folder, lambda group: group.update({"0": group.file["layers"]}))


def group_reached_twice(folder: Path) -> Path:
    def kernel(group: h5py.Group) -> None:
        group["0"] = KERNEL
        group.file["layers/twin"] = group

    return weights_h5(folder, kernel)


def deep_groups(folder: Path) -> Path:
    return weights_h5(folder, lambda group: group.create_dataset("/".join("a" * 100), data=KERNEL))


def name_that_is_no_text(folder: Path) -> Path:
    def kernel(group: h5py.Group) -> None:
        h5py.h5g.create(group.id, b"\xff")

    return weights_h5(folder, kernel)


def vlen_attribute_of_no_known_kind(folder: Path) -> Path:
    """One byte of an attribute's type is wrong: HDF5 dies of reading it."""
    path = full_h5(folder)
    data = bytearray(path.read_bytes())
    place = data.index(b"model_config\0") + 16
    assert data[place : place + 2] == b"\x19\x01"  # a vlen type, version 1; of strings
    data[place + 1] = 5
    return _file(path, bytes(data))


# ---- zips


def zip_with_twins(folder: Path) -> Path:
    """Two members of one name; zipfile would warn of writing them."""
    path = keras_zip(folder, configXjson="{}")
    return _file(path, path.read_bytes().replace(b"configXjson", b"config.json"))


def zip_with_member(name: str, folder: Path) -> Path:
    return keras_zip(folder, **{name: b"evil"})


def zip_bomb(folder: Path) -> Path:
    """More blanks than deflate could make of what is stored: only bzip2 does that."""
    members = keras_members(weights_h5(folder)) | {"assets/blanks": bytes(10**7)}
    return zipped(folder / "model.keras", members, zipfile.ZIP_BZIP2)


def npz_weights(folder: Path) -> Path:
    members = {"config.json": json.dumps(CONFIG), "metadata.json": "{}", "model.weights.npz": npz(folder).read_bytes()}
    return zipped(folder / "model.keras", members)


# ---- files of others


def empty(folder: Path) -> Path:
    return _file(folder / "model.h5", b"")


def git_lfs_pointer(folder: Path) -> Path:
    return _file(folder / "model.h5", LFS_POINTER)


def html_page(folder: Path) -> Path:
    return _file(folder / "model.h5", "\n<!DOCTYPE html>\n<html><body>Not Found</body></html>")


def xml_page(folder: Path) -> Path:
    return _file(folder / "model.h5", "<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>")


def saved_model(folder: Path) -> Path:
    path = folder / "exported"
    (path / "variables").mkdir(parents=True)
    saved_model_pb(path)
    return path


def saved_model_pb(folder: Path) -> Path:
    """Schema version 1, then a meta graph of some 40,000 bytes."""
    return _file(folder / "saved_model.pb", b"\x08\x01\x12\xc4\xb8\x02\n\x8b\xb8\x02\n\x11\n\x03Add\x12\x06\n\x01x" * 9)


def zipped_saved_model(folder: Path) -> Path:
    return zipped(folder / "model.zip", {"export/saved_model.pb": b"\x08\x01", "export/variables/variables.index": b""})


def checkpoint_folder(folder: Path) -> Path:
    path = folder / "ckpt"
    path.mkdir()
    _file(path / "checkpoint", 'model_checkpoint_path: "x"\n')
    checkpoint_index(path)
    return path


def checkpoint_index(folder: Path) -> Path:
    return _file(folder / "x.index", bytes(range(60)) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb")


def checkpoint_data(folder: Path) -> Path:
    return _file(folder / "x.data-00000-of-00001", KERNEL.tobytes())


def tfjs_json(folder: Path) -> Path:
    document = {"format": "layers-model", "modelTopology": {"model_config": CONFIG}, "weightsManifest": []}
    return _file(folder / "model.json", json.dumps(document))


def tfjs_folder(folder: Path) -> Path:
    path = folder / "tfjs"
    path.mkdir()
    tfjs_json(path)
    _file(path / "group1-shard1of1.bin", KERNEL.tobytes())
    return path


def onnx(folder: Path) -> Path:
    return _file(
        folder / "model.onnx", b"\x08\x08\x12\x07pytorch\x1a\x051.9.0:\xa2\x01\n\x10\n\x01x\x12\x01y" + bytes(99)
    )


def frozen_graph(folder: Path) -> Path:
    return _file(folder / "frozen.pb", b"\n\x2e\n\x05input\x12\x0bPlaceholder*\x0b\n\x05dtype\x12\x020\x01" + bytes(99))


def pytorch_zip(folder: Path) -> Path:
    return zipped(folder / "model.pt", {"archive/data.pkl": _evil_pickle(folder), "archive/data/0": KERNEL.tobytes()})


def npz(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, kernel=KERNEL)
    return _file(folder / "weights.npz", buffer.getvalue())


def npy(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.save(buffer, KERNEL)
    return _file(folder / "weights.npy", buffer.getvalue())


def proof_of_execution(folder: Path) -> Path:
    """What a pickle or a YAML of ours makes if it is ever executed."""
    return folder / "executed"


class _Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(proof_of_execution(self.folder)), "w")


def _evil_pickle(folder: Path, protocol: int = 2) -> bytes:
    return pickle.dumps(_Evil(folder), protocol)


def pickled(protocol: int, folder: Path) -> Path:
    return _file(folder / "model.pkl", _evil_pickle(folder, protocol))


def tflite(folder: Path) -> Path:
    return _file(folder / "model.tflite", b"\x1c\0\0\0TFL3" + bytes(99))


def safetensors(folder: Path) -> Path:
    header = b'{"kernel":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}'
    return _file(folder / "model.safetensors", len(header).to_bytes(8, "little") + header + KERNEL.tobytes())


def gzipped(folder: Path) -> Path:
    return _file(folder / "model.h5.gz", gzip.compress(full_h5(folder).read_bytes()))


def unknown_bytes(folder: Path) -> Path:
    return _file(folder / "model.h5", bytes(range(128, 256)))


def plain_hdf5(folder: Path) -> Path:
    path = folder / "data.h5"
    with h5py.File(path, "w") as f:
        f["measurements/run1"] = KERNEL
    return path


def no_such_file(folder: Path) -> Path:
    full_h5(folder)
    return folder / "modle.h5"


def empty_folder(folder: Path) -> Path:
    path = folder / "nothing"
    path.mkdir()
    return path


# ---- documents


def too_deep_json(folder: Path) -> Path:
    return _file(folder / "arch.json", '{"class_name": ' + "[" * 100_000 + "]" * 100_000 + "}")


def json_key_twice(folder: Path) -> Path:
    return _file(folder / "arch.json", '{"class_name": "Sequential", "config": {"name": "a", "units": 1, "name": "b"}}')


def json_with_nan(folder: Path) -> Path:
    return _file(folder / "arch.json", '{"class_name": "Masking", "config": {"mask_value": NaN, "high": Infinity}}')


def json_not_utf8(folder: Path) -> Path:
    return _file(folder / "arch.json", b'{"class_name": "Sequential", "config": {"name": "caf\xe9"}}')


def json_huge_integer(folder: Path) -> Path:
    return _file(folder / "arch.json", '{"class_name": "Dense", "config": {"units": ' + "9" * 1_000_000 + "}}")


def yaml_not_utf8(folder: Path) -> Path:
    return _file(folder / "arch.yaml", b"class_name: Sequential\nconfig: {name: caf\xe9}\n")


def yaml_python_object(folder: Path) -> Path:
    call = f"!!python/object/apply:builtins.open [{str(proof_of_execution(folder))!r}, w]"
    return _file(folder / "arch.yaml", f"class_name: Sequential\nconfig: {call}\n")
