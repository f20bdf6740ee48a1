"""Images at other sizes: which function of the runtime gives what Keras computes on TensorFlow."""

from __future__ import annotations

from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers.builder import Builder, Value

Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"]

# interpolation -> (function that gives the weights of old pixels in a new one, its arguments)
_KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bilinear": ("triangle_weights", {}),
    "bicubic": ("keys_cubic_weights", {}),
    "lanczos3": ("lanczos_weights", {"radius": 3}),
    "lanczos5": ("lanczos_weights", {"radius": 5}),
    "gaussian": ("gaussian_weights", {}),
    "mitchellcubic": ("mitchell_cubic_weights", {}),
}


def resized(
    b: Builder,
    x: Value,
    size: list[int],
    interpolation: Interpolation,
    *,
    antialias: bool = False,
    rounded: bool = False,
) -> Value:
    """tf.image.resize of (N, C, height, width), which leaves an image alone that already has the size.

    rounded  whether the result is rounded after this: then the last bit counts where it lies between two numbers
    """
    if list(x.known_shape[2:]) == size:
        return x
    shape = (*x.known_shape[:2], *size)
    if rounded and interpolation != "nearest":
        if interpolation != "bilinear" or antialias:
            way = f"{interpolation} with antialias" if antialias else interpolation
            raise refusal(
                "unsupported-option",
                f"whole numbers resized ({way}) and rounded: halves go the way of TensorFlow's own rounding errors",
            )
        return b.call("resize_bilinear_in_order", b.cast(x, "float32"), shape=shape, size=size)
    if interpolation == "nearest" or (interpolation == "bilinear" and not antialias):
        return b.call(f"resize_{interpolation}", x, shape=shape, size=size)
    return b.call("resize_by_weights", x, shape=shape, size=size, weights=_weights(interpolation, antialias=antialias))


def upsampled(b: Builder, x: Value, times: list[int], interpolation: Interpolation, grid: str) -> Value:
    """(N, C, height, width) with so many times its rows and columns; pixel i of the result lies at (i + 1/2) / times
    - 1/2 on the grid "half", at i / times on the grid "corner"."""
    steps = (None if n is None else n * t for n, t in zip(x.known_shape[2:], times, strict=True))
    shape = (*x.known_shape[:2], *steps)
    if grid == "half" and interpolation == "bilinear":
        return b.call("upsample_bilinear", x, shape=shape, times=times)
    weights = _weights(interpolation) if grid == "half" else {"function": "corner_weights", "args": {}}
    return b.call("upsample_by_weights", x, shape=shape, times=times, weights=weights)


def _weights(interpolation: str, *, antialias: bool = False) -> dict[str, Any]:
    if interpolation == "area" or (interpolation == "bicubic" and not antialias):
        return {"function": f"{interpolation}_weights", "args": {}}
    name, args = _KERNELS[interpolation]
    return {"function": name, "args": {**args, "antialias": antialias}}
