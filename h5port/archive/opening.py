"""Opens whatever Keras wrote: HDF5, a `.keras` zip or folder, sharded weights, an architecture alone."""

from __future__ import annotations

import functools
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from h5port.archive.archive import Archive, Json, StoredArray, WriterMark
from h5port.archive.documents import MAX_BYTES, parse_json, read_document
from h5port.archive.hdf5 import MAX_RATIO, Hdf5Store
from h5port.archive.mapping import Mapped
from h5port.archive.recognise import recognise, recognise_zip
from h5port.errors import refusal

MAX_MEMBERS = 100_000
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
)


def open_archive(path: Path, *, any_hdf5: bool = False) -> Archive:
    """Open a Keras file or folder. Raises H5PortError for everything that is none.

    `any_hdf5` opens every HDF5 file, with all its arrays under their full paths.
    """
    match recognise(path):
        case "hdf5" if any_hdf5:
            store = Hdf5Store(path, str(path))
            return Archive(
                path,
                "hdf5",
                arrays=store.arrays,
                attributes=store.attributes,
                read=store.read,
                release=store.release,
                close=store.close,
            )
        case "hdf5":
            return _open_hdf5(path)
        case "zip":
            return _open_zip(path)
        case "folder":
            return _open_folder(path)
        case kind:
            return _open_document(path, kind)


def read_config_file(path: Path) -> Json:
    """An architecture in JSON or YAML; a full `.h5` or `.keras` serves, too, for its config."""
    with open_archive(path) as archive:
        if archive.config is None:
            raise refusal("no-architecture", "this file holds no config", file=str(path))
        return archive.config


def _open_hdf5(path: Path) -> Archive:
    store = Hdf5Store(path, str(path))
    try:
        return _hdf5_archive(path, store)
    except BaseException:
        store.close()
        raise


def _hdf5_archive(path: Path, store: Hdf5Store) -> Archive:
    root = store.attributes[""]
    text = root.get("model_config")
    if isinstance(text, list):  # some tools rewrite it as an array of one
        text = text[0] if text else None
    config = parse_json(text, f"{path}:@model_config") if isinstance(text, str) else None
    prefix, container = "", "weights"
    if "layer_names" not in root and "layer_names" in store.attributes.get("model_weights", {}):
        prefix, container = "model_weights/", "full"
    group = store.attributes[prefix.rstrip("/")]
    mark = WriterMark(
        version=_text(group.get("keras_version") or root.get("keras_version")),
        backend=_text(group.get("backend") or root.get("backend") or root.get("keras_backend")),
    )
    if "layer_names" in group:
        return _archive(path, f"h5-{container}", "named", store, prefix, config=config, mark=mark)
    if "nb_layers" in root or "nb_params" in store.attributes.get("graph", {}):
        return _archive(path, "h5-weights", "numbered", store, "", config=config, mark=mark)
    if any(g in store.attributes for g in ("layers", "_layer_checkpoint_dependencies", "vars")) or any(
        a.startswith(("layers/", "_layer_checkpoint_dependencies/", "vars/")) for a in store.arrays
    ):
        return _archive(path, "weights.h5", "paths", store, "", config=config, mark=mark)
    found = f"attributes {sorted(root)[:5]}, groups {sorted(g for g in store.attributes if g and '/' not in g)[:5]}"
    raise refusal(
        "not-keras", f"an HDF5 file, but not of Keras: {found}", file=str(path), remedy="--raw writes its arrays"
    )


