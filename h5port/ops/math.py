"""Operations of mathematics: segments, greatest elements, sequences, Fourier transforms.

keras/src/ops/math.py and keras/src/backend/tensorflow/math.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import Example, example
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.ops.operation import Operation, axes_of, declare, floats, operation, reduced, tensors

# ---- of one tensor of floats


class OfFloats(Operation, frozen=True, kw_only=True):
    function: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (example(on=((5, 4),)),)

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        return b.call(self.function, x, shape=x.shape)


declare("Rsqrt", OfFloats, function="rsqrt")
declare("Erf", OfFloats, function="erf")
declare("Erfc", OfFloats, function="erfc")
declare("Erfinv", OfFloats, function="erfinv")


@operation("Logsumexp")
class Logsumexp(Operation, frozen=True, kw_only=True):
    axis: int | list[int] | None = None
    keepdims: bool = False
    examples = (
        example(on=((5, 4),)),
        example(on=((5, 4),), axis=-1, keepdims=True),
        example(on=((5, 4),), axis=[1, 2]),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = floats(b, x)
        axes = axes_of(self.axis, x.rank)
        return b.call("logsumexp", x, shape=reduced(x, axes, self.keepdims), dim=axes, keepdim=self.keepdims)


# ---- segments


class SegmentReduction(Operation, frozen=True, kw_only=True):
    """Rows of the same id reduced to one. Without `num_segments` there are as many as the greatest id tells.

    Rows of no id are 0 in a sum, 1 in a product; in an extreme they are the type's other end, or 0 if sorted.
    """

    num_segments: int | None = None
    sorted: bool = False
    how: ClassVar[str]
    empty: ClassVar[int] = 0
    _ids: ClassVar[tuple[str, str]] = ("float32", "int32")
    examples: ClassVar[tuple[Example, ...]] = (
        example(on=((4,), ()), dtype=_ids, num_segments=5),
        example(on=((), ()), dtype=("int32", "int32"), num_segments=4),
    )

    def apply(self, b: Builder, data: Any, segment_ids: Any) -> Value:
        data, ids = tensors(b, data, segment_ids)
        if ids.rank != 1 or ids.dtype not in ("int32", "int64"):
            raise refusal("bad-config", "the ids of segments are not a list of int32 or int64")
        if data.dtype == "bool":
            raise refusal("unsupported-graph", f"{b.layer.class_name} of booleans")
        args: dict[str, Any] = {"segments": self.num_segments, "how": self.how, "start": self._start(data.dtype)}
        return b.call("segment_reduce", data, ids, shape=(self.num_segments, *data.known_shape[1:]), **args)

    def _start(self, dtype: str) -> int | float:
        if self.how not in ("amax", "amin") or self.sorted:
            return self.empty
        limits: Any = np.finfo(dtype) if "float" in dtype else np.iinfo(dtype)
        end = limits.min if self.how == "amax" else limits.max
        return float(end) if "float" in dtype else int(end)


declare("SegmentSum", SegmentReduction, how="sum")
declare("SegmentProd", SegmentReduction, how="prod", empty=1)
declare("SegmentMax", SegmentReduction, how="amax")
declare("SegmentMin", SegmentReduction, how="amin")


# ---- the greatest


@operation("TopK")
class TopK(Operation, frozen=True, kw_only=True):
    """The k greatest of the last axis, and where they stand; of equals the first goes before."""

    k: int
    sorted: bool = True
    examples = (example(on=((5, 4),), k=2), example(on=((6,),), dtype="int32", k=3))

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        if not self.sorted and self.k > 1:
            raise refusal("unsupported-option", "top_k with sorted=False: the order of what it gives is not defined")
        shape = (*x.known_shape[:-1], self.k)
        places = b.call("top_places", x, shape=shape, dtype="int32", k=self.k)
        return [b.call("elements_at", x, places, shape=shape), places]


@operation("InTopK")
class InTopK(Operation, frozen=True, kw_only=True):
    """Whether fewer than k predictions of a row are greater than that of its target."""

    k: int
    examples = tuple(example(on=((), (4,)), dtype=("int32", "float32"), k=k) for k in (1, 2))

    def apply(self, b: Builder, targets: Any, predictions: Any) -> Value:
        targets, predictions = tensors(b, targets, predictions)
        return b.call("in_top_k", b.cast(targets, "int64"), predictions, shape=targets.shape, dtype="bool", k=self.k)


# ---- distances and sequences


@operation("CDist")
class CDist(Operation, frozen=True, kw_only=True):
    """The Euclidean distance of each row of (..., P, size) from each of (..., R, size)."""

    examples = (example(on=((5, 4), (3, 4))),)

    def apply(self, b: Builder, x: Any, y: Any) -> Value:
        x, y = floats(b, x, y)
        shape = (*broadcast([x.known_shape[:-2], y.known_shape[:-2]]), x.dim(-2), y.dim(-2))
        return b.call("distances", x, y, shape=shape)


def windows(n: int | None, length: int, stride: int) -> int | None:
    return None if n is None else max(0, (n - length) // stride + 1)


@operation("ExtractSequences")
class ExtractSequences(Operation, frozen=True, kw_only=True):
    sequence_length: int
    sequence_stride: int
    examples = (example(on=((9,),), sequence_length=4, sequence_stride=2),)

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        count = windows(x.dim(-1), self.sequence_length, self.sequence_stride)
        shape = (*x.known_shape[:-1], count, self.sequence_length)
        return b.call("windows", x, shape=shape, length=self.sequence_length, stride=self.sequence_stride)


# ---- Fourier transforms: complex numbers are pairs of tensors


def pair(b: Builder, x: Any) -> list[Value]:
    """The real and the imaginary part."""
    if not isinstance(x, list | tuple) or len(x) != 2:
        raise refusal("bad-config", f"{b.layer.class_name} on something else than a real and an imaginary part")
    return floats(b, *x)


class Fourier(Operation, frozen=True, kw_only=True):
    function: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (example(on=((5, 4), (5, 4)), args=[["x0", "x1"]]),)

    def apply(self, b: Builder, x: Any) -> list[Value]:
        real, imag = pair(b, x)
        return b.calls(self.function, real, imag, shapes=[real.shape, real.shape])


declare("FFT", Fourier, function="fft", inert=frozenset({"axis"}))  # which Keras before 3.9 writes and never reads
declare("FFT2", Fourier, function="fft2")
declare("IFFT2", Fourier, function="ifft2")


@operation("RFFT")
class RFFT(Operation, frozen=True, kw_only=True):
    fft_length: int | None = None
    examples = tuple(example(on=((5, 8),), fft_length=n) for n in (None, 5, 12))

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = floats(b, x)
        size = x.dim(-1) if self.fft_length is None else self.fft_length
        shape = (*x.known_shape[:-1], None if size is None else size // 2 + 1)
        return b.calls("rfft", x, shapes=[shape, shape], size=self.fft_length)


@operation("IRFFT")
class IRFFT(Operation, frozen=True, kw_only=True):
    fft_length: int | None = None
    examples = tuple(example(on=((5, 8), (5, 8)), args=[["x0", "x1"]], fft_length=n) for n in (None, 10, 18))

    def apply(self, b: Builder, x: Any) -> Value:
        real, imag = pair(b, x)
        bins = real.dim(-1)
        size = self.fft_length if self.fft_length is not None else None if bins is None else 2 * (bins - 1)
        return b.call("irfft", real, imag, shape=(*real.known_shape[:-1], size), size=self.fft_length)


class ShortFourier(Operation, frozen=True, kw_only=True):
    sequence_length: int
    sequence_stride: int
    fft_length: int
    window: Literal["hann", "hamming"] | None = "hann"
    center: bool = True

    def _args(self, b: Builder) -> dict[str, Any]:
        if self.fft_length < self.sequence_length:
            raise refusal("bad-config", "fft_length is less than sequence_length")
        return {
            "length": self.sequence_length,
            "stride": self.sequence_stride,
            "size": self.fft_length,
            "window": self.window,
            "center": self.center,
        }


_SHORT: dict[str, Any] = {"sequence_length": 6, "sequence_stride": 3, "fft_length": 8}


@operation("STFT")
class STFT(ShortFourier, frozen=True, kw_only=True):
    examples = (
        example(on=((20,),), **_SHORT),
        example(on=((2, 20),), **_SHORT, window="hamming", center=False),
        example(on=((20,),), **_SHORT, window=None),
    )

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = floats(b, x)
        n = x.dim(-1)
        around = 2 * (self.fft_length // 2) if self.center else 0
        count = windows(None if n is None else n + around, self.fft_length, self.sequence_stride)
        shape = (*x.known_shape[:-1], count, self.fft_length // 2 + 1)
        return b.calls("stft", x, shapes=[shape, shape], **self._args(b))


@operation("ISTFT")
class ISTFT(ShortFourier, frozen=True, kw_only=True):
    length: int | None = None
    examples = (
        example(on=((7, 5), (7, 5)), args=[["x0", "x1"]], **_SHORT),
        example(on=((7, 5), (7, 5)), args=[["x0", "x1"]], **_SHORT, window="hamming", center=False, length=20),
        example(on=((7, 5), (7, 5)), args=[["x0", "x1"]], **_SHORT, window=None),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        real, imag = pair(b, x)
        count = real.dim(-2)
        whole = None if count is None else self.fft_length + self.sequence_stride * (count - 1)
        start = self.fft_length // 2 if self.center else 0
        end = start + self.length if self.length is not None else None if whole is None else whole - start
        size = None if end is None or whole is None else max(0, min(end, whole) - start)
        args = {**self._args(b), "steps": self.length}
        return b.call("istft", real, imag, shape=(*real.known_shape[:-2], size), **args)
