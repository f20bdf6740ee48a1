"""What the layers over steps, pixels and voxels share: options of one number an axis, lengths, places of channels."""

from __future__ import annotations

from typing import Literal

from h5port.errors import refusal
from h5port.layers.builder import Builder, Value
from h5port.layers.core import move_axis

DataFormat = Literal["channels_last", "channels_first"] | None
Padding = Literal["valid", "same", "causal", "full"]


def numbers(value: int | list[int], rank: int, what: str, least: int = 1) -> list[int]:
    """An option of one number for each of `rank` axes; a single number holds for all."""
    found = [value] * rank if isinstance(value, int) else list(value)
    if len(found) != rank or min(found) < least:
        raise refusal("unsupported-option", f"{what} {value} of a {rank}-D layer")
    return found


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


def channels_to_front(b: Builder, x: Value, data_format: DataFormat) -> Value:
    """(N, C, ...), as torch has it; `data_format` None stands for channels_last."""
    return x if data_format == "channels_first" else move_axis(b, x, x.rank - 1, 1)


def channels_back(b: Builder, y: Value, data_format: DataFormat) -> Value:
    """The inverse of `channels_to_front`."""
    return y if data_format == "channels_first" else move_axis(b, y, 1, y.rank - 1)