def _archive(
    path: Path,
    container: str,
    layout: Any,
    store: Hdf5Store,
    prefix: str,
    *,
    config: Json,
    mark: WriterMark,
    assets: Mapping[str, Callable[[], bytes]] | None = None,
    verify: Callable[[], None] | None = None,
) -> Archive:
    """The store seen from the group `prefix`; what lies outside of it is listed as ignored."""
    inside = {p[len(prefix) :]: a for p, a in store.arrays.items() if p.startswith(prefix)}
    top = {"optimizer_weights", "optimizer", "metrics", "trackers"}
    ignored = sorted({p.split("/")[0] for p in store.arrays if not p.startswith(prefix)} & top)
    strange = sorted(p for p in store.arrays if not p.startswith(prefix) and p.split("/")[0] not in top)
    if strange:
        raise refusal(
            "unused-weights",
            f"arrays beside the weights of the model: {strange[:5]}",
            file=str(path),
            remedy="see `h5port --raw`",
        )
    arrays = {k: StoredArray(path=k, shape=a.shape, dtype=a.dtype) for k, a in inside.items()}
    attributes = {
        g[len(prefix) :].replace("\\", "/"): v
        for g, v in store.attributes.items()
        if g.startswith(prefix) or f"{g}/" == prefix
    }
    return Archive(
        path,
        container,
        config=config,
        mark=mark,
        layout=layout,
        arrays=arrays,
        attributes=attributes,
        read=lambda p: store.read(prefix + p),
        release=store.release,
        verify=verify,
        close=store.close,
        ignored=tuple(ignored),
        assets=assets,
    )


