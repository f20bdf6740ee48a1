"""Images at another size or with other values: what Keras computes at inference as in training."""

from __future__ import annotations

from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.padding import cropped
from h5port.layers.pooling import PIXELS, of_rank
from h5port.layers.resampling import Interpolation, resized
from h5port.layers.spatial import DataFormat, channels_back, channels_to_front


def images_of(b: Builder, x: Any) -> Value:
    """A batch of images; Keras 3 takes a dict of images and their boxes and labels, too."""
    if not isinstance(x, Value):
        raise refusal("unsupported-graph", f"{b.layer.class_name} of images together with boxes, masks or labels")
    return of_rank(b, x, 2)


@declares("Resizing")
class Resizing(Layer, frozen=True, kw_only=True):
    """tf.image.resize, after the image was cut or padded to the new proportions where that is asked for.

    keras/src/backend/tensorflow/image.py of Keras 3.15, resize.
    """

    height: int
    width: int
    interpolation: Interpolation = "bilinear"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    fill_mode: Literal["constant"] = "constant"
    fill_value: float = 0.0
    antialias: bool = False
    data_format: DataFormat = None
    mask = "stops"
    trains_by_default = True
    inert = frozenset({"bounding_box_format"})
    examples = (
        example(on=(PIXELS,), height=3, width=9),
        example(on=((4, 7, 6),), height=5, width=5, interpolation="nearest", data_format="channels_first"),
        example(on=(PIXELS,), height=3, width=9, interpolation="bicubic", crop_to_aspect_ratio=True),
        example(on=(PIXELS,), height=3, width=9, pad_to_aspect_ratio=True, fill_value=2.0),
        *(
            example(on=(PIXELS,), height=3, width=9, interpolation=i, antialias=True)
            for i in ("bilinear", "bicubic", "lanczos3", "lanczos5")
        ),
        example(on=(PIXELS,), dtype="uint8", height=3, width=9),
    )

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise refusal("unsupported-option", "crop_to_aspect_ratio and pad_to_aspect_ratio at once")
        first = channels_to_front(b, images_of(b, x), self.data_format)
        rule = b.rule("resized_integers")
        nearest = rule == "floating but nearest" and self.interpolation == "nearest"
        rounded = "int" in first.dtype and (rule == "rounded" or nearest)
        y = self._resized(b, b.cast(first, b.dtype), rounded)
        if rounded:
            y = b.call("round_to", y, shape=y.shape, dtype=first.dtype, to=first.dtype)
        return channels_back(b, y, self.data_format)

    def _resized(self, b: Builder, x: Value, rounded: bool) -> Value:
        size = checked_size(self.height, self.width)
        if self.crop_to_aspect_ratio:
            x = cut_to_proportions(b, x, size)
        elif self.pad_to_aspect_ratio:
            shape = (*x.known_shape[:2], None, None)
            x = b.call("pad_to_proportions", x, shape=shape, size=size, value=self.fill_value)
        return resized(b, x, size, self.interpolation, antialias=self.antialias, rounded=rounded)


def checked_size(height: int, width: int) -> list[int]:
    if min(height, width) < 1:
        raise refusal("unsupported-option", f"images of {height} x {width} pixels")
    return [height, width]


def cut_to_proportions(b: Builder, x: Value, size: list[int]) -> Value:
    """The largest part of (N, C, height, width) in the middle that has the proportions of `size`."""
    return b.call("cut_to_proportions", x, shape=(*x.known_shape[:2], *_part(x.known_shape[2:], size)), size=size)


