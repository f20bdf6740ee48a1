"""model.safetensors holds what the recipes say, whatever the memory order, at aligned places without gaps."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import deserialize, safe_open
from safetensors.numpy import load_file
from transform.strategies import FAST, LAYOUTS, arrays, bits, laid_out, random_array, recipes, shapes

from h5port.output import safetensors
from h5port.output.safetensors import DTYPES, write
from h5port.transform.recipe import Recipe, Slice, Source, full, read_from
from h5port.transform.steps import Array, Blocks, Concat, Dequantize, Flip, Transpose


def read_back(path: Path) -> tuple[dict[str, str], dict[str, Array]]:
    """(metadata, tensors) by the format's own description; bfloat16 as its bits. Refuses gaps and overlaps."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.pop("__metadata__", {})
    on_disk = {name: np.dtype(kind) for name, kind in DTYPES.values()}
    tensors, at = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        assert start == at
        assert stop - start == math.prod(entry["shape"]) * on_disk[entry["dtype"]].itemsize
        tensors[name] = np.frombuffer(body[start:stop], on_disk[entry["dtype"]]).reshape(entry["shape"])
        at = stop
    assert at == len(body)
    return metadata, tensors


def offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor begins in the file, and the size of its elements."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    widths = {name: np.dtype(kind).itemsize for name, kind in DTYPES.values()}
    header = json.loads(data[8 : 8 + length])
    return {
        n: (8 + length + e["data_offsets"][0], widths[e["dtype"]]) for n, e in header.items() if n != "__metadata__"
    }


def assert_reads_back(path: Path, expected: Mapping[str, Array], bfloat16: tuple[str, ...] = ()) -> None:
    """By three readers: the one above, the package's parser, and (where there is no bfloat16) its numpy loader."""
    _, mine = read_back(path)
    assert {n: bits(a) for n, a in mine.items()} == {n: bits(a) for n, a in expected.items()}
    parsed = dict(deserialize(path.read_bytes()))
    assert {n: (tuple(e["shape"]), bytes(e["data"])) for n, e in parsed.items()} == {
        n: (a.shape, a.tobytes()) for n, a in expected.items()
    }
    if not bfloat16:
        assert {n: bits(a) for n, a in load_file(path).items()} == {n: bits(a) for n, a in expected.items()}


def whole(arrays: Mapping[str, Array], bfloat16: tuple[str, ...] = ()) -> dict[str, Recipe]:
    """Recipes that take each array as it is."""
    return {
        n: Recipe(sources=(Source(n, a.shape),), dtype="bfloat16" if n in bfloat16 else a.dtype.name)
        for n, a in arrays.items()
    }


KERNEL = random_array("float32", (3, 8), 7)
ORDERS: dict[str, Array] = {
    "transposed": KERNEL.T,
    "sliced": KERNEL[1:, 2:7],
    "strided": KERNEL[::2, ::3],
    "a column": KERNEL[:, 4],
    "Fortran": np.asfortranarray(KERNEL),
    "axes moved": random_array("float32", (2, 3, 4), 8).transpose(2, 0, 1),
    "turned round": KERNEL[::-1, ::-1],
    "turned round along one axis": KERNEL[:, ::-1],
    "broadcast": np.broadcast_to(KERNEL[:1], (5, 8)),
    "a scalar broadcast": np.broadcast_to(KERNEL[0, 0], (2, 3)),
    "a scalar": KERNEL[1, 1, ...],
    "empty": KERNEL[:, :0].T,
    "big-endian": KERNEL.astype(">f4").T,
}


@pytest.mark.parametrize("order", ORDERS)
def test_an_array_of_any_memory_order_is_written_right(order: str, tmp_path: Path) -> None:
    stored = {order: ORDERS[order]}
    write(tmp_path / "x", whole(stored), read_from(stored), {})
    assert_reads_back(tmp_path / "x", {order: ORDERS[order].astype("<f4", order="C")})


