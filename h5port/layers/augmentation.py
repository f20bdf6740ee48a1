"""Layers that change images by chance while training, and nothing at inference."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.images import images_of
from h5port.layers.pooling import PIXELS


class Augmentation(Layer, frozen=True, kw_only=True):
    """The images themselves. (keras/src/layers/preprocessing/image_preprocessing of Keras 3.15: `if training`.)"""

    mask = "stops"
    trains_by_default = True

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        b.note(f"training differs: {b.layer.class_name} changes nothing here")
        return b.cast(images_of(b, x), b.dtype)


_WARP = "fill_mode fill_value interpolation"

# class -> (its options, which tell what it does while training; the last family that has it)
_CLASSES: dict[str, tuple[str, str]] = {
    "RandomFlip": ("mode", "keras3"),
    "RandomTranslation": (f"height_factor width_factor {_WARP}", "keras3"),
    "RandomRotation": (f"value_range {_WARP}", "keras3"),
    "RandomZoom": (f"height_factor width_factor {_WARP}", "keras3"),
    "RandomHeight": ("interpolation", "tf.keras"),
    "RandomWidth": ("interpolation", "tf.keras"),
    "RandomShear": (f"x_factor y_factor {_WARP}", "keras3"),
    "RandomPerspective": (f"scale {_WARP}", "keras3"),
    "RandomElasticTransform": (f"scale value_range {_WARP}", "keras3"),
    "RandomBrightness": ("value_range", "keras3"),
    "RandomContrast": ("value_range", "keras3"),
    "RandomSaturation": ("value_range", "keras3"),
    "RandomHue": ("value_range", "keras3"),
    "RandomColorJitter": (
        "value_range brightness_factor contrast_factor saturation_factor hue_factor",
        "keras3",
    ),
    "RandomColorDegeneration": ("value_range", "keras3"),
    "RandomGrayscale": ("", "keras3"),
    "RandomInvert": ("value_range", "keras3"),
    "RandomPosterization": ("value_range", "keras3"),
    "RandomSharpness": ("value_range", "keras3"),
    "RandomGaussianBlur": ("kernel_size sigma value_range", "keras3"),
    "RandomErasing": ("scale fill_value value_range", "keras3"),
    "Solarization": ("addition_factor threshold_factor value_range", "keras3"),
    "Equalization": ("value_range bins", "keras3"),
    "CutMix": ("", "keras3"),
    "MixUp": ("alpha", "keras3"),
    "RandAugment": ("value_range num_ops interpolation", "keras3"),
    "AugMix": ("value_range num_chains chain_depth alpha all_ops interpolation", "keras3"),
    "MaxNumBoundingBoxes": ("max_number fill_value", "keras3"),
}

for _name, (_options, _last) in _CLASSES.items():
    _namespace = {
        "inert": frozenset({"factor", "data_format", "bounding_box_format", *_options.split()}),
        "last": _last,
        "examples": (example(on=(PIXELS,)),),
    }
    _class = msgspec.defstruct(_name, [], bases=(Augmentation,), namespace=_namespace, frozen=True, kw_only=True)
    declares(_name)(cast("type[Augmentation]", _class))
