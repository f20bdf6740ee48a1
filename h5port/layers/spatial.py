"""What the layers over steps, pixels and voxels share: options of one number an axis, lengths, places of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from h5port.errors import refusal
from h5port.layers.builder import Builder, Value
from h5port.layers.core import move_axis
from h5port.module.program import Shape

DataFormat = Literal["channels_last", "channels_first"] | None
Padding = Literal["valid", "same", "causal", "full"]


def numbers(value: int | list[int], rank: int, what: str, least: int = 1) -> list[int]:
    """An option of one number for each of `rank` axes; a single number holds for all."""
    found = [value] * rank if isinstance(value, int) else list(value)
    if len(found) != rank or min(found) < least:
        raise refusal("unsupported-option", f"{what} {value} of a {rank}-D layer")
    return found


def one_or_all(values: Sequence[int]) -> int | list[int]:
    """The numbers of all axes as torch's modules take them: one where all are alike."""
    return values[0] if len(set(values)) == 1 else list(values)


def length(n: int | None, size: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """The number of output steps along one axis."""
    if n is None:
        return None
    wide = (size - 1) * dilation + 1
    match padding:
        case "valid":
            return max(0, -(-(n - wide + 1) // stride))
        case "full":
            return -(-(n + wide - 1) // stride)
        case _:
            return -(-n // stride)


def lengths(
    sizes: Shape, windows: Sequence[int], strides: Sequence[int], padding: str, dilation: Sequence[int] | None = None
) -> list[int | None]:
    """`length` along each axis. Raises H5PortError where no window fits."""
    axes = zip(sizes, windows, strides, dilation or [1] * len(windows), strict=True)
    found = [length(n, size, stride, padding, rate) for n, size, stride, rate in axes]
    if 0 in found:
        raise refusal("unsupported-graph", f"no window of {list(windows)} fits into {list(sizes)}: the result is empty")
    return found


def transposed_ends(
    padding: str, width: int, stride: int, extra: int | None = None, longer: int | None = None
) -> tuple[int, int]:
    """One axis of a transposed convolution whose (dilated) kernel is `width` long: (what is cut before the result, its
    length beyond (n - 1) * stride). `extra` is Keras' output_padding; `longer` is the length where it is told.

    keras/src/backend/common/backend_utils.py of Keras 3.15, utils/conv_utils.py of tf_keras 2.21.
    """
    if longer is None:
        usual = {"valid": max(width, stride), "same": stride, "full": 2 - width}
        given = {"valid": width, "same": width % 2, "full": 2 - width}
        longer = usual[padding] if extra is None else given[padding] + extra
    fronts = {"valid": 0, "same": max(width - longer, 0) // 2, "full": width - 1}
    return fronts[padding], longer


# ---- the place of channels


def channels_to_front(b: Builder, x: Value, data_format: DataFormat) -> Value:
    """(N, C, ...), as torch has it; `data_format` None stands for channels_last."""
    return x if data_format == "channels_first" else move_axis(b, x, x.rank - 1, 1)


def channels_back(b: Builder, y: Value, data_format: DataFormat) -> Value:
    """The inverse of `channels_to_front`."""
    return y if data_format == "channels_first" else move_axis(b, y, 1, y.rank - 1)


def with_vector(b: Builder, x: Value, to: Shape, added: Shape) -> Value:
    """The value x, where a second shape is to be added to `to`, a shape with the steps of x. Refused where the second
    has one axis longer than one, and the writer takes it for a vector along another axis of the first, by its length;
    where that length is not known, the module looks at it when it runs."""
    long = [i for i, n in enumerate(added) if n != 1]
    if len(long) != 1 or len(to) < 2:
        return x
    size, axis = added[long[0]], len(to) - len(added) + long[0]
    others = [] if axis == len(to) - 1 or size is None else [len(to) - 1] if axis == 1 else [len(to) - 1, 1]
    taken = next((i for i in others if to[i] == size), axis)
    if taken != axis and b.rule("vector_added") == "by length":
        raise refusal(
            "unsupported-graph",
            f"{size} numbers are added along axis {axis} of {list(to)}; on TensorFlow, {b.writer} adds them "
            f"along axis {taken}, which is as long",
        )
    for i in others:
        if to[i] is None and b.writer.may("vector_added", "by length"):
            x = b.call("of_another_size", x, shape=x.shape, dim=i, size=size)
    return x


# ---- zeros around (N, C, ...)


def padded(b: Builder, x: Value, pads: Sequence[tuple[int, int]]) -> Value:
    """Zeros before and after along each of the last axes."""
    if not any(map(any, pads)):
        return x
    shape = list(x.known_shape)
    for axis, (before, after) in enumerate(pads, len(shape) - len(pads)):
        n = shape[axis]
        shape[axis] = None if n is None else n + before + after
    return b.call("pad_zeros", x, shape=tuple(shape), widths=[n for pair in reversed(pads) for n in pair])


def padded_same(b: Builder, x: Value, widths: Sequence[int], strides: Sequence[int]) -> Value:
    """The zeros of padding "same", for windows of these (dilated) widths; where they hang on a size that is not
    known, they are counted when the module runs."""
    pads = same_paddings(x.known_shape[-len(widths) :], widths, strides)
    known = [pair for pair in pads if pair is not None]
    if len(known) == len(pads):
        return padded(b, x, known)
    shape = (*x.known_shape[: -len(widths)], *(None for _ in widths))
    return b.call("pad_same", x, shape=shape, widths=list(widths), strides=list(strides))


def same_padding(n: int | None, width: int, stride: int) -> tuple[int, int] | None:
    """Keras' padding "same" along one axis: what to add before and after, the odd one after."""
    if n is None and min(stride, width) > 1:
        return None
    total = width - stride if n is None else max((-(-n // stride) - 1) * stride + width - n, 0)
    return max(total, 0) // 2, max(total, 0) - max(total, 0) // 2


def same_paddings(sizes: Shape, widths: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int] | None]:
    """`same_padding` along each axis. Raises H5PortError for volumes of which windows of these (dilated) widths leave
    cells out at both ends: TensorFlow 2.21 on a CPU begins behind half of those, as it does not in one and two axes."""
    axes = list(zip(sizes, widths, strides, strict=True))
    if len(axes) == 3 and any(_leaves_out(*axis) > 1 for axis in axes):
        raise refusal(
            "unsupported-option",
            f'windows of {list(widths)} with strides {list(strides)} and padding "same" over a volume of '
            f"{list(sizes)}: on a CPU, TensorFlow begins behind its first voxels",
        )
    return [same_padding(*axis) for axis in axes]


def _leaves_out(n: int | None, width: int, stride: int) -> int:
    """How many cells no window of padding "same" reaches; of an axis of unknown size, how many there may be."""
    return stride - width if n is None else n - width - (-(-n // stride) - 1) * stride