@pytest.mark.parametrize("steps", [(Transpose((1, 0)),), (Flip((0, 1)),), (Blocks(1, (1, 0)), Transpose((1, 0)))])
def test_the_views_that_steps_make_are_written_right(steps: Any, tmp_path: Path) -> None:
    recipe = Recipe(sources=(Source("kernel", (3, 4), Slice(1, 2, 4)),), steps=steps)
    kernel = random_array("float32", (3, 4), 1)
    expected = kernel[:, 2:4]
    for step in steps:
        expected = np.array(step.apply((expected,))[0], order="C")
    write(tmp_path / "x", {"w": recipe}, read_from({"kernel": kernel}), {})
    assert_reads_back(tmp_path / "x", {"w": expected})


@pytest.mark.parametrize("order", ["transposed", "Fortran", "turned round", "sliced", "broadcast"])
def test_a_writer_that_forgets_memory_order_would_be_found(order: str, tmp_path: Path) -> None:
    stored = {"w": ORDERS[order]}
    write(tmp_path / "x", whole(stored), read_from(stored), {})
    as_in_memory = bytearray(bytes_of_memory(ORDERS[order]))
    with (tmp_path / "x").open("rb+") as f:
        f.seek(offsets(tmp_path / "x")["w"][0])
        f.write(as_in_memory)
    with pytest.raises(AssertionError):
        assert_reads_back(tmp_path / "x", stored)


def bytes_of_memory(array: Array) -> bytes:
    """As many bytes as the array has elements for, from the lowest address of its buffer on: what a careless writer
    takes for its data."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    memory = base.tobytes(order="A")
    return (memory * (array.nbytes // len(memory) + 1))[: array.nbytes]


def test_bfloat16_is_written_as_its_bits(tmp_path: Path) -> None:
    kernel = np.array([[0x3F80, 0x8000, 0x7FC1], [0xFF81, 0x0001, 0x7F80]], np.uint16)  # 1, -0.0, NaNs, tiny, infinity
    recipes = {"w": Recipe(sources=(Source("k", (2, 3)),), steps=(Transpose((1, 0)),), dtype="bfloat16")}
    write(tmp_path / "x", recipes, read_from({"k": kernel}), {})
    assert dict(deserialize((tmp_path / "x").read_bytes()))["w"]["dtype"] in ("BF16", "bfloat16")
    assert_reads_back(tmp_path / "x", {"w": np.ascontiguousarray(kernel.T)}, bfloat16=("w",))


def test_many_sources_and_constants_are_written_side_by_side(tmp_path: Path) -> None:
    stored = {f"k{i}": random_array("float32", (2, 3), i) for i in range(2)}
    joined = Recipe(
        sources=tuple(Source(n, (2, 3)) for n in stored),
        steps=(Transpose((1, 0)), Concat(0)),
    )
    recipes = {"weight": joined, "bias_hh": full((6,), 0.0), "count": full((), 3, "int64")}
    write(tmp_path / "x", recipes, read_from(stored), {})
    expected = {
        "weight": np.concatenate([a.T for a in stored.values()]),
        "bias_hh": np.zeros(6, np.float32),
        "count": np.array(3, np.int64),
    }
    assert_reads_back(tmp_path / "x", {n: np.ascontiguousarray(a).reshape(a.shape) for n, a in expected.items()})


NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8).filter(lambda n: n != "__metadata__")
WRITABLE = [d for d in DTYPES if d != "bfloat16"]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Tensors of mixed types and layouts, with the names of those whose bits are bfloat16."""
    found = draw(
        st.dictionaries(NAMES, st.tuples(shapes(max_rank=3), st.sampled_from(WRITABLE)).flatmap(_array), max_size=4)
    )
    halves = [n for n, a in found.items() if a.dtype == np.uint16]
    return found, tuple(n for n in halves if draw(st.booleans()))


def _array(shape_and_dtype: tuple[tuple[int, ...], str]) -> st.SearchStrategy[Array]:
    return arrays(*shape_and_dtype)


