"""HDF5 files: nothing leads out of them, nothing unstored is read, and what is stored comes back bit for bit."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hostile
import numpy as np
import pytest
from conftest import genuine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from h5port.archive import hdf5, open_archive
from h5port.errors import H5PortError

KERNEL = f"{hostile.VARS}/0"
Kernel = Callable[[h5py.Group], object]


# ---- what leads out of the file

LEADING_OUT = [
    (hostile.external_link, "ExternalLink"),
    (hostile.soft_link_through_external_link, "Link"),
    (hostile.external_storage, "another file"),
    (hostile.virtual_dataset, "virtual"),
]


@contextmanager
def watched(path: Path) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether anyone has opened the file, C code included."""
    libc = ctypes.CDLL(None, use_errno=True)
    watcher = libc.inotify_init1(os.O_NONBLOCK)
    try:
        assert libc.inotify_add_watch(watcher, os.fsencode(path), 0x20) > 0  # IN_OPEN

        def opened() -> bool:
            try:
                return bool(os.read(watcher, 4096))
            except BlockingIOError:
                return False

        yield opened
    finally:
        os.close(watcher)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")
@pytest.mark.parametrize("carrier", hostile.CARRIERS)
@pytest.mark.parametrize(("build", "reason"), LEADING_OUT, ids=hostile.label)
def test_what_leads_to_another_file_is_refused_and_that_file_never_opened(
    build: hostile.Builder, reason: str, carrier: str, tmp_path: Path
) -> None:
    path = hostile.CARRIERS[carrier](build(tmp_path))
    with watched(tmp_path / "secret.h5") as opened:
        with pytest.raises(H5PortError) as error:
            open_archive(path)
        assert not opened()
    assert error.value.code == "unsafe-file"
    assert reason in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")
@pytest.mark.parametrize("build", [build for build, _ in LEADING_OUT], ids=hostile.label)
def test_h5py_alone_follows_it(build: hostile.Builder, tmp_path: Path) -> None:
    """The samples are real and the watcher sees: else the test above would prove nothing."""
    path = build(tmp_path)
    with watched(tmp_path / "secret.h5") as opened, h5py.File(path) as f:
        f[KERNEL][()]
        assert opened()


@pytest.mark.parametrize("build", [build for build, _ in LEADING_OUT], ids=hostile.label)
def test_a_target_that_does_not_exist_is_refused_for_leading_out(build: hostile.Builder, tmp_path: Path) -> None:
    path = build(tmp_path)
    (tmp_path / "secret.h5").unlink()
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code == "unsafe-file"


# ---- what lies about itself

LYING = [
    (hostile.soft_link, "SoftLink"),
    (hostile.dangling_soft_link, "SoftLink"),
    (hostile.never_stored, "stored"),
    (hostile.never_stored_chunks, "stored"),
    (hostile.deflate_bomb, "stored"),
    (hostile.deflate_bomb_that_lies, "stored"),
    (hostile.lzf, "filters [32000]"),
    (hostile.scale_offset, "filters [6]"),
    (hostile.unknown_filter, "filters [32123]"),
    (hostile.repeated_filter, "filters [1, 1]"),
    (hostile.compound, "not a number"),
    (hostile.compound_of_two_bytes, "not a number"),
    (hostile.opaque, "not a number"),
    (hostile.enum, "not a number"),
    (hostile.complex_numbers, "not a number"),
    (hostile.long_doubles, "not a number"),
    (hostile.fixed_strings, "not a number"),
    (hostile.vlen_strings, "not a number"),
    (hostile.vlen_numbers, "not a number"),
    (hostile.references, "not a number"),
    (hostile.array_type_of_two_bytes, "not a number"),
    (hostile.time_type, "not a number"),
    (hostile.no_shape, "shape"),
    (hostile.stored_type, "neither a group nor an array"),
    (hostile.hard_link_cycle, "linked to twice"),
    (hostile.group_reached_twice, "linked to twice"),
    (hostile.deep_groups, "nested deeper"),
    (hostile.name_that_is_no_text, "name"),
]


