"""What comes out of this room: names, shapes and dtypes now, bytes when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from h5port.errors import refusal

Json = Any  # None, bool, int, float, str, list or dict of these
Layout = Literal["named", "numbered", "paths", "none"]


class WriterMark(msgspec.Struct, frozen=True):
    """What the file itself says of its writer. None where it says nothing."""

    version: str | None = None
    backend: str | None = None


class StoredArray(msgspec.Struct, frozen=True, kw_only=True):
    """One stored array. `path` is its name in the weight store, with "/" whatever the writer's system was.

    `dtype` is numpy's name of the native type, or "bfloat16" (read as its bits, uint16).
    """

    path: str
    shape: tuple[int, ...]
    dtype: str


class Archive:
    """An open Keras file.

    layout      "named": groups by layer, ordered by the attributes `layer_names` and `weight_names`;
                "numbered": Keras 0.x, `layer_0/param_0`; "paths": `layers/dense/vars/0`; "none": no weights
    attributes  group path -> attribute name -> value (strings, numbers and lists of them)
    ignored     groups of the file that hold no weights: optimizer, metrics
    assets      files that layers stored beside the weights ("layers/string_lookup/vocabulary.txt"); read when asked
    verify      compares all bytes with the checksum that the container has of them. Raises H5PortError
    """

    def __init__(
        self,
        source: Path,
        container: str,
        *,
        config: Json = None,
        mark: WriterMark | None = None,
        layout: Layout = "none",
        arrays: dict[str, StoredArray] | None = None,
        attributes: dict[str, dict[str, Any]] | None = None,
        read: Callable[[str], np.ndarray[Any, Any]] | None = None,
        release: Callable[[], None] | None = None,
        verify: Callable[[], None] | None = None,
        close: Callable[[], None] | None = None,
        ignored: tuple[str, ...] = (),
        assets: Mapping[str, Callable[[], bytes]] | None = None,
    ) -> None:
        self.source = source
        self.container = container
        self.config = config
        self.mark = mark or WriterMark()
        self.layout = layout
        self.arrays = arrays or {}
        self.attributes = attributes or {}
        self.ignored = ignored
        self.assets = assets or {}
        self._read = read
        self._release = release
        self._verify = verify
        self._close = close

    def read(self, path: str) -> np.ndarray[Any, Any]:
        """The array stored at `path`, in native byte order, read-only; bfloat16 as uint16."""
        if self._read is None:
            raise KeyError(path)
        return self._read(path)

    def release(self) -> None:
        """Give the memory back that arrays were read into: they need not be in use any more."""
        if self._release is not None:
            self._release()

    def verify(self) -> None:
        """Read all weights once, and compare them with their checksum, if there is one."""
        if self._verify is not None:
            self._verify()

    def asset(self, path: str) -> str:
        """The text of an asset. Raises H5PortError if it is none in UTF-8."""
        try:
            return self.assets[path]().decode("utf-8")
        except UnicodeDecodeError as error:
            raise refusal(
                "bad-config", f"the asset {path} is no text in UTF-8: {error}", file=str(self.source)
            ) from None

    def close(self) -> None:
        if self._close is not None:
            self._close()
            self._close = None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
