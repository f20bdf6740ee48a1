"""Every container of Keras opens to the same archive; one that is not whole or not safe does not open."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hostile
import numpy as np
import pytest
from conftest import Case, genuine, genuine_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from h5port.archive import Archive, WriterMark, open_archive, read_config_file
from h5port.errors import H5PortError

KERNEL, BIAS = f"{hostile.VARS}/0", f"{hostile.VARS}/1"
CASES = genuine_cases()
ZIPS = [c for c in CASES if c.data["container"] == "keras-zip"]
FULL = [c for c in CASES if c.data["container"] in ("h5-full", "keras-h5")]
SHARDED = genuine("keras-3.15.1-torch/container_weights_sharded_nested")


def contents(archive: Archive) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    return {name: (a.shape, a.dtype, archive.read(name).tobytes()) for name, a in archive.arrays.items()}


def same(one: Archive, two: Archive) -> bool:
    return contents(one) == contents(two) and (one.config, one.mark, one.layout, one.attributes) == (
        two.config,
        two.mark,
        two.layout,
        two.attributes,
    )


# ---- genuine files


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_container_layout_and_writer_of_genuine_files_are_told_right(case: Case) -> None:
    written_as, version = case.data["container"], case.data["writer"]["version"]
    container = {"keras-h5": "h5-full", "keras-dir": "keras-folder"}.get(written_as, written_as)
    old = version.startswith("0.")
    with open_archive(case.source) as archive:
        assert archive.container == container
        assert archive.layout == ("numbered" if old else "named" if container.startswith("h5-") else "paths")
        assert archive.mark == WriterMark(**says_of_its_writer(case, container))
        assert (archive.config is None) == ("config" in case.options)
        assert archive.source == case.source


def says_of_its_writer(case: Case, container: str) -> dict[str, str]:
    """By FORMATS: what each kind of file tells."""
    version, backend = case.data["writer"]["version"], case.data["writer"]["backend"].split()[0]
    if container in {"weights.h5", "weights-sharded"} or (container == "h5-weights" and version[0] in "01"):
        return {}
    if container.startswith("keras-") or version[0] == "1":
        return {"version": version}
    return {"version": version, "backend": backend}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_arrays_of_genuine_files_are_those_that_h5py_finds(case: Case) -> None:
    found: dict[str, np.ndarray[Any, Any]] = {}
    for weights in weight_files(case.source):
        with h5py.File(weights) as f:
            root = f.get("model_weights", f)
            root.visititems(lambda n, d: found.update({n: d[()]}) if isinstance(d, h5py.Dataset) else None)
    with open_archive(case.source) as archive:
        assert archive.arrays.keys() == found.keys()
        for name, array in found.items():
            assert archive.arrays[name].shape == array.shape
            assert archive.read(name).tobytes() == array.tobytes()


def weight_files(path: Path) -> Iterator[Any]:
    if path.is_dir():
        yield path / "model.weights.h5"
    elif path.suffix == ".json":
        yield from path.parent.glob("*_?????.weights.h5")
    elif path.read_bytes().startswith(b"PK"):
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as f:
            yield f
    else:
        yield path


@pytest.mark.parametrize("case", FULL, ids=lambda c: c.id)
def test_a_full_h5_serves_as_config_file(case: Case) -> None:
    with h5py.File(case.source) as f:
        text = f.attrs["model_config"]
    config = json.loads(text if isinstance(text, str) else text.decode())
    assert read_config_file(case.source) == config
    with open_archive(case.source) as archive:
        assert archive.config == config


@pytest.mark.parametrize("case", ZIPS, ids=lambda c: c.id)
def test_a_keras_file_serves_as_config_file(case: Case) -> None:
    with zipfile.ZipFile(case.source) as archive:
        assert read_config_file(case.source) == json.loads(archive.read("config.json"))


@pytest.mark.parametrize("case", [c for c in CASES if "config" in c.options], ids=lambda c: c.id)
def test_weights_alone_hold_no_config(case: Case) -> None:
    with pytest.raises(H5PortError) as error:
        read_config_file(case.source)
    assert error.value.code == "no-architecture"
    with open_archive(case.options["config"]) as archive:
        assert (archive.container, archive.layout, archive.arrays) == ("architecture", "none", {})
        assert archive.config == read_config_file(case.options["config"])


def test_what_lies_beside_the_weights_is_named_or_refused(tmp_path: Path) -> None:
    path = hostile.full_h5(tmp_path)
    with h5py.File(path, "r+") as f:
        f["optimizer_weights/adam/m"] = hostile.KERNEL
    with open_archive(path) as archive:
        assert archive.ignored == ("optimizer_weights",)
        assert sorted(archive.arrays) == ["dense/dense/bias:0", "dense/dense/kernel:0"]
    with h5py.File(path, "r+") as f:
        f["elsewhere/kernel"] = hostile.KERNEL
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code == "unused-weights"
    assert "elsewhere/kernel" in str(error.value)


# ---- zips and folders


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}
ONE_ZIP_PER_WRITER = list({c.id.split("/")[0]: c for c in ZIPS}.values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("folder", ["", "model/", "my models/deep/"])
@pytest.mark.parametrize("case", ONE_ZIP_PER_WRITER, ids=lambda c: c.id)
def test_a_zip_packed_again_is_the_same_model(case: Case, folder: str, method: str, tmp_path: Path) -> None:
    packed = {folder + name: data for name, data in members(case.source).items()}
    path = hostile.zipped(tmp_path / "again.zip", packed, METHODS[method])
    with open_archive(case.source) as one, open_archive(path) as two:
        assert two.container == "keras-zip"
        assert same(one, two)


@pytest.mark.parametrize("case", ONE_ZIP_PER_WRITER, ids=lambda c: c.id)
def test_an_unzipped_folder_is_the_same_model(case: Case, tmp_path: Path) -> None:
    with zipfile.ZipFile(case.source) as archive:
        archive.extractall(tmp_path / "model")
    with open_archive(case.source) as one, open_archive(tmp_path / "model") as two:
        assert two.container == "keras-folder"
        assert same(one, two)


def test_a_folder_zipped_is_the_same_model(tmp_path: Path) -> None:
    case = genuine("keras-3.9.2-torch/container_keras_dir_lstm")
    path = Path(shutil.make_archive(str(tmp_path / "model"), "zip", case.source))
    with open_archive(case.source) as one, open_archive(path) as two:
        assert same(one, two)


@pytest.mark.parametrize(
    "extra", ["assets/layers/text/vocabulary.txt", "README.md", "__MACOSX/._config.json", "a/config.json"]
)
def test_further_members_of_a_zip_change_nothing(extra: str, tmp_path: Path) -> None:
    path = hostile.keras_zip(tmp_path, **{extra: "no JSON"})
    with open_archive(path) as archive:
        assert archive.config == hostile.CONFIG
        np.testing.assert_array_equal(archive.read(KERNEL), hostile.KERNEL)


ASSET = "layers/text/vocabulary.txt"


@pytest.mark.parametrize("unzipped", [False, True])
def test_assets_are_read_when_asked(unzipped: bool, tmp_path: Path) -> None:
    path = hostile.keras_zip(tmp_path, **{f"assets/{ASSET}": "\u00e9\n", "assets/x.bin": b"\xff"})
    if unzipped:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "model")
        path = tmp_path / "model"
    with open_archive(path) as opened:
        assert sorted(opened.assets) == [ASSET, "x.bin"]
        assert opened.asset(ASSET) == "\u00e9\n"
        with pytest.raises(H5PortError, match="UTF-8") as error:
            opened.asset("x.bin")
        assert error.value.code == "bad-config"


@pytest.mark.parametrize("link", [f"assets/{ASSET}", "assets/layers", "assets"])
def test_a_link_among_the_assets_is_refused(link: str, tmp_path: Path) -> None:
    """It could lead to any file of the machine, whose lines would become a vocabulary."""
    with zipfile.ZipFile(hostile.keras_zip(tmp_path)) as archive:
        archive.extractall(tmp_path / "model")
    place = tmp_path / "model" / link
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "secret").write_text("secret")
    place.symlink_to(tmp_path / "secret")
    with pytest.raises(H5PortError, match="a link") as error:
        open_archive(tmp_path / "model")
    assert error.value.code == "unsafe-file"


def test_an_asset_that_is_damaged_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = hostile.keras_zip(tmp_path, **{f"assets/{ASSET}": "a vocabulary\n"})
    path.write_bytes(path.read_bytes().replace(b"a vocabulary\n", b"a vocabularY\n"))
    with open_archive(path) as opened, pytest.raises(H5PortError, match="damaged") as error:
        opened.asset(ASSET)
    assert error.value.code == "damaged-file"


OUTSIDE = [
    "../evil",
    "a/../../evil",
    "/evil",
    "\\evil",
    "..\\evil",
    "a\\..\\..\\evil",
    "C:\\evil",
    "C:/evil",
    "//host/evil",
]
HOSTILE_ZIPS = [
    (hostile.zip_with_twins, "config.json"),
    (hostile.zip_bomb, "assets/blanks"),
    *((partial(hostile.zip_with_member, name), repr(name)) for name in OUTSIDE),
]


@pytest.mark.parametrize(("build", "name"), HOSTILE_ZIPS, ids=hostile.label)
def test_a_hostile_zip_is_refused_by_the_name_of_its_member(build: hostile.Builder, name: str, tmp_path: Path) -> None:
    path = build(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code == "unsafe-file"
    assert name in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("method", ["deflated", "bzip2"])
def test_a_wrong_byte_in_a_compressed_zip_is_seen_or_harmless(method: str, tmp_path: Path) -> None:
    whole = hostile.zipped(tmp_path / "x", hostile.keras_members(hostile.weights_h5(tmp_path)), METHODS[method])
    data, path = whole.read_bytes(), tmp_path / "model.keras"
    with open_archive(whole) as archive:
        right = contents(archive), archive.config
    for place in range(2, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            with open_archive(path) as archive:
                assert (contents(archive), archive.config) == right
        except H5PortError:
            pass


ALL_KINDS = [*hostile.CARRIERS.values(), lambda weights: hostile.full_h5(weights.parent)]


def test_a_wrong_byte_in_the_weights_of_a_stored_zip_is_seen(tmp_path: Path) -> None:
    """The zip has a checksum of each member; the HDF5 inside has none."""
    path = hostile.keras_zip(tmp_path)
    spoiled = hostile.KERNEL.copy()
    spoiled[1, 1] += 1
    path.write_bytes(path.read_bytes().replace(hostile.KERNEL.tobytes(), spoiled.tobytes()))
    with pytest.raises(H5PortError) as error, open_archive(path) as archive:
        archive.verify()
    assert error.value.code == "damaged-file"


@pytest.mark.parametrize("carry", ALL_KINDS, ids=[*hostile.CARRIERS, "full"])
def test_what_is_whole_is_verified(carry: Callable[[Path], Path], tmp_path: Path) -> None:
    with open_archive(carry(hostile.weights_h5(tmp_path))) as archive:
        archive.verify()


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
@pytest.mark.parametrize("carrier", ["zip", "folder"])
def test_a_spoiled_member_is_refused_by_its_name(member: str, carrier: str, tmp_path: Path) -> None:
    if carrier == "zip":
        path = hostile.keras_zip(tmp_path, **{member: "{ no document"})
    else:
        path = hostile.keras_folder(tmp_path)
        (path / member).write_text("{ no document", encoding="utf-8")
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code in {"bad-config", "damaged-file", "not-keras"}
    assert member in str(error.value)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_git_lfs_pointer_in_an_unzipped_folder_is_named(member: str, tmp_path: Path) -> None:
    path = hostile.keras_folder(tmp_path)
    (path / member).write_bytes(hostile.LFS_POINTER)
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert "git-lfs" in str(error.value)
    assert member in str(error.value)


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_folder_in_the_place_of_a_member_is_refused(member: str, tmp_path: Path) -> None:
    path = hostile.keras_folder(tmp_path)
    (path / member).unlink()
    (path / member).mkdir()
    with pytest.raises(H5PortError):
        open_archive(path)


# ---- shards


def two_shards(
    folder: Path, names: tuple[str, str] = ("m_00000.weights.h5", "m_00001.weights.h5")
) -> tuple[Path, Path]:
    """The kernel in the first file, the bias in the second."""
    first, second = (hostile.weights_h5(folder, name=name) for name in names)
    for path, variable in ((first, "1"), (second, "0")):
        with h5py.File(path, "r+") as f:
            del f[f"{hostile.VARS}/{variable}"]
    return first, second


def test_a_layer_may_span_two_shards(tmp_path: Path) -> None:
    names = [p.name for p in two_shards(tmp_path)]
    with open_archive(hostile.shard_index(tmp_path, {f"/{hostile.VARS}": names})) as archive:
        assert (archive.container, archive.layout) == ("weights-sharded", "paths")
        assert sorted(archive.arrays) == [KERNEL, BIAS]
        np.testing.assert_array_equal(archive.read(KERNEL), hostile.KERNEL)
        np.testing.assert_array_equal(archive.read(BIAS), hostile.BIAS)
        assert hostile.VARS in archive.attributes


def test_the_index_may_name_a_shard_by_text_or_by_list_and_for_any_layer(tmp_path: Path) -> None:
    first, second = two_shards(tmp_path)
    weight_map = {"/layers/other/vars": first.name, "/nowhere": [second.name, first.name]}
    with open_archive(hostile.shard_index(tmp_path, weight_map)) as archive:
        assert sorted(archive.arrays) == [KERNEL, BIAS]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_shard_is_named(missing: int, tmp_path: Path) -> None:
    pair = two_shards(tmp_path)
    pair[missing].unlink()
    with pytest.raises(H5PortError) as error:
        open_archive(hostile.shard_index(tmp_path, {"a": pair[0].name, "b": pair[1].name}))
    assert error.value.code == "incomplete-file"
    assert pair[missing].name in str(error.value)


def test_an_index_without_its_shards_names_the_shard(tmp_path: Path) -> None:
    """The usual mistake of an upload."""
    path = Path(shutil.copy(SHARDED.source, tmp_path))
    with pytest.raises(H5PortError) as error:
        open_archive(path)
    assert error.value.code == "incomplete-file"
    assert "model_00000.weights.h5" in str(error.value)


def test_an_array_in_two_shards_is_refused(tmp_path: Path) -> None:
    first, second = two_shards(tmp_path)
    with h5py.File(second, "r+") as f:
        f[KERNEL] = hostile.KERNEL
    with pytest.raises(H5PortError) as error:
        open_archive(hostile.shard_index(tmp_path, {"a": [first.name, second.name]}))
    assert error.value.code == "unsafe-file"
    assert KERNEL in str(error.value)


@pytest.mark.parametrize("spelling", ["sub/{}", "../{}", "/abs/{}", "a\\b\\{}", "C:\\x\\{}", "./{}", "{elsewhere}/{}"])
def test_only_the_base_name_of_a_shard_counts(spelling: str, tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    shard = hostile.weights_h5(home)
    hostile.weights_h5(elsewhere, lambda group: group.create_dataset("0", data=-hostile.KERNEL))
    named = spelling.format(shard.name, elsewhere=elsewhere)
    with open_archive(hostile.shard_index(home, {"a": named})) as archive:
        np.testing.assert_array_equal(archive.read(KERNEL), hostile.KERNEL)
    shard.unlink()
    with pytest.raises(H5PortError) as error:
        open_archive(hostile.shard_index(home, {"a": named}))
    assert error.value.code == "incomplete-file"


def test_a_shard_under_two_spellings_is_one_shard(tmp_path: Path) -> None:
    shard = hostile.weights_h5(tmp_path)
    with open_archive(hostile.shard_index(tmp_path, {"a": shard.name, "b": f"sub/{shard.name}"})) as archive:
        assert sorted(archive.arrays) == [KERNEL, BIAS]


NO_SHARD = [None, 3, "", ".", "..", "x" * 300, "no\0name", "\ud800", {"b": "x"}, [["x"]], [None]]


@pytest.mark.parametrize(
    "weight_map", [None, 3, "x", ["x"], *({"a": x} for x in NO_SHARD)], ids=lambda m: ascii(m)[:20]
)
def test_an_index_that_is_none_is_refused(weight_map: Any, tmp_path: Path) -> None:
    with pytest.raises(H5PortError) as error:
        open_archive(hostile.shard_index(tmp_path, weight_map))
    assert error.value.code in {"bad-config", "incomplete-file"}
    str(error.value).encode()  # it can be printed


WRONG_SHARDS = [
    (hostile.git_lfs_pointer, "git-lfs"),
    (hostile.html_page, "HTML"),
    (hostile.safetensors, "safetensors"),
    (hostile.empty, "empty"),
]


@pytest.mark.parametrize(("build", "name"), WRONG_SHARDS, ids=hostile.label)
def test_a_wrong_file_in_the_place_of_a_shard_is_refused_by_its_name(
    build: hostile.Builder, name: str, tmp_path: Path
) -> None:
    shard = build(tmp_path).rename(tmp_path / "model_00000.weights.h5")
    with pytest.raises(H5PortError) as error:
        open_archive(hostile.shard_index(tmp_path, {"a": shard.name}))
    assert name in str(error.value)
    assert shard.name in str(error.value)


# ---- the archive itself


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed by Linux")
@pytest.mark.parametrize("carry", ALL_KINDS, ids=[*hostile.CARRIERS, "full"])
def test_a_closed_archive_holds_no_file_open(carry: Callable[[Path], Path], tmp_path: Path) -> None:
    def held() -> list[str]:
        links = (os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink())
        return [f for f in links if f.startswith(str(tmp_path))]

    archive = open_archive(carry(hostile.weights_h5(tmp_path)))
    archive.read(next(iter(archive.arrays)))
    archive.close()
    archive.close()  # twice is once
    assert held() == []


@pytest.mark.parametrize("carry", ALL_KINDS, ids=[*hostile.CARRIERS, "full"])
def test_an_archive_is_read_only_where_an_array_is(carry: Callable[[Path], Path], tmp_path: Path) -> None:
    with open_archive(carry(hostile.weights_h5(tmp_path))) as archive, pytest.raises(KeyError):
        archive.read("no/such/array")
    with open_archive(hostile.architecture_json(tmp_path)) as architecture, pytest.raises(KeyError):
        architecture.read("no/such/array")


@settings(deadline=None, max_examples=10)
@given(st.permutations([0, 1, 2, 3, 4, 5, 6, 7]))
def test_arrays_may_be_read_in_any_order_and_again(order: list[int]) -> None:
    source = genuine("keras-3.15.1-torch/rnn_cells_masked").source
    with open_archive(source) as archive:
        names = list(archive.arrays)
        right = contents(archive)
        for i in order:
            assert archive.read(names[i]).tobytes() == right[names[i]][2]


def test_bits_that_lie_elsewhere_than_in_memory_are_moved_there(tmp_path: Path) -> None:
    """An exponent of seven bits in a number of four bytes, which numpy knows only as float32; another byte order."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(31, 24, 7, 0, 22)
    kind.set_ebias(63)
    with h5py.File(tmp_path / "model.weights.h5", "w") as f:
        group = f.create_group("layers/dense/vars")
        space = h5py.h5s.create_simple(hostile.KERNEL.shape)
        h5py.h5d.create(group.id, b"0", kind, space).write(h5py.h5s.ALL, h5py.h5s.ALL, hostile.KERNEL)
        group["1"] = hostile.KERNEL.astype(">f4")
    with open_archive(tmp_path / "model.weights.h5") as archive:
        for path in archive.arrays:
            np.testing.assert_array_equal(archive.read(path), hostile.KERNEL)
            assert archive.read(path).dtype == np.float32


def test_two_archives_of_one_file_are_independent(tmp_path: Path) -> None:
    path = hostile.keras_zip(tmp_path)
    with open_archive(path) as one, open_archive(path) as two:
        one.close()
        np.testing.assert_array_equal(two.read(KERNEL), hostile.KERNEL)


@pytest.mark.parametrize("carry", ALL_KINDS, ids=[*hostile.CARRIERS, "full"])
def test_an_array_that_was_read_cannot_be_changed_and_outlives_its_archive(
    carry: Callable[[Path], Path], tmp_path: Path
) -> None:
    with open_archive(carry(hostile.weights_h5(tmp_path))) as archive:
        path = next(p for p in archive.arrays if archive.arrays[p].shape == hostile.KERNEL.shape)
        array = archive.read(path)
        archive.release()
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, hostile.KERNEL)