@pytest.mark.parametrize("carrier", hostile.CARRIERS)
@pytest.mark.parametrize(("build", "reason"), LYING, ids=hostile.label)
def test_a_file_that_lies_is_refused_at_opening_by_its_reason(
    build: hostile.Builder, reason: str, carrier: str, tmp_path: Path
) -> None:
    path = hostile.CARRIERS[carrier](build(tmp_path))
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code in {"unsafe-file", "damaged-file"}
    assert reason in str(error.value)
    assert ":/layers" in str(error.value)  # the place inside the file


@pytest.mark.parametrize("carrier", hostile.CARRIERS)
def test_the_same_model_unspoiled_opens_by_every_carrier(carrier: str, tmp_path: Path) -> None:
    with open_archive(hostile.CARRIERS[carrier](hostile.weights_h5(tmp_path))) as archive:
        assert list(archive.arrays) == [KERNEL, f"{hostile.VARS}/1"]
        np.testing.assert_array_equal(archive.read(KERNEL), hostile.KERNEL)
        np.testing.assert_array_equal(archive.read(f"{hostile.VARS}/1"), hostile.BIAS)


@pytest.mark.parametrize(
    ("limit", "kernel"),
    [
        ("MAX_OBJECTS", lambda group: [group.create_group(f"g{i}") for i in range(30)]),
        ("MAX_DEPTH", lambda group: group.create_group("/".join("g" * 30))),
        ("MAX_NAME", lambda group: group.create_group("g" * 30)),
        ("MAX_ATTRIBUTES", lambda group: group.attrs.create("note", np.bytes_(b"x" * 30))),
        ("MAX_ATTRIBUTES", lambda group: group.attrs.create("note", "x" * 30)),
        ("MAX_ATTRIBUTES", lambda group: group.attrs.create("note", ["x" * 15] * 2, dtype=h5py.string_dtype())),
    ],
)
def test_every_limit_is_kept_and_what_is_below_it_opens(
    limit: str, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile.weights_h5(tmp_path, kernel)
    monkeypatch.setattr(hdf5, limit, 200)
    open_archive(path).close()
    monkeypatch.setattr(hdf5, limit, 20)
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code == "unsafe-file"


def test_an_attribute_of_an_impossible_type_does_not_kill_the_process(tmp_path: Path) -> None:
    path = hostile.vlen_attribute_of_no_known_kind(tmp_path)
    code = (
        "import sys, pathlib, h5port\n"
        "from h5port.archive import open_archive\n"
        "try:\n    open_archive(pathlib.Path(sys.argv[1]))\n"
        "except h5port.H5PortError as error:\n    print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path.name], check=False, cwd=tmp_path)
    assert done.returncode == 0, f"ended by signal {-done.returncode}"


# ---- damage


@pytest.mark.parametrize(
    ("libver", "signature"),
    [("earliest", b"TREE"), ("earliest", b"HEAP"), ("earliest", b"SNOD"), ("latest", b"OHDR"), ("latest", b"FADB")],
)
def test_a_damaged_structure_is_refused(libver: str, signature: bytes, tmp_path: Path) -> None:
    path = hostile.weights_h5(
        tmp_path, lambda group: group.create_dataset("0", data=hostile.KERNEL, chunks=(1, 1)), libver=libver
    )
    whole = path.read_bytes()
    places = [i for i in range(len(whole)) if whole.startswith(signature, i)]
    assert places
    for place in places:
        path.write_bytes(whole[:place] + b"XXXX" + whole[place + 4 :])
        with pytest.raises(H5PortError) as error, open_archive(path) as archive:
            archive.read(KERNEL)
        assert error.value.code == "damaged-file"


def test_a_float_type_of_impossible_fields_is_refused(tmp_path: Path) -> None:
    path = hostile.weights_h5(tmp_path)
    data = bytearray(path.read_bytes())
    fields = bytes([0, 32, 23, 8, 0, 23])  # bit offset, precision, exponent, mantissa of a float32
    place = data.index(fields[:1] + b"\0" + fields[1:2] + b"\0" + fields[2:])
    data[place + 4] = 31
    path.write_bytes(data)
    with pytest.raises(H5PortError):
        open_archive(path)


def test_a_chunk_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = hostile.filtered(tmp_path, fletcher32=True)
    path.write_bytes(path.read_bytes().replace(hostile.KERNEL.tobytes(), hostile.KERNEL[::-1].tobytes()))
    with open_archive(path) as archive, pytest.raises(H5PortError) as error:
        archive.read(KERNEL)
    assert error.value.code == "damaged-file"
    assert KERNEL in str(error.value)


def test_a_deflate_stream_that_is_none_is_refused(tmp_path: Path) -> None:
    def kernel(group: h5py.Group) -> None:
        group.create_dataset("0", (3, 2), "f4", chunks=(3, 2), compression="gzip").id.write_direct_chunk(
            (0, 0), b"?" * 9
        )

    with open_archive(hostile.weights_h5(tmp_path, kernel)) as archive, pytest.raises(H5PortError) as error:
        archive.read(KERNEL)
    assert error.value.code == "damaged-file"


# ---- what is stored comes back

NUMBERS = [f"{order}{kind}" for order in "<>" for kind in ("i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8").split()] + ["?"]
FILTERS = [
    {},
    {"chunks": True},
    {"compression": "gzip"},
    {"compression": "gzip", "compression_opts": 9, "shuffle": True},
    {"fletcher32": True},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"chunks": True, "maxshape": None},
]


@st.composite
def stored(draw: st.DrawFn, dtypes: list[str]) -> np.ndarray[Any, Any]:
    """An array of any bits whatever: NaN payloads, -0.0 and subnormal numbers are among them."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    bits = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        bits = bytes(b & 1 for b in bits)
    return np.frombuffer(bits, dtype).reshape(shape)


def read_back(
    array: np.ndarray[Any, Any], filters: dict[str, Any], libver: str = "earliest", **attributes: Any
) -> tuple[tuple[int, ...], str, np.ndarray[Any, Any]]:
    """Shape and dtype as declared, and the array as read, after a trip through a file."""
    if not array.ndim or not array.size:
        filters = {}  # HDF5 has no chunks of a scalar, nor of nothing
    elif "maxshape" in filters:
        filters = filters | {"maxshape": (None,) * array.ndim}

    def kernel(group: h5py.Group) -> None:
        group.create_dataset("0", data=array, **filters).attrs.update(attributes)

    with tempfile.TemporaryDirectory() as folder:
        path = hostile.weights_h5(Path(folder), kernel, libver=libver)
        with open_archive(path) as archive:
            entry = archive.arrays[KERNEL]
            assert entry.path == KERNEL
            return entry.shape, entry.dtype, archive.read(KERNEL)


@settings(deadline=None, max_examples=100)
@given(stored(NUMBERS), st.sampled_from(FILTERS), st.sampled_from(["earliest", "latest"]))
@example(np.array([0x7FA00001, 0xFFC12345, 0x80000000, 1], "<u4").view("<f4"), {}, "earliest")
@example(np.array([0x7FA00001, 0xFFC12345, 0x80000000, 1], ">u4").view(">f4"), {}, "earliest")
@example(np.array(-0.0, ">f8"), {}, "earliest")
@example(np.zeros((0, 3), "<f4"), {}, "earliest")
@example(np.arange(5000, dtype="<f8").reshape(50, 100), FILTERS[5], "latest")
def test_numbers_come_back_bit_for_bit_in_native_order(
    array: np.ndarray[Any, Any], filters: dict[str, Any], libver: str
) -> None:
    shape, dtype, got = read_back(array, filters, libver)
    native = array if array.dtype.isnative else array.byteswap().view(array.dtype.newbyteorder())
    assert shape == got.shape == array.shape
    assert dtype == got.dtype.name == native.dtype.name
    assert got.dtype.isnative
    assert got.tobytes() == native.tobytes()


@settings(deadline=None, max_examples=30)
@given(stored(["<u2"]), st.sampled_from(FILTERS), st.sampled_from([{}, {"dtype": "bfloat16"}]))
def test_bfloat16_is_read_as_its_bits(
    array: np.ndarray[Any, Any], filters: dict[str, Any], attributes: dict[str, str]
) -> None:
    shape, dtype, got = read_back(array.view("V2"), filters, **attributes)
    assert (shape, dtype, got.shape, got.dtype.name) == (array.shape, "bfloat16", array.shape, "uint16")
    assert got.astype("<u2").tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(0, 2**62), (2**40, 0, 2**40)])
def test_an_empty_array_of_a_huge_shape_is_empty_or_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = hostile.weights_h5(tmp_path, lambda group: group.create_dataset("0", shape, "f8"))
    with suppress(H5PortError), open_archive(path) as archive:
        assert archive.read(KERNEL).shape == shape


def test_every_array_of_a_genuine_file_is_what_h5py_reads() -> None:
    source = genuine("keras-2.2.4-tf1.12/many_weight_names").source
    found: dict[str, np.ndarray[Any, Any]] = {}
    with h5py.File(source) as f:
        f["model_weights"].visititems(lambda n, d: found.update({n: d[()]}) if isinstance(d, h5py.Dataset) else None)
    with open_archive(source) as archive:
        assert archive.arrays.keys() == found.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(archive.read(name), array, strict=True)


# ---- attributes

NAMES = ["dense", "käse", "b/c", "", "x" * 40]
BYTES = [n.encode() for n in NAMES]


def whole(value: Any, name: str, group: h5py.Group) -> None:
    group.attrs[name] = value


def pieces(cuts: list[Any], name: str, group: h5py.Group) -> None:
    for i, piece in enumerate(cuts):
        group.attrs[f"{name}{i}"] = piece


LISTS: dict[str, Callable[[str, h5py.Group], None]] = {
    "bytes": partial(whole, BYTES),
    "fixed length": partial(whole, np.array(BYTES, "S60")),
    "str": partial(whole, NAMES),
    "variable length": partial(whole, np.array(NAMES, h5py.string_dtype())),
    "variable length ascii": partial(whole, np.array(BYTES, h5py.string_dtype("ascii"))),
    "two axes": partial(whole, np.array(BYTES, "S60").reshape(5, 1)),
    "one piece": partial(pieces, [np.array(BYTES)]),
    "pieces": partial(pieces, np.array_split(np.array(BYTES), 2)),
    "pieces of one": partial(pieces, [[b] for b in BYTES]),
    "pieces of str": partial(pieces, [NAMES[:2], NAMES[2:]]),
    "scalar pieces": partial(pieces, NAMES),
}


@pytest.mark.parametrize("spelling", LISTS)
@pytest.mark.parametrize("name", ["layer_names", "weight_names"])
def test_a_list_of_names_reads_the_same_however_it_is_written(name: str, spelling: str, tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    with h5py.File(path, "r+") as f:
        group = f["model_weights"] if name == "layer_names" else f["model_weights/dense"]
        del group.attrs[name]
        LISTS[spelling](name, group)
    with open_archive(path) as archive:
        assert archive.container == "h5-full"
        assert archive.attributes["" if name == "layer_names" else "dense"][name] == NAMES


def test_pieces_are_joined_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    names = [f"dense_{i}" for i in range(30)]
    with h5py.File(path, "r+") as f:
        group = f["model_weights"]
        del group.attrs["layer_names"]
        for i in reversed(range(15)):  # 10 comes before 2 in the order of HDF5
            group.attrs[f"layer_names{i}"] = [n.encode() for n in names[2 * i : 2 * i + 2]]
    with open_archive(path) as archive:
        assert archive.attributes[""]["layer_names"] == names


@pytest.mark.parametrize("value", [np.array([], "f8"), np.array([], "S1"), h5py.Empty("S1")], ids=["f8", "S1", "null"])
def test_an_empty_list_of_names_is_an_empty_list(value: Any, tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    with h5py.File(path, "r+") as f:
        f["model_weights/dense"].attrs["weight_names"] = value
    with open_archive(path) as archive:
        assert archive.attributes["dense"]["weight_names"] == []


SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "bytes": lambda text: np.bytes_(text.encode()),
    "padded bytes": lambda text: np.array(text.encode(), f"S{len(text) + 9}"),
    "ascii of variable length": lambda text: np.array(text.encode(), h5py.string_dtype("ascii")),
    "array of one": lambda text: [text],
    "array of one bytes": lambda text: [text.encode()],
    "array of uint8": lambda text: np.frombuffer(text.encode(), "u1"),
}


@pytest.mark.parametrize("spelling", SCALARS)
def test_a_text_reads_the_same_however_it_is_written(spelling: str, tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    write = SCALARS[spelling]
    with h5py.File(path, "r+") as f:
        f.attrs["model_config"] = write(json.dumps(hostile.CONFIG))
        for group in (f, f["model_weights"]):
            group.attrs["keras_version"], group.attrs["backend"] = write("2.2.4"), write("tensorflow")
    with open_archive(path) as archive:
        assert archive.config == hostile.CONFIG
        assert (archive.mark.version, archive.mark.backend) == ("2.2.4", "tensorflow")


STRANGE = {
    "null": h5py.Empty("f4"),
    "complex": 1j,
    "compound": np.zeros(2, [("a", "f4")]),
    "opaque": np.void(b"\xff\xfe\xfd"),
    "not UTF-8": np.bytes_(b"\xff"),
    "list not UTF-8": np.array([b"a", b"\xff"]),
    "uint8 not UTF-8": np.array([255, 254], "u1"),
    "long double": np.longdouble(1),
    "nan": float("nan"),
    "bool": np.bool_(True),
    "many axes": np.zeros((1, 2, 3)),
}


@pytest.mark.parametrize(
    "name", ["note", "layer_names", "layer_names0", "weight_names0", "keras_version", "model_config"]
)
@pytest.mark.parametrize("kind", [*STRANGE, "reference"])
def test_a_strange_attribute_is_plain_data_or_refused(kind: str, name: str, tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    with h5py.File(path, "r+") as f:
        if kind == "reference":
            set_in_all_groups(f, name, f.ref, dtype=h5py.ref_dtype)
        else:
            set_in_all_groups(f, name, STRANGE[kind])
    try:
        with open_archive(path) as archive:
            values = [v for group in archive.attributes.values() for v in group.values()]
    except H5PortError:
        return
    assert all(map(plain, values)), values


def set_in_all_groups(f: h5py.File, name: str, value: Any, **options: Any) -> None:
    """Set it wherever it is; in the groups of the weights if it is nowhere."""
    holders = [f, f["model_weights"], f["model_weights/dense"]]
    stem = name.rstrip("0123456789")
    for group in [g for g in holders if stem in g.attrs] or holders[1:]:
        group.attrs.pop(stem, None)
        group.attrs.create(name, value, **options)


@pytest.mark.parametrize(
    "name", ["model_config", "keras_version", "backend", "layer_names", "weight_names", "weight_names0"]
)
def test_an_attribute_that_keras_writes_is_never_lost_silently(name: str, tmp_path: Path) -> None:
    """A version that cannot be read is not a version that is absent: absent means Keras 1."""
    path = hostile.full_h5(tmp_path)
    with h5py.File(path, "r+") as f:
        set_in_all_groups(f, name, np.bytes_(b"\xff\xfe"))
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert name in str(error.value)


def plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(plain, value))
    return type(value) in {type(None), bool, int, float, str}


# ---- names


def test_names_written_on_windows_have_slashes(tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    with h5py.File(path, "r+") as f:
        layer = f["model_weights"].create_group("my\\layer")
        layer.attrs["weight_names"] = [b"my\\layer/kernel:0"]
        layer["my\\layer/kernel:0"] = hostile.KERNEL
    with open_archive(path) as archive:
        name = "my/layer/my/layer/kernel:0"
        assert archive.arrays[name].path == name
        np.testing.assert_array_equal(archive.read(name), hostile.KERNEL)
        assert archive.attributes["my/layer"]["weight_names"] == ["my\\layer/kernel:0"]
        assert not [p for p in (*archive.arrays, *archive.attributes) if "\\" in p]


def test_two_arrays_that_become_one_name_are_refused(tmp_path: Path) -> None:
    def kernel(group: h5py.Group) -> None:
        group["0\\a"], group["0/a"] = hostile.KERNEL, -hostile.KERNEL

    with pytest.raises(H5PortError) as error:
        open_archive(hostile.weights_h5(tmp_path, kernel))
    assert error.value.code == "unsafe-file"


@pytest.mark.parametrize("name", ["käse", "a b", "..", "a:0", "\x1b[31m", "x\ny", "x" * 4096])
def test_odd_names_are_only_names(name: str, tmp_path: Path) -> None:
    path = hostile.weights_h5(tmp_path, lambda group: group.create_dataset(name, data=hostile.KERNEL))
    with open_archive(path) as archive:
        np.testing.assert_array_equal(archive.read(f"{hostile.VARS}/{name}"), hostile.KERNEL)
