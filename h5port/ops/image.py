"""Operations on images (N, height, width, C), or one image without N: colours, sizes, borders, filters.

keras/src/ops/image.py and keras/src/backend/tensorflow/image.py of Keras 3.15.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import Example, example
from h5port.layers.builder import Builder, Value
from h5port.layers.resampling import resized
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front, lengths, numbers, padded_same
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.operation import Operation, declare, floats, operation, tensors

FIRST: dict[str, Any] = {"data_format": "channels_first"}
IMAGE = example(on=((6, 5, 3),))
FIRST_IMAGE = example(on=((3, 6, 5),), **FIRST)


def on_planes(
    b: Builder, images: Value, data_format: DataFormat, change: Callable[[Value], Value], axes: int = 2
) -> Value:
    """What `change` makes of (N, C, height, width), put back into the form of the images."""
    alone = images.rank == axes + 1
    if images.rank not in (axes + 1, axes + 2):
        raise refusal("bad-config", f"{b.layer.class_name} on a tensor of {images.rank} axes")
    x = b.call("unsqueeze", images, shape=(1, *images.known_shape), dim=0) if alone else images
    y = channels_back(b, change(channels_to_front(b, x, data_format)), data_format)
    return b.call("squeeze", y, shape=y.known_shape[1:], dim=0) if alone else y


# ---- colours


class Colours(Operation, frozen=True, kw_only=True):
    data_format: DataFormat = None
    function: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = (IMAGE, FIRST_IMAGE)

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = floats(b, images)
        return on_planes(b, x, self.data_format, lambda p: b.call(self.function, p, shape=p.shape))


declare("RGBToHSV", Colours, function="rgb_to_hsv")
declare("HSVToRGB", Colours, function="hsv_to_rgb")


@operation("RGBToGrayscale")
class RGBToGrayscale(Operation, frozen=True, kw_only=True):
    data_format: DataFormat = None
    examples = (IMAGE, FIRST_IMAGE, example(on=((6, 5, 3),), dtype="int32"), example(on=((6, 5, 1),)))

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = tensors(b, images)
        return on_planes(b, x, self.data_format, lambda p: self._gray(b, p))

    def _gray(self, b: Builder, x: Value) -> Value:
        if x.dim(1) == 1:
            return x
        if x.dim(1) != 3:
            raise refusal("bad-config", f"rgb_to_grayscale of {x.dim(1)} channels")
        if x.dtype not in dtypes.FLOATS and b.rule("gray_of_integers") == "scaled":
            raise refusal("unsupported-graph", f"rgb_to_grayscale of {x.dtype}, which {b.writer} scales on the way")
        wide = b.cast(x, dtypes.floating(x.dtype))
        return b.cast(b.call("gray", wide, shape=(x.dim(0), 1, *x.known_shape[2:])), x.dtype)


# ---- sizes and borders


@operation("Resize")
class Resize(Operation, frozen=True, kw_only=True):
    size: list[int]
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5"] = "bilinear"
    antialias: bool = False
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    fill_mode: Literal["constant"] = "constant"
    fill_value: float = 0.0
    data_format: DataFormat = None
    examples = (
        example(on=((6, 5, 3),), size=[4, 7]),
        example(on=((3, 6, 5),), size=[4, 7], interpolation="nearest", **FIRST),
        example(on=((6, 5, 3),), size=[3, 2], antialias=True),
        *(example(on=((6, 5, 3),), size=[3, 7], interpolation=i) for i in ("bicubic", "area", "lanczos3", "lanczos5")),
        example(on=((8, 5, 3),), size=[4, 4], crop_to_aspect_ratio=True),
        example(on=((8, 5, 3),), size=[4, 4], pad_to_aspect_ratio=True, fill_value=2.0),
        example(on=((6, 5, 3),), dtype="int32", size=[4, 7], interpolation="nearest"),
    )

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = tensors(b, images)
        if x.dtype in dtypes.FLOATS:
            return on_planes(b, x, self.data_format, lambda p: self._resized(b, p))
        nearest = self.interpolation == "nearest"  # it alone keeps whole numbers, which float64 holds
        if not nearest and b.rule("resize_of_integers") == "integers":
            raise refusal("unsupported-graph", f"{self.interpolation} resize of {x.dtype}, which {b.writer} cuts off")
        wide = b.cast(x, "float64" if nearest else dtypes.FLOATX)
        y = on_planes(b, wide, self.data_format, lambda p: self._resized(b, p))
        return b.cast(y, x.dtype) if nearest else y

    def _resized(self, b: Builder, x: Value) -> Value:
        if self.crop_to_aspect_ratio or self.pad_to_aspect_ratio:
            x = self._in_ratio(b, x)
        return resized(b, x, list(self.size), self.interpolation, antialias=self.antialias)

    def _in_ratio(self, b: Builder, x: Value) -> Value:
        """Cropped or filled to the ratio of the new size, in TensorFlow's float32."""
        h, w = x.known_shape[2:]
        if h is None or w is None:
            raise refusal("unsupported-graph", "resize that keeps the aspect ratio of an image of unknown size")
        wanted = (
            int(np.float32(w * self.size[0]) / np.float32(self.size[1])),
            int(np.float32(h * self.size[1]) / np.float32(self.size[0])),
        )
        if self.crop_to_aspect_ratio:
            sizes = [max(min(n, m), 1) for n, m in zip((h, w), wanted, strict=True)]
            starts = [(n - m) // 2 for n, m in zip((h, w), sizes, strict=True)]
            shape = (*x.known_shape[:2], *sizes)
            return b.call("slice_at", x, shape=shape, starts=[0, 0, *starts], sizes=[-1, -1, *sizes])
        sides = [max(m - n, 0) // 2 for n, m in zip((h, w), wanted, strict=True)]
        shape = (*x.known_shape[:2], h + 2 * sides[0], w + 2 * sides[1])
        widths = [sides[1], sides[1], sides[0], sides[0]]
        return b.call("fill_around", x, shape=shape, widths=widths, value=self.fill_value)


class Bordered(Operation, frozen=True, kw_only=True):
    """What is not given follows from the target's size."""

    target_height: int | None = None
    target_width: int | None = None
    data_format: DataFormat = None

    def sides(self, x: Value, given: list[int | None], sign: int) -> list[int]:
        """Before and after, of rows and of columns. sign: 1 where they are added, -1 where they are taken away."""
        found: list[int] = []
        for i, target in enumerate((self.target_height, self.target_width)):
            before, after, n = given[2 * i], given[2 * i + 1], x.dim(2 + i)
            if before is None or after is None:
                if target is None or n is None or (before is None and after is None):
                    raise refusal("unsupported-graph", "borders of an image whose size is not in the file")
                total = sign * (target - n)
                before, after = (before, total - before) if before is not None else (total - (after or 0), after or 0)
            elif target is not None and n is not None and target != n + sign * (before + after):
                after = sign * (target - n) - before
            found += [before, after]
        if min(found) < 0:
            raise refusal("bad-config", f"borders of negative width {found}")
        return found


@operation("PadImages")
class PadImages(Bordered, frozen=True, kw_only=True):
    top_padding: int | None = None
    left_padding: int | None = None
    bottom_padding: int | None = None
    right_padding: int | None = None
    examples = (
        example(on=((6, 5, 3),), top_padding=1, left_padding=2, bottom_padding=3, right_padding=0),
        example(on=((3, 6, 5),), top_padding=1, left_padding=2, target_height=9, target_width=8, **FIRST),
    )

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = tensors(b, images)
        return on_planes(b, x, self.data_format, lambda p: self._padded(b, p))

    def _padded(self, b: Builder, x: Value) -> Value:
        given = [self.top_padding, self.bottom_padding, self.left_padding, self.right_padding]
        top, bottom, left, right = self.sides(x, given, 1)
        h, w = x.known_shape[2:]
        shape = (*x.known_shape[:2], None if h is None else h + top + bottom, None if w is None else w + left + right)
        return b.call("pad_zeros", x, shape=shape, widths=[left, right, top, bottom])


@operation("CropImages")
class CropImages(Bordered, frozen=True, kw_only=True):
    top_cropping: int | None = None
    left_cropping: int | None = None
    bottom_cropping: int | None = None
    right_cropping: int | None = None
    examples = (
        example(on=((6, 5, 3),), top_cropping=1, left_cropping=2, bottom_cropping=3, right_cropping=0),
        example(on=((3, 6, 5),), bottom_cropping=1, left_cropping=2, target_height=4, target_width=3, **FIRST),
    )

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = tensors(b, images)
        return on_planes(b, x, self.data_format, lambda p: self._cropped(b, p))

    def _cropped(self, b: Builder, x: Value) -> Value:
        given = [self.top_cropping, self.bottom_cropping, self.left_cropping, self.right_cropping]
        top, bottom, left, right = self.sides(x, given, -1)
        h, w = x.known_shape[2:]
        shape = (*x.known_shape[:2], None if h is None else h - top - bottom, None if w is None else w - left - right)
        return b.call("cut_around", x, shape=shape, top=top, bottom=bottom, left=left, right=right)


@operation("ExtractPatches")
class ExtractPatches(Operation, frozen=True, kw_only=True):
    """Windows of pixels (or voxels) as channels: (row, column, old channel), the last the fastest."""

    size: int | list[int]
    strides: int | list[int] | None = None
    dilation_rate: int | list[int] = 1
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = None
    examples = (
        example(on=((7, 6, 3),), size=[3, 2]),
        example(on=((7, 6, 3),), size=2, strides=1),
        example(on=((7, 6, 3),), size=[3, 2], strides=[2, 1], padding="same"),
        example(on=((7, 6, 3),), size=2, strides=1, dilation_rate=2, padding="same"),
        example(on=((5, 4, 4, 2),), size=[2, 2, 2]),
    )

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = floats(b, images)
        axes = 3 if isinstance(self.size, list) and len(self.size) == 3 else 2
        return on_planes(b, x, self.data_format, lambda p: self._patches(b, p, axes), axes)

    def _patches(self, b: Builder, x: Value, axes: int) -> Value:
        size = numbers(self.size, axes, "size")
        stride = numbers(self.strides, axes, "strides") if self.strides else size
        dilation = numbers(self.dilation_rate, axes, "dilation_rate")
        steps = lengths(x.known_shape[2:], size, stride, self.padding, dilation)
        channels = x.dim(1)
        if self.padding == "same":
            x = padded_same(b, x, [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)], stride)
        shape = (x.dim(0), None if channels is None else channels * int(np.prod(size)), *steps)
        return b.emit(
            "patches", x, shape=shape, dtype=x.dtype, args={"size": size, "stride": stride, "dilation": dilation}
        )


# ---- filters


@operation("GaussianBlur")
class GaussianBlur(Operation, frozen=True, kw_only=True):
    kernel_size: tuple[int, int] = (3, 3)
    sigma: tuple[float, float] = (1.0, 1.0)
    data_format: DataFormat = None
    examples = (IMAGE, example(on=((3, 6, 5),), kernel_size=[5, 3], sigma=[0.5, 2.0], **FIRST))

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = floats(b, images)
        return on_planes(b, x, self.data_format, lambda p: self._blurred(b, p))

    def _blurred(self, b: Builder, x: Value) -> Value:
        size = numbers(list(self.kernel_size), 2, "kernel_size")
        given = padded_same(b, x, size, [1, 1])
        return b.emit(
            "gaussian_blur", given, shape=x.shape, dtype=x.dtype, args={"size": size, "sigma": list(self.sigma)}
        )


@operation("SobelEdges")
class SobelEdges(Operation, frozen=True, kw_only=True):
    """The change along the rows and along the columns, as a last axis of two."""

    data_format: DataFormat = None
    examples = (IMAGE, FIRST_IMAGE)

    def apply(self, b: Builder, images: Any) -> Value:
        (x,) = floats(b, images)
        if x.rank != 4:
            raise refusal("bad-config", f"sobel_edges on a tensor of {x.rank} axes")
        last = self.data_format != "channels_first"
        return b.call("sobel_edges", x, shape=(*x.known_shape, 2), channels_last=last)


@operation("SSIM")
class SSIM(Operation, frozen=True, kw_only=True):
    """How alike two images are: one number an image."""

    max_val: float = 1.0
    filter_size: int = 11
    filter_sigma: float = 1.5
    k1: float = 0.01
    k2: float = 0.03
    data_format: DataFormat = None
    examples = (
        example(on=((12, 13, 3), (12, 13, 3))),
        example(on=((3, 6, 5), (3, 6, 5)), filter_size=3, filter_sigma=0.7, max_val=2.0, k1=0.1, k2=0.2, **FIRST),
    )

    def apply(self, b: Builder, image1: Any, image2: Any) -> Value:
        one, two = floats(b, image1, image2)
        if one.rank != 4:
            raise refusal("unsupported-graph", "ssim of images without a batch")
        one, two = (channels_to_front(b, x, self.data_format) for x in (one, two))
        args = {
            "size": self.filter_size,
            "sigma": self.filter_sigma,
            "floors": [(self.k1 * self.max_val) ** 2, (self.k2 * self.max_val) ** 2],
        }
        return b.emit("structural_similarity", one, two, shape=(one.dim(0),), dtype=one.dtype, args=args)


# ---- other places


Placing = Literal["nearest", "bilinear"]
Border = Literal["constant", "nearest", "wrap", "reflect"]


def projected(b: Builder, x: Value, transform: Value, how: Placing, border: Border, fill: float) -> Value:
    """(N, C, height, width) by the eight numbers of a projection (tf.raw_ops.ImageProjectiveTransformV3)."""
    args: dict[str, Any] = {"how": how, "border": border, "fill": fill}
    return b.call("project", x, transform, shape=x.shape, **args)


@operation("AffineTransform")
class AffineTransform(Operation, frozen=True, kw_only=True):
    interpolation: Placing = "bilinear"
    fill_mode: Border = "constant"
    fill_value: float = 0
    data_format: DataFormat = None
    _numbers: ClassVar[list[float]] = [1.1, 0.2, -0.7, -0.3, 0.9, 1.3, 0.01, -0.02]
    examples = (
        example(on=((6, 5, 3),), args=["x0", _numbers]),
        example(on=((3, 6, 5),), args=["x0", _numbers], interpolation="nearest", fill_value=2.0, **FIRST),
        example(on=((6, 5, 3),), args=["x0", _numbers], fill_mode="reflect"),
        example(on=((6, 5, 3),), args=["x0", _numbers], fill_mode="wrap"),
        example(on=((6, 5, 3),), args=["x0", _numbers], fill_mode="nearest"),
        example(on=((6, 5, 3), (8,))),
    )

    def apply(self, b: Builder, images: Any, transform: Any) -> Value:
        x, transform = tensors(b, images, transform)
        (x,), transform = floats(b, x), b.cast(transform, "float32")
        if transform.rank == 1:
            transform = b.call("unsqueeze", transform, shape=(1, *transform.known_shape), dim=0)
        how = (self.interpolation, self.fill_mode, self.fill_value)
        return on_planes(b, x, self.data_format, lambda p: projected(b, p, transform, *how))


@operation("PerspectiveTransform")
class PerspectiveTransform(Operation, frozen=True, kw_only=True):
    """The projection that takes the end points to the start points."""

    interpolation: Placing = "bilinear"
    fill_value: float = 0
    data_format: DataFormat = None
    _points: ClassVar[list[Any]] = [[[0, 0], [0, 4], [5, 0], [5, 4]], [[0.4, 1], [0, 3.3], [4, 0.7], [4.9, 4.2]]]
    examples = (
        example(on=((6, 5, 3),), args=["x0", *_points]),
        example(on=((3, 6, 5),), args=["x0", *_points], interpolation="nearest", fill_value=2.0, **FIRST),
    )

    def apply(self, b: Builder, images: Any, start_points: Any, end_points: Any) -> Value:
        x, start, end = tensors(b, images, start_points, end_points)
        (x,) = floats(b, x)
        start, end = b.cast(start, "float32"), b.cast(end, "float32")
        transform = b.call("homography", start, end, shape=(None, 8))
        how: Any = (self.interpolation, "constant", self.fill_value)
        return on_planes(b, x, self.data_format, lambda p: projected(b, p, transform, *how))


@operation("MapCoordinates")
class MapCoordinates(Operation, frozen=True, kw_only=True):
    """The elements at places between: coordinates (axes, ...)."""

    order: Literal[0, 1]
    fill_mode: Literal["constant", "nearest", "wrap", "mirror", "reflect"] = "constant"
    fill_value: float = 0
    examples = tuple(
        example(on=((5, 4),), args=["x0", [[0.0, 1.2, 1.9, -0.6], [1.5, 2.0, 4.2, 0.2], [0.3, 3.4, -0.4, 1.0]]], **o)
        for o in (
            {"order": 1},
            {"order": 0, "fill_value": 2.0},
            {"order": 1, "fill_mode": "nearest"},
            {"order": 1, "fill_mode": "wrap"},
            {"order": 1, "fill_mode": "reflect"},
        )
    )

    def apply(self, b: Builder, inputs: Any, coordinates: Any) -> Value:
        x, at = tensors(b, inputs, coordinates)
        (at,) = floats(b, at)
        if at.dim(0) not in (x.rank, None):
            raise refusal("bad-config", f"coordinates of {at.dim(0)} axes in a tensor of {x.rank}")
        rule = b.rule("map_coordinates")
        mirrored = self.fill_mode in ("mirror", "reflect")
        if (rule == "waves" and mirrored) or (rule == "together" and self.fill_mode == "constant"):
            raise refusal("unsupported-option", f"map_coordinates with the border {self.fill_mode!r} of {b.writer}")
        shape: Shape = at.known_shape[1:]
        args: dict[str, Any] = {"order": self.order, "border": self.fill_mode, "fill": self.fill_value}
        return b.call("elements_between", x, at, shape=shape, **args)


@operation("ScaleAndTranslate")
class ScaleAndTranslate(Operation, frozen=True, kw_only=True):
    spatial_dims: list[int]
    method: Literal["linear", "bilinear", "trilinear", "cubic", "bicubic", "tricubic", "lanczos3", "lanczos5"]
    antialias: bool = True
    examples = tuple(
        example(on=((6, 5, 3),), args=["x0", [3, 4, 7, 3], [0.7, 1.4], [0.5, -1.0]], spatial_dims=[1, 2], **o)
        for o in (
            {"method": "linear"},
            {"method": "cubic", "antialias": False},
            {"method": "lanczos3"},
            {"method": "lanczos5"},
        )
    )

    def apply(self, b: Builder, images: Any, output_shape: Any, scale: Any, translation: Any) -> Value:
        x, scale, translation = floats(b, images, scale, translation)
        if not isinstance(output_shape, list) or len(output_shape) != x.rank:
            raise refusal("unsupported-graph", "scale_and_translate to a shape that is not in the file")
        dims = [d % x.rank for d in self.spatial_dims]
        sizes = [output_shape[d] for d in dims]
        if not all(isinstance(n, int) for n in sizes):
            raise refusal("unsupported-graph", "scale_and_translate to a shape that is not in the file")
        shape = list(x.known_shape)
        for d, n in zip(dims, sizes, strict=True):
            shape[d] = n
        kernel = "linear" if "linear" in self.method else "cubic" if "cubic" in self.method else self.method
        args: dict[str, Any] = {"dims": dims, "sizes": sizes, "kernel": kernel, "antialias": self.antialias}
        return b.call("scale_and_translate", x, scale, translation, shape=tuple(shape), **args)
