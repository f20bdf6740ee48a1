"""What a path holds, told by its bytes and never by its suffix (FORMATS: recognition)."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from h5port.errors import H5PortError, refusal

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_RESAVE = "load it where it was made and save it with model.save('model.h5')"


class Foreign(NamedTuple):
    what: str
    remedy: str


# How a file begins -> what it is. The order matters only where one prefix is the start of another.
_PREFIXES: tuple[tuple[bytes, Foreign], ...] = (
    (
        b"version https://git-lfs",
        Foreign("a git-lfs pointer (Git LFS), not the file itself", "fetch it with `git lfs pull`"),
    ),
    (b"\x1f\x8b", Foreign("a gzip file", "unpack it first")),
    (b"BZh", Foreign("a bzip2 file", "unpack it first")),
    (b"\xfd7zXZ", Foreign("an xz file", "unpack it first")),
    (b"Rar!", Foreign("a RAR archive", "unpack it first")),
    (b"7z\xbc\xaf", Foreign("a 7z archive", "unpack it first")),
    (b"\x93NUMPY", Foreign("a numpy array file (.npy)", "give the Keras model file")),
    (b"\x80\x02", Foreign("a Python pickle, which is never opened", _RESAVE)),
    (b"\x80\x03", Foreign("a Python pickle, which is never opened", _RESAVE)),
    (b"\x80\x04", Foreign("a Python pickle, which is never opened", _RESAVE)),
    (b"\x80\x05", Foreign("a Python pickle, which is never opened", _RESAVE)),
    (b"%PDF", Foreign("a PDF document", "give the Keras model file")),
)
_WEB_PAGE = Foreign("an HTML or XML page, not a model", "the download went wrong: fetch the raw file")


def recognise(path: Path) -> str:
    """'hdf5', 'zip', 'folder', 'json' or 'yaml'; everything else is refused by its name."""
    if not os.path.exists(path):  # unlike Path.exists, this takes names that no file can have
        raise refusal("not-found", f"there is no file {path.absolute()}", file=str(path), remedy=_near_names(path))
    if path.is_dir():
        return _recognise_folder(path)
    size = path.stat().st_size
    if size == 0:
        raise refusal("damaged-file", "the file is empty", file=str(path), remedy="fetch it again")
    with path.open("rb") as f:
        head = f.read(4096)
        f.seek(max(0, size - 8))
        foot = f.read(8)
        # A zip must be told before HDF5: members are stored as they are, so an HDF5 signature may lie open inside it.
        if head.startswith(b"PK"):
            return "zip"
        if head.startswith(HDF5_SIGNATURE) or _signature_behind_user_block(f, size):
            return "hdf5"
    foreign = _foreign(path, head, foot, size)
    if foreign is None:
        return _recognise_text(path, head)
    raise refusal("not-keras", f"this is {foreign.what}", file=str(path), remedy=foreign.remedy)


def _signature_behind_user_block(f: object, size: int) -> bool:
    offset = 512
    while offset + 8 <= size:
        f.seek(offset)  # type: ignore[attr-defined]
        if f.read(8) == HDF5_SIGNATURE:  # type: ignore[attr-defined]
            return True
        offset *= 2
    return False


def _recognise_folder(path: Path) -> str:
    names = {p.name for p in path.iterdir()}
    if {"config.json", "model.weights.h5"} <= names:
        return "folder"
    if names & {"saved_model.pb", "saved_model.pbtxt"}:
        what = Foreign("a TensorFlow SavedModel folder: its weights are a TensorFlow checkpoint", _RESAVE)
    elif "checkpoint" in names or any(n.endswith(".index") for n in names):
        what = Foreign("a TensorFlow checkpoint folder", "load it where it was made and save_weights('x.weights.h5')")
    elif "model.json" in names and any(n.endswith(".bin") for n in names):
        what = Foreign("a TensorFlow.js model folder", "convert the Keras file that it was made from")
    elif {"config.json", "model.safetensors"} <= names:
        what = Foreign("a folder of safetensors", "if h5port wrote it, h5port.load(folder) reads it")
    else:
        models = sorted(n for n in names if n.endswith((".h5", ".hdf5", ".keras", ".json")))
        what = Foreign(
            "a folder without a Keras model", f"give one of its files: {models[:5]}" if models else "give a file"
        )
    raise refusal("not-keras", f"this is {what.what}", file=str(path), remedy=what.remedy)


def _foreign(path: Path, head: bytes, foot: bytes, size: int) -> Foreign | None:
    for prefix, foreign in _PREFIXES:
        if head.startswith(prefix):
            return foreign
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<svg")):
        return _WEB_PAGE
    if head[4:8] == b"TFL3":
        return Foreign("a TensorFlow Lite model", "convert the Keras file that it was made from")
    if foot == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        return Foreign(
            "the index of a TensorFlow checkpoint", "load it where it was made and save_weights('x.weights.h5')"
        )
    if re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        return Foreign(
            "the data of a TensorFlow checkpoint", "load it where it was made and save_weights('x.weights.h5')"
        )
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return Foreign("a safetensors file", "it has no Keras architecture; load it with safetensors")
    if head[:3] == b"\x08\x01\x12":
        return Foreign("the graph of a TensorFlow SavedModel", _RESAVE)
    if head[:1] == b"\x08" and (b"onnx" in head[:64].lower() or head[2:3] in (b"\x12", b":", b"\x1a")):
        return Foreign("an ONNX model", "convert the Keras file that it was made from")
    if head[:1] == b"\n" and b"\0" in head:
        return Foreign("a protocol buffer, such as a frozen TensorFlow graph", _RESAVE)
    return None


def _recognise_text(path: Path, head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in (b"{", b"[", b'"'):
        return "json"
    # A YAML document that was dumped twice begins with its quoted first line.
    if b"\0" not in text and re.search(rb"(?m)^['\"]?(class_name|backend|keras_version|config|name|layers)\s*:", text):
        return "yaml"
    raise refusal(
        "not-keras",
        f"not a format that Keras writes; it begins with {head[:8]!r}",
        file=str(path),
        remedy="give a .h5, .weights.h5 or .keras file, or an architecture in JSON or YAML",
    )


def recognise_zip(path: Path, archive: zipfile.ZipFile) -> str:
    """The folder inside the zip that holds the model ('' as Keras writes it); refused if there is none."""
    names = archive.namelist()
    for config in sorted((n for n in names if n.split("/")[-1] == "config.json"), key=len):
        folder = config[: -len("config.json")]
        if f"{folder}model.weights.h5" in names:
            return folder
        if f"{folder}model.weights.npz" in names:
            raise refusal(
                "not-keras",
                "the weights are an npz store, whose members are Python pickles and are never opened",
                file=str(path),
                remedy="save it again with the default weights format",
            )
    raise _foreign_zip(path, names)


def _foreign_zip(path: Path, names: list[str]) -> H5PortError:
    if any(n.split("/")[-1] == "data.pkl" for n in names):
        what, remedy = "a PyTorch file (a zip with pickles)", "it is PyTorch already: torch.load reads it"
    elif names and all(n.endswith(".npy") for n in names):
        what, remedy = "an npz file of numpy arrays", "give the Keras model file"
    elif any(n.endswith("saved_model.pb") for n in names):
        what, remedy = "a zipped TensorFlow SavedModel", _RESAVE
    else:
        what, remedy = (
            f"a zip without config.json and model.weights.h5; it holds {names[:5]}",
            "give the model file itself",
        )
    return refusal("not-keras", f"this is {what}", file=str(path), remedy=remedy)


def _near_names(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"the folder {parent.absolute()} does not exist either"
    models = sorted(p.name for p in parent.iterdir() if p.suffix in (".h5", ".hdf5", ".keras", ".json", ".yaml"))
    return f"the folder holds {models[:8]}" if models else "the folder holds no model files"