Write = Callable[..., tuple[Path, dict[str, int]]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes tensors as they are to a file of the module, over the one before."""
    path = tmp_path_factory.mktemp("safetensors") / "x.safetensors"

    def write_all(case: tuple[dict[str, Array], tuple[str, ...]], metadata: Any = None, progress: Any = None) -> Any:
        stored, bfloat16 = case
        return path, write(path, whole(stored, bfloat16), read_from(stored), metadata or {}, progress=progress)

    return write_all


@FAST
@given(tensors())
def test_tensors_of_mixed_types_read_back_bit_for_bit(
    written: Write, case: tuple[dict[str, Array], tuple[str, ...]]
) -> None:
    path, _ = written(case)
    assert_reads_back(path, *case)


@FAST
@given(tensors())
def test_every_tensor_is_aligned_and_the_data_begins_at_a_multiple_of_eight(
    written: Write, case: tuple[dict[str, Array], tuple[str, ...]]
) -> None:
    path, _ = written(case)
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    assert all(start % width == 0 for start, width in offsets(path).values())


@FAST
@given(tensors(), st.randoms(use_true_random=False))
def test_the_same_tensors_give_the_same_bytes_in_whatever_order_and_layout_they_come(
    written: Write, case: tuple[dict[str, Array], tuple[str, ...]], random: Any
) -> None:
    stored, bfloat16 = case
    once = written(case)[0].read_bytes()
    names = list(stored)
    random.shuffle(names)
    again = {n: laid_out(stored[n], random.choice(LAYOUTS)) for n in names}
    assert written((again, bfloat16))[0].read_bytes() == once


@FAST
@given(tensors())
def test_progress_is_told_of_every_byte(written: Write, case: tuple[dict[str, Array], tuple[str, ...]]) -> None:
    told: list[int] = []
    written(case, progress=told.append)
    assert sorted(t for t in told if t) == sorted(a.nbytes for a in case[0].values() if a.nbytes)


@FAST
@given(tensors(), st.sampled_from([8, 1 << 20]))
def test_elements_that_are_not_finite_are_counted(case: tuple[dict[str, Array], tuple[str, ...]], block: int) -> None:
    stored, bfloat16 = case
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(safetensors, "BLOCK", block)
        patch.setattr(safetensors, "_own", threading.local())
        found = write(Path(folder) / "x", whole(stored, bfloat16), read_from(stored), {})
    wide = {n: (a.astype("u4") << 16).view("f4") if n in bfloat16 else a for n, a in stored.items()}
    counts = {n: sum(not np.isfinite(x) for x in a.ravel()) for n, a in wide.items()}
    assert found == {n: c for n, c in counts.items() if c}


@FAST
@given(st.dictionaries(NAMES, NAMES, max_size=3))
def test_metadata_is_kept(written: Write, metadata: dict[str, str]) -> None:
    path, _ = written(({"w": KERNEL}, ()), metadata)
    with safe_open(path, "np") as f:
        assert (f.metadata() or {}) == metadata
    assert read_back(path)[0] == metadata


@FAST
@given(recipes("float32"))
def test_what_is_written_is_what_the_recipe_gives(written: Write, case: tuple[Recipe, dict[str, Array]]) -> None:
    recipe, stored = case
    path, _ = written(({}, ()))
    write(path, {"w": recipe}, read_from(stored), {})
    assert_reads_back(path, {"w": np.asarray(recipe.apply(read_from(stored)), order="C")})


@FAST
@given(st.sampled_from(sorted({*DTYPES} - {"bfloat16"})).flatmap(recipes), st.sampled_from([8, 24, 64, 100]))
def test_a_tensor_of_many_blocks_is_what_the_recipe_gives(case: tuple[Recipe, dict[str, Array]], block: int) -> None:
    """Blocks of a few bytes, which several threads write."""
    recipe, stored = case
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(safetensors, "BLOCK", block)
        patch.setattr(safetensors, "_own", threading.local())
        write(Path(folder) / "x", {"w": recipe}, read_from(stored), {})
        written = (Path(folder) / "x").read_bytes()
    start = 8 + int.from_bytes(written[:8], "little")
    assert written[start:] == recipe.apply(read_from(stored)).tobytes()


def test_a_result_of_another_type_than_its_header_says_is_never_written(tmp_path: Path) -> None:
    recipe = Recipe(
        sources=(Source("q", (2,)), Source("s", (2,))), steps=(Dequantize((0,), (2,)),), dtype="float32", lossless=False
    )
    stored = {"q": np.ones(2, np.int8), "s": np.ones(2, np.float64)}
    with pytest.raises(ValueError, match="float64"):
        write(tmp_path / "x", {"w": recipe}, read_from(stored), {})
