"""An HDF5 file as names, shapes and attributes, with nothing followed that leads out of it.

h5py opens external links, external storage and virtual datasets without a word and reads zeros where nothing
was ever stored. All of that can be seen before a byte is read, and is refused here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from h5port.archive.archive import StoredArray
from h5port.archive.mapping import Mapped
from h5port.errors import refusal

MAX_OBJECTS = 1_000_000
MAX_DEPTH = 64
MAX_RANK = 32
MAX_NAME = 4096
MAX_ATTRIBUTES = 64 * 1024 * 1024  # bytes of one object
MAX_RATIO = 1100  # deflate cannot do better than about 1,030
# What h5py raises, here and there, on damaged files.
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError)
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


class Hdf5Store:
    """The arrays and attributes of an open HDF5 file. `mapped` are the bytes of a stream, where they lie in a file."""

    def __init__(self, file: Path | BinaryIO, where: str, mapped: Mapped | None = None) -> None:
        self.where = where
        self._mapped = Mapped(file) if isinstance(file, Path) else mapped
        self._stream = None if isinstance(file, Path) else file
        try:
            self.file = h5py.File(file, "r")
            self.size = self.file.id.get_filesize()
        except (OSError, ValueError, RuntimeError) as error:
            raise refusal(
                "damaged-file", f"the HDF5 file is cut short or damaged ({error})", file=where, remedy="fetch it again"
            ) from None
        self.arrays: dict[str, StoredArray] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self._datasets: dict[str, h5py.Dataset] = {}
        try:
            for path, item in _walk(self.file, where):
                if isinstance(item, h5py.Dataset):
                    self._add(path, item)
                else:
                    self.attributes[path] = _attributes(item, f"{where}:/{path}")
        except _DAMAGE as error:
            self.file.close()
            remedy = "fetch it again"
            raise refusal("damaged-file", f"the HDF5 file is damaged ({error})", file=where, remedy=remedy) from None
        except BaseException:
            self.file.close()
            raise

    def _add(self, path: str, dataset: h5py.Dataset) -> None:
        where = f"{self.where}:/{path}"
        dtype = _dtype(dataset, where)
        _check_storage(dataset, where, self.size)
        name = path.replace("\\", "/")  # written on Windows
        if name in self.arrays:
            raise refusal("unsafe-file", "two arrays of one name", file=where)
        self.arrays[name] = StoredArray(path=name, shape=tuple(dataset.shape), dtype=dtype)
        self._datasets[name] = dataset

    def read(self, path: str) -> np.ndarray[Any, Any]:
        """A view of the mapped file where the array lies there as it is in memory, otherwise a copy."""
        dataset = self._datasets[path]
        try:
            in_place = self._in_place(dataset)
            if in_place is not None:
                return in_place
            array = np.empty(dataset.shape, dataset.dtype)
            dataset.read_direct(array) if array.size else None
        except _DAMAGE as error:
            raise refusal("damaged-file", f"the array cannot be read ({error})", file=f"{self.where}:/{path}") from None
        native = array.view("<u2") if array.dtype.kind == "V" else array
        native = native.astype(native.dtype.newbyteorder("="), copy=False)
        native.flags.writeable = False
        return native

    def _in_place(self, dataset: h5py.Dataset) -> np.ndarray[Any, Any] | None:
        """None for arrays in chunks, and for types whose bytes HDF5 turns into others: of another byte order, or with
        bits in other places than in memory."""
        dtype = np.dtype("<u2") if dataset.dtype.kind == "V" else dataset.dtype
        offset = dataset.id.get_offset()
        if self._mapped is None or dataset.chunks is not None or offset is None or self.file.userblock_size:
            return None
        as_in_memory = dataset.dtype.kind == "V" or dataset.id.get_type() == h5py.h5t.py_create(dtype.newbyteorder("="))
        if not dtype.isnative or not as_in_memory or dtype.kind == "b" or not dataset.size:
            return None
        stored = self._mapped.bytes()[offset : offset + dataset.size * dtype.itemsize]
        in_place: np.ndarray[Any, Any] = stored.view(dtype).reshape(dataset.shape)
        return in_place

    def release(self) -> None:
        """Give back what reading has mapped."""
        if self._mapped is not None:
            self._mapped.release()

    def close(self) -> None:
        self.file.close()
        if self._stream is not None:
            self._stream.close()
        if self._mapped is not None:
            self._mapped.close()


def _walk(root: h5py.File, where: str) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """All groups and datasets, depth first, links that are not plain ones refused."""
    seen: set[Any] = set()
    todo: list[tuple[str, h5py.Group | h5py.Dataset]] = [("", root)]
    count = 0
    while todo:
        path, item = todo.pop()
        count += 1
        if count > MAX_OBJECTS:
            raise refusal("unsafe-file", f"more than {MAX_OBJECTS} groups and arrays", file=where)
        yield path, item
        if isinstance(item, h5py.Dataset):
            continue
        if path.count("/") > MAX_DEPTH:
            raise refusal("unsafe-file", f"groups nested deeper than {MAX_DEPTH}", file=f"{where}:/{path}")
        key = h5py.h5o.get_info(item.id).addr
        if key in seen:
            raise refusal("unsafe-file", "a group that is linked to twice", file=f"{where}:/{path}")
        seen.add(key)
        todo.extend(reversed([(f"{path}/{n}" if path else n, _child(item, n, where)) for n in _names(item, where)]))


def _names(group: h5py.Group, where: str) -> list[str]:
    try:
        names = list(group)
    except UnicodeDecodeError as error:
        raise refusal("unsafe-file", f"a name that is no text ({error})", file=f"{where}:{group.name}") from None
    for name in names:
        if len(name) > MAX_NAME or not _is_utf8(name):
            what = "that is no text" if len(name) <= MAX_NAME else f"of {len(name)} characters"
            raise refusal("unsafe-file", f"a name {what}", file=f"{where}:{group.name}")
    return names


def _is_utf8(name: str | bytes) -> bool:
    """h5py gives a name that is no text as bytes, or as str with halves of characters."""
    try:
        name.encode()  # type: ignore[union-attr]
    except (UnicodeEncodeError, AttributeError):
        return False
    return True


def _child(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset:
    place = f"{where}:{group.name.rstrip('/')}/{name[:80]}"
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise refusal(
            "unsafe-file",
            f"a link to another place ({type(link).__name__}); it is not followed",
            file=place,
            remedy="Keras writes no links: look at where this file comes from",
        )
    try:
        item = group[name]
    except _DAMAGE as error:
        raise refusal(
            "damaged-file", f"cannot be opened ({error})", file=place, remedy="fetch the file again"
        ) from None
    if not isinstance(item, h5py.Group | h5py.Dataset):
        raise refusal("unsafe-file", f"neither a group nor an array ({type(item).__name__})", file=place)
    return item


def _check_storage(dataset: h5py.Dataset, where: str, file_size: int) -> None:
    """Whether all bytes that the array declares are stored in this file, and no more than a reader can bear."""
    plist = dataset.id.get_create_plist()
    if plist.get_external_count() > 0:
        raise refusal("unsafe-file", "an array whose bytes lie in another file; it is not opened", file=where)
    if dataset.is_virtual:
        raise refusal("unsafe-file", "a virtual array made of other files; they are not opened", file=where)
    if dataset.shape is None:
        raise refusal("unsafe-file", "an array without any shape", file=where)
    if len(dataset.shape) > MAX_RANK:
        raise refusal("unsafe-file", f"an array of {len(dataset.shape)} axes", file=where)
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if len(set(filters)) < len(filters) or not set(filters) <= _FILTERS:
        raise refusal(
            "unsafe-file", f"an array behind HDF5 filters {filters}", file=where, remedy="only deflate is read"
        )
    if math.prod(n or 1 for n in dataset.shape) * dataset.dtype.itemsize >= 2**63:
        raise refusal("unsafe-file", f"an array of the shape {list(dataset.shape)}", file=where)
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if dataset.chunks is not None:
        grid = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        whole = dataset.id.get_num_chunks() == grid and declared <= max(min(stored, file_size), 1) * MAX_RATIO
    else:
        whole = stored == declared
    if declared and not whole:
        raise refusal(
            "unsafe-file",
            f"an array of {declared} bytes of which {stored} are stored: the rest would read as zeros",
            file=where,
            remedy="the file was not written to its end: fetch or save it again",
        )


def _dtype(dataset: h5py.Dataset, where: str) -> str:
    try:
        dtype = dataset.dtype
        plain = h5py.check_enum_dtype(dtype) is None and dtype.names is None and dtype.subdtype is None
    except _DAMAGE as error:
        raise refusal("unsafe-file", f"an array of a type that is not a number ({error})", file=where) from None
    if plain and dtype.kind == "V" and dtype.itemsize == 2:
        return "bfloat16"
    if plain and dtype.kind in "iuf" and dtype.itemsize <= 8:
        return str(dtype.newbyteorder("=").name)
    if dtype.kind == "b":
        return "bool"
    raise refusal(
        "unsafe-file",
        f"an array of type {dtype}, which is not a number: Keras stores nothing else",
        file=where,
        remedy="is this a Keras model at all?",
    )


# Attributes that decide how a file is read: one that cannot be read is not one that is absent.
_DECISIVE = re.compile(r"(model_config|keras_version|backend|layer_names|weight_names)\d*")


def _attributes(item: h5py.Group, where: str) -> dict[str, Any]:
    """The attributes as str, int, float, bool and lists of them; a list that Keras cut into pieces is joined."""
    total = sum(_attribute_size(item, i) for i in range(h5py.h5a.get_num_attrs(item.id)))
    values: dict[str, Any] = {}
    for name in item.attrs:
        values[name] = _attribute(item, name, where)
        total += _text_size(values[name])
        if total > MAX_ATTRIBUTES:
            raise refusal("unsafe-file", f"attributes of more than {MAX_ATTRIBUTES} bytes", file=where)
    for name in ("layer_names", "weight_names"):
        pieces: list[Any] = []
        while name not in values and f"{name}{len(pieces)}" in values:
            pieces.append(_as_list(values[f"{name}{len(pieces)}"]))
        if pieces:
            values[name] = [x for piece in pieces for x in piece]
        elif name in values:
            values[name] = _as_list(values[name])
    return values


def _attribute(item: h5py.Group, name: str, where: str) -> Any:
    """One attribute; None where it is empty, or of a type that Keras does not write. Its type is looked at before its
    value: reading some types crashes libhdf5."""
    try:
        attribute = h5py.h5a.open(item.id, name.encode())
        if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            return None
        value = _plain(item.attrs[name]) if _is_plain_type(attribute.get_type()) else None
    except _DAMAGE:
        value = None
    if value is None and _DECISIVE.fullmatch(name):
        raise refusal("damaged-file", f"the attribute {name} cannot be read", file=where, remedy="fetch the file again")
    return value


def _is_plain_type(kind: h5py.h5t.TypeID) -> bool:
    if isinstance(kind, h5py.h5t.TypeEnumID):
        return bool(kind.dtype == np.dtype(bool))
    if isinstance(kind, h5py.h5t.TypeFloatID):
        return bool(kind.get_size() <= 8)
    return isinstance(kind, h5py.h5t.TypeStringID | h5py.h5t.TypeIntegerID)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _text_size(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_text_size, value))
    return len(value) if isinstance(value, str) else 0


def _attribute_size(item: h5py.Group, index: int) -> int:
    try:
        return int(h5py.h5a.open(item.id, index=index).get_storage_size())
    except RuntimeError:  # h5py takes the size 0 of an empty list for an error
        return 0


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == np.uint8 and value.ndim == 1 and value.size > 1:
            return value.tobytes().decode("utf-8")
        return [_plain(x) for x in value.reshape(-1).tolist()] if value.ndim else _plain(value.item())
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode("utf-8") if isinstance(value, bytes) else value