def _part(of: tuple[int | None, ...], size: list[int]) -> tuple[int | None, int | None]:
    rows, columns = of
    if rows is None or columns is None:
        return None, None
    height, width = size
    return max(min(rows, columns * height // width), 1), max(min(columns, rows * width // height), 1)


def resized_smartly(b: Builder, x: Value, size: list[int]) -> Value:
    """smart_resize of Keras: cut to the proportions, then bilinear."""
    return resized(b, cut_to_proportions(b, x, size), size, "bilinear")


@declares("CenterCrop")
class CenterCrop(Layer, frozen=True, kw_only=True):
    """The middle of an image; one that is too small is resized. keras/src/layers/preprocessing of Keras 3.15."""

    height: int
    width: int
    data_format: DataFormat = None
    mask = "stops"
    trains_by_default = True
    inert = frozenset({"bounding_box_format"})
    examples = (
        example(on=(PIXELS,), height=4, width=3),
        example(on=(PIXELS,), height=9, width=3),
        example(on=((4, 7, 6),), height=4, width=3, data_format="channels_first"),
    )

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        first = channels_to_front(b, b.cast(images_of(b, x), b.dtype), self.data_format)
        return channels_back(b, self._middle(b, first), self.data_format)

    def _middle(self, b: Builder, x: Value) -> Value:
        size, sizes = checked_size(self.height, self.width), x.known_shape[2:]
        left = [None if n is None else n - m for n, m in zip(sizes, size, strict=True)]
        if any(n is not None and n < 0 for n in left):
            return resized_smartly(b, x, size)
        if None in left:
            return b.call("center_crop", x, shape=(*x.known_shape[:2], *size), size=size)
        for axis, n in enumerate(left, 2):
            x = cropped(b, x, axis, (n or 0) // 2, (n or 0) - (n or 0) // 2)
        return x


@declares("RandomCrop")
class RandomCrop(Layer, frozen=True, kw_only=True):
    """At inference resized, cut, or left alone: the rule `random_crop` says since when."""

    height: int
    width: int
    data_format: DataFormat = None
    mask = "stops"
    trains_by_default = True
    inert = frozenset({"bounding_box_format", "factor"})
    examples = (
        example(on=(PIXELS,), height=4, width=3),
        example(on=(PIXELS,), height=9, width=3, data_format="channels_first"),
    )

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        b.note("training differs: RandomCrop does what it does at inference")
        images = b.cast(images_of(b, x), b.dtype)
        rule = b.rule("random_crop")
        if rule == "nothing":
            return images
        first = channels_to_front(b, images, self.data_format)
        size = checked_size(self.height, self.width)
        y = resized_smartly(b, first, size) if rule == "resize" else self._corner(b, first, size)
        return channels_back(b, y, self.data_format)

    def _corner(self, b: Builder, x: Value, size: list[int]) -> Value:
        """keras/src/layers/preprocessing/image_preprocessing/random_crop.py of Keras 3.6: it begins where the part of
        the right proportions begins, but is of the size that is asked for."""
        sizes = x.known_shape[2:]
        if None in sizes:
            raise refusal("unsupported-graph", f"RandomCrop on images of unknown size, which {b.writer} refuses too")
        for axis, (n, part, m) in enumerate(zip(sizes, _part(sizes, size), size, strict=True), 2):
            before = ((n or 0) - (part or 0)) // 2
            x = cropped(b, x, axis, before, max((n or 0) - before - m, 0))
        return resized(b, x, size, "bilinear")


@declares("Rescaling")
class Rescaling(Layer, frozen=True, kw_only=True):
    """x * scale + offset; a list has a number for each channel, which are last."""

    scale: float | list[float]
    offset: float | list[float] = 0.0
    mask = "own"
    examples = (
        example(scale=0.5, offset=-1.0),
        example(on=(PIXELS,), dtype="uint8", scale=[0.5, 2.0, 3.0, 1.0], offset=[-1.0, 0.25, 0.5, 0.0]),
    )

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        many = [v for v in (self.scale, self.offset) if isinstance(v, list)]
        if any(len(v) not in (1, x.dim(-1) or len(v)) for v in many):
            raise refusal("unsupported-option", f"Rescaling by {self.scale} and {self.offset} of {x.shape}")
        function = "rescale_channels" if many else "rescale"
        y = b.call(function, b.cast(x, b.dtype), shape=x.shape, scale=self.scale, offset=self.offset)
        return y.with_mask(x.mask if b.rule("rescaling_mask") == "passes" else None)


@declares("AutoContrast")
class AutoContrast(Layer, frozen=True, kw_only=True):
    """Each channel stretched from its least to its largest value over the whole range; a flat one is left alone.

    keras/src/layers/preprocessing/image_preprocessing/auto_contrast.py of Keras 3.15, which takes axes 1 and 2 for
    rows and columns wherever the channels are.
    """

    value_range: tuple[float, float] = (0, 255)
    mask = "stops"
    trains_by_default = True
    inert = frozenset({"bounding_box_format", "data_format", "factor"})
    examples = (example(on=(PIXELS,)), example(on=(PIXELS,), value_range=[0, 1]))

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        if self.value_range[0] >= self.value_range[1]:
            raise refusal("unsupported-option", f"value_range {self.value_range}")
        low, high = self.value_range
        return b.call("auto_contrast", b.cast(images_of(b, x), b.dtype), shape=x.shape, low=low, high=high)
