"""An HDF5 file as names, shapes and attributes, with nothing followed that leads out of it.

h5py opens external links, external storage and virtual datasets without a word and reads zeros where nothing
was ever stored. All of that can be seen before a byte is read, and is refused here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from h5port.archive.archive import StoredArray
from h5port.errors import refusal

MAX_OBJECTS = 1_000_000
MAX_DEPTH = 64
MAX_RANK = 32
MAX_NAME = 4096
MAX_ATTRIBUTES = 64 * 1024 * 1024  # bytes of one object
MAX_RATIO = 1100  # deflate cannot do better than about 1,030
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


class Hdf5Store:
    """The arrays and attributes below one group of an open HDF5 file."""

    def __init__(self, file: Path | BinaryIO, where: str) -> None:
        self.where = where
        try:
            self.file = h5py.File(file, "r")
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
        except BaseException:
            self.file.close()
            raise

    def _add(self, path: str, dataset: h5py.Dataset) -> None:
        where = f"{self.where}:/{path}"
        _check_storage(dataset, where)
        name = path.replace("\\", "/")  # written on Windows
        if name in self.arrays:
            raise refusal("unsafe-file", "two arrays of one name", file=where)
        self.arrays[name] = StoredArray(path=name, shape=tuple(dataset.shape), dtype=_dtype(dataset, where))
        self._datasets[name] = dataset

    def read(self, path: str) -> np.ndarray[Any, Any]:
        dataset = self._datasets[path]
        array = np.empty(dataset.shape, dataset.dtype)
        try:
            dataset.read_direct(array) if array.size else None
        except OSError as error:
            raise refusal("damaged-file", f"the array cannot be read ({error})", file=f"{self.where}:/{path}") from None
        if array.dtype.kind == "V":
            return array.view("<u2").astype(np.uint16)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        self.file.close()


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
        todo.extend(reversed([(f"{path}/{n}" if path else n, _child(item, n, where)) for n in item]))


def _child(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset:
    place = f"{where}:{group.name.rstrip('/')}/{name[:80]}"
    if len(name) > MAX_NAME:
        raise refusal("unsafe-file", f"a name of {len(name)} characters", file=place)
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
    except (OSError, KeyError, RuntimeError) as error:
        raise refusal(
            "damaged-file", f"cannot be opened ({error})", file=place, remedy="fetch the file again"
        ) from None
    if not isinstance(item, h5py.Group | h5py.Dataset):
        raise refusal("unsafe-file", f"neither a group nor an array ({type(item).__name__})", file=place)
    return item


def _check_storage(dataset: h5py.Dataset, where: str) -> None:
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
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if dataset.chunks is not None:
        grid = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        whole = dataset.id.get_num_chunks() == grid and declared <= max(stored, 1) * MAX_RATIO
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
    dtype = dataset.dtype
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None:
        return "bfloat16"
    if h5py.check_enum_dtype(dtype) is None and dtype.kind in "iuf" and dtype.itemsize <= 8:
        return str(dtype.newbyteorder("=").name)
    if dtype.kind == "b":
        return "bool"
    raise refusal("unsafe-file", f"an array of type {dtype}, which is not a number", file=where)


def _attributes(item: h5py.Group, where: str) -> dict[str, Any]:
    """The attributes as str, int, float and lists of them; a list that Keras cut into pieces is joined."""
    total = sum(_attribute_size(item, i) for i in range(h5py.h5a.get_num_attrs(item.id)))
    if total > MAX_ATTRIBUTES:
        raise refusal("unsafe-file", f"attributes of {total} bytes", file=where)
    values: dict[str, Any] = {}
    for name in item.attrs:
        try:
            values[name] = _plain(item.attrs[name])
        except (OSError, TypeError, ValueError, UnicodeDecodeError, RuntimeError):
            values[name] = None  # not an attribute that Keras writes
    for name in ("layer_names", "weight_names"):
        if name not in values and f"{name}0" in values:
            pieces: list[Any] = []
            while f"{name}{len(pieces)}" in values:
                pieces.append(values[f"{name}{len(pieces)}"])
            values[name] = [x for piece in pieces for x in piece]
        elif name in values and not isinstance(values[name], list):
            values[name] = [values[name]] if isinstance(values[name], str) else []
    return values


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