def _text(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 1:  # some tools write a text as an array of one
        value = value[0]
    return value if isinstance(value, str) else None


class _Window(io.RawIOBase):
    """A part of a file as a file: a stored member of a zip is read where it lies."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._start, self._size, self._at = start, size, 0

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        count = self._file.readinto(view)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_zip(path: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            folder = recognise_zip(path, archive)
            config = parse_json(_member(path, archive, f"{folder}config.json"), f"{path}:{folder}config.json")
            meta = f"{folder}metadata.json"
            metadata = parse_json(_member(path, archive, meta), f"{path}:{meta}") if meta in archive.namelist() else {}
            info = archive.getinfo(f"{folder}model.weights.h5")
            weights, mapped = _weights_file(path, archive, info)
            prefix = f"{folder}assets/"
            assets = {
                n.removeprefix(prefix): functools.partial(_zip_asset, path, n)
                for n in archive.namelist()
                if n.startswith(prefix) and not n.endswith("/")
            }
    except _ZIP_ERRORS as error:
        raise refusal(
            "damaged-file", f"the zip is cut short or damaged ({error})", file=str(path), remedy="fetch it again"
        ) from None
    store = Hdf5Store(weights, f"{path}:{folder}model.weights.h5", mapped)
    return _archive(
        path,
        "keras-zip",
        "paths",
        store,
        "",
        config=config,
        mark=_metadata_mark(metadata),
        assets=assets,
        verify=None if mapped is None else functools.partial(_check_sum, path, info.filename),
    )


def _zip_asset(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return _member(path, archive, name)
    except _ZIP_ERRORS as error:
        raise refusal("damaged-file", f"{name} in the zip is damaged ({error})", file=str(path)) from None


def _folder_asset(file: Path) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise refusal("unsafe-file", f"{file.name} is larger than {MAX_BYTES} bytes", file=str(file))
    return file.read_bytes()


def _folder_assets(folder: Path) -> dict[str, Callable[[], bytes]]:
    """The files below a folder of assets. Links are refused: they may lead to any file of the machine."""
    files = sorted(f for f in folder.rglob("*") if not f.is_dir() or f.is_symlink())
    for link in [folder, *files]:
        if link.is_symlink():
            raise refusal("unsafe-file", "a link among the assets", file=str(link), remedy="put the file itself there")
    return {f.relative_to(folder).as_posix(): functools.partial(_folder_asset, f) for f in files}


def _metadata_mark(metadata: Json) -> WriterMark:
    return WriterMark(version=_text(metadata.get("keras_version")) if isinstance(metadata, dict) else None)


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    if len(names) > MAX_MEMBERS:
        raise refusal("unsafe-file", f"a zip of {len(names)} members", file=str(path))
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise refusal("unsafe-file", f"the member {twice!r} stands twice in the zip", file=str(path))
    for info in archive.infolist():
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or PureWindowsPath(info.filename).drive or ".." in parts.parts:
            raise refusal("unsafe-file", f"a member that wants to be outside: {info.filename!r}", file=str(path))
        if info.file_size > max(info.compress_size, 1) * MAX_RATIO:
            raise refusal(
                "unsafe-file", f"the member {info.filename!r} would inflate more than {MAX_RATIO} times", file=str(path)
            )


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_BYTES:
        raise refusal("unsafe-file", f"{name} is larger than {MAX_BYTES} bytes", file=str(path))
    return archive.read(name)


def _check_sum(path: Path, name: str) -> None:
    """Read a member to its end: then zipfile compares its checksum."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            while member.read(1 << 20):
                pass
    except _ZIP_ERRORS as error:
        raise refusal(
            "damaged-file", f"{name} in the zip is damaged ({error})", file=str(path), remedy="fetch it again"
        ) from None


def _weights_file(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[BinaryIO, Mapped | None]:
    """A member as a file, and where it lies, unless it had to be inflated: then it is a temporary file."""
    if info.compress_type != zipfile.ZIP_STORED:
        inflated = tempfile.TemporaryFile(prefix="h5port-")  # noqa: SIM115
        with archive.open(info) as member:
            shutil.copyfileobj(member, inflated, 1 << 20)
        inflated.seek(0)
        return inflated, None
    with path.open("rb") as f:  # the local header has name and extra fields of its own lengths
        f.seek(info.header_offset)
        header = f.read(30)
    start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return io.BufferedReader(_Window(path, start, info.file_size)), Mapped(path, start, info.file_size)


def _open_folder(path: Path) -> Archive:
    for name in ("config.json", "metadata.json", "model.weights.h5"):
        if (path / name).exists() and recognise(path / name) not in ("json", "hdf5"):
            raise refusal("not-keras", f"{name} is not what its name says", file=str(path / name))
    config = read_document(path / "config.json", "json")
    metadata = read_document(path / "metadata.json", "json") if (path / "metadata.json").exists() else {}
    store = Hdf5Store(path / "model.weights.h5", str(path / "model.weights.h5"))
    mark, assets = _metadata_mark(metadata), _folder_assets(path / "assets")
    return _archive(path, "keras-folder", "paths", store, "", config=config, mark=mark, assets=assets)


def _open_document(path: Path, kind: str) -> Archive:
    document = read_document(path, kind)
    if isinstance(document, dict):
        if "weight_map" in document:
            return _open_shards(path, document)
        if "modelTopology" in document or "weightsManifest" in document:
            raise refusal(
                "not-keras",
                "this is a TensorFlow.js model",
                file=str(path),
                remedy="convert the Keras file that it was made from",
            )
    return Archive(path, "architecture", config=document)


def _shard_names(path: Path, weight_map: Any) -> list[str]:
    """The files of a sharded store: base names only, whatever folders the index speaks of."""
    if not isinstance(weight_map, dict):
        raise refusal("bad-config", "weight_map is not an object of file names", file=str(path))
    listed = [n for v in weight_map.values() for n in (v if isinstance(v, list) else [v])]
    for name in listed:
        if not isinstance(name, str) or len(name) > 255 or not name.isprintable():
            raise refusal("bad-config", f"weight_map names {ascii(name)[:80]}, which is no file name", file=str(path))
    return sorted({PurePosixPath(n.replace("\\", "/")).name for n in listed})


def _open_shards(path: Path, index: dict[str, Any]) -> Archive:
    """Sharded weights: the index names the files, the files name the arrays."""
    names = _shard_names(path, index["weight_map"])
    stores: list[Hdf5Store] = []
    where: dict[str, Hdf5Store] = {}
    attributes: dict[str, dict[str, Any]] = {}

    def close_all() -> None:
        for store in stores:
            store.close()

    def release_all() -> None:
        for store in stores:
            store.release()

    try:
        for name in names:
            shard = path.parent / name
            if not shard.is_file():
                raise refusal(
                    "incomplete-file",
                    f"the shard {name} is not beside its index",
                    file=str(path),
                    remedy="fetch all shards",
                )
            recognise(shard)
            store = Hdf5Store(shard, str(shard))
            stores.append(store)
            for array in store.arrays:
                if array in where:
                    raise refusal("unsafe-file", f"{array} stands in two shards", file=str(path))
                where[array] = store
            for group, values in store.attributes.items():
                attributes.setdefault(group, {}).update(values)
    except BaseException:
        close_all()
        raise
    return Archive(
        path,
        "weights-sharded",
        layout="paths",
        arrays={a: s.arrays[a] for a, s in where.items()},
        attributes=attributes,
        read=lambda p: where[p].read(p),
        release=release_all,
        close=close_all,
    )
