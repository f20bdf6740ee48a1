"""Functions of TensorFlow that are more than one operation of Keras 3; their parameters are TensorFlow's own.

Sources: the signatures and the documentation of TensorFlow 2.21, those of `compat.v1` beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.layers.base import OPERATIONS
from h5port.layers.builder import Builder, Value
from h5port.layers.catalogue import load
from h5port.ops.image import on_planes
from h5port.ops.operation import axis_of, broadcast_shape, is_number, tensors, values_in
from h5port.schema.graph import SliceValue

FLOATS = ("float32", "float64")


def run(b: Builder, operation: str, *args: Any, **options: Any) -> Any:
    """An operation of Keras 3 on these arguments. Refused if an option has a value that it does not know."""
    load([operation])
    try:
        return msgspec.convert(options, OPERATIONS[operation]).lower(b, *args)
    except msgspec.ValidationError as error:
        raise refusal("unsupported-option", f"an argument of TensorFlow's function: {error}") from None


def same_type(b: Builder, *given: Any) -> list[Value]:
    """The operands as tensors of one type: TensorFlow gives numbers the type of the tensor, and mixes no types."""
    dtype = values_in(given)[0].dtype
    if any(v.dtype != dtype for v in values_in(given)):
        raise refusal("unsupported-graph", f"tensors of the types {[v.dtype for v in values_in(given)]} together")
    return [b.cast(v, dtype) for v in tensors(b, *given)]


def floats_only(b: Builder, *given: Any) -> None:
    for v in values_in(given):
        if v.dtype not in FLOATS:
            raise refusal("unsupported-graph", f"TensorFlow's function of a tensor of the type {v.dtype}")


# ---- elements


def binary(function: str) -> Callable[..., Value]:
    def apply(b: Builder, x: Any, y: Any) -> Value:
        x, y = same_type(b, x, y)
        return b.call(function, x, y, shape=broadcast_shape(x, y))

    return apply


def unary(function: str) -> Callable[..., Value]:
    def apply(b: Builder, x: Any) -> Value:
        floats_only(b, x)
        return b.call(function, x, shape=x.shape)

    return apply


def cast(b: Builder, x: Any, dtype: str) -> Any:
    return run(b, "Cast", x, dtype=dtype)


def bias_add(b: Builder, value: Any, bias: Any, data_format: str | None = None) -> Value:
    value, bias = same_type(b, value, bias)
    if data_format in ("NCHW", "NCW", "NCDHW", "channels_first"):
        sizes = [bias.dim(0) if i == 1 else 1 for i in range(1, value.rank)]
        bias = b.call("reshape_whole", bias, shape=tuple(sizes), dims=sizes)
    return b.call("add", value, bias, shape=value.shape)


def crelu(b: Builder, features: Any, axis: int = -1) -> Value:
    both: Value = run(b, "Concatenate", [features, run(b, "Negative", features)], axis=axis)
    return b.elementwise("relu", both)


def leaky_relu(b: Builder, features: Any, alpha: float = 0.2) -> Any:
    return run(b, "LeakyRelu", features, negative_slope=alpha)


def silu(b: Builder, features: Any, beta: float = 1.0) -> Any:
    if beta != 1.0:
        raise refusal("unsupported-option", f"tf.nn.silu with beta {beta}")
    return run(b, "Silu", features)


# ---- reductions


def running(how: str) -> Callable[..., Value]:
    def apply(b: Builder, x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Value:
        dim = axis_of(axis, x.rank)
        return b.call("running", x, shape=x.shape, dim=dim, how=how, exclusive=exclusive, reverse=reverse)

    return apply


def place(operation: str) -> Callable[..., Value]:
    def apply(
        b: Builder, input: Any, axis: int | None = None, output_type: str = "int64", dimension: int | None = None
    ) -> Value:
        found = run(b, operation, input, axis=axis if axis is not None else dimension or 0)
        return b.cast(found, output_type)

    return apply


def sort(b: Builder, values: Any, axis: int = -1, direction: str = "ASCENDING") -> Any:
    if direction == "ASCENDING":
        return run(b, "Sort", values, axis=axis)
    return run(b, "Negative", run(b, "Sort", run(b, "Negative", values), axis=axis))


def argsort(b: Builder, values: Any, axis: int = -1, direction: str = "ASCENDING", stable: bool = False) -> Any:
    return run(b, "Argsort", values if direction == "ASCENDING" else run(b, "Negative", values), axis=axis)


def norm(b: Builder, tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None, **old: Any) -> Any:
    floats_only(b, tensor)
    keep = bool(keepdims if keepdims is not None else old.pop("keep_dims", None))
    if isinstance(axis, list) and len(axis) > 1 and ord != "euclidean":
        raise refusal("unsupported-option", f"tf.norm of the order {ord} over several axes")
    if ord == "euclidean":
        squares = run(b, "Sum", run(b, "Square", tensor), axis=axis, keepdims=keep)
        return run(b, "Sqrt", squares)
    return run(b, "Norm", tensor, ord=ord, axis=axis, keepdims=keep)


def l2_normalize(b: Builder, x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Value:
    floats_only(b, x)
    squares = run(b, "Sum", run(b, "Square", x), axis=dim if axis is None else axis, keepdims=True)
    return run(b, "Multiply", x, run(b, "Rsqrt", run(b, "Maximum", squares, epsilon)))  # type: ignore[no-any-return]


# ---- shapes


def reshape(b: Builder, tensor: Any, shape: Any) -> Value:
    if not values_in(shape):
        return run(b, "Reshape", tensor, newshape=shape)  # type: ignore[no-any-return]
    if isinstance(shape, Value):
        raise refusal("unsupported-graph", "a reshape to sizes that are computed all at once")
    sizes = tuple(n if is_number(n) and n >= 0 else None for n in shape)
    return b.call("reshape_to", tensor, list(shape), shape=sizes)


def shape(b: Builder, input: Any, out_type: str = "int32") -> Value:
    return b.cast(b.call("sizes_of", input, shape=(input.rank,), dtype="int32"), out_type)


def split(b: Builder, value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None) -> Any:
    if isinstance(num_or_size_splits, int):
        return run(b, "Split", value, indices_or_sections=num_or_size_splits, axis=axis)
    sizes = list(num_or_size_splits)
    if any(not isinstance(n, int) for n in sizes):
        raise refusal("unsupported-graph", "a split into parts whose sizes are computed")
    total = value.dim(axis_of(axis, value.rank))
    if -1 in sizes and total is not None:
        sizes[sizes.index(-1)] = total - sum(n for n in sizes if n != -1)
    if -1 in sizes or (total is not None and sum(sizes) != total):
        raise refusal("unsupported-graph", f"a split of {total} into parts of {num_or_size_splits}")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return run(b, "Split", value, indices_or_sections=ends, axis=axis) if ends else [value]


def pad(b: Builder, tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    fill = [constant_values] if mode.upper() == "CONSTANT" else []
    return run(b, "Pad", tensor, *fill, pad_width=paddings, mode=mode.lower())


def transpose(b: Builder, a: Any, perm: Any = None, conjugate: bool = False) -> Any:
    return run(b, "Transpose", a, axes=perm)


def gather(
    b: Builder, params: Any, indices: Any, validate_indices: Any = None, axis: Any = None, batch_dims: int = 0
) -> Any:
    if batch_dims:
        raise refusal("unsupported-option", f"tf.gather with batch_dims {batch_dims}")
    return run(b, "Take", params, indices, axis=axis or 0)


def one_hot(
    b: Builder,
    indices: Any,
    depth: int,
    on_value: Any = None,
    off_value: Any = None,
    axis: Any = None,
    dtype: Any = None,
) -> Any:
    if (on_value, off_value) != (None, None) or not isinstance(depth, int):
        raise refusal("unsupported-option", "tf.one_hot with values of its own or a computed depth")
    found = run(b, "OneHot", indices, num_classes=depth, axis=-1 if axis is None else axis)
    return b.cast(found, dtype or "float32")


def getitem(b: Builder, tensor: Any, slice_spec: Any, var: Any = None) -> Any:
    keys = slice_spec if isinstance(slice_spec, list) else [slice_spec]
    return run(b, "GetItem", tensor, [_subscript(k) for k in keys])


def _subscript(key: Any) -> Any:
    if isinstance(key, dict) and key.keys() == {"start", "stop", "step"}:
        return SliceValue(key["start"], key["stop"], key["step"])
    if isinstance(key, dict) and key.get("class_name") == "__ellipsis__":
        return ...
    return key


def strided_slice(
    b: Builder,
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: Any = None,
) -> Any:
    """The masks have a bit for each place: tf.strided_slice of TensorFlow 2.21."""
    if values_in([begin, end, strides]):
        raise refusal("unsupported-graph", "a slice whose ends are computed")
    keys: list[Any] = []
    for i, (start, stop, step) in enumerate(zip(begin, end, strides or [1] * len(begin), strict=True)):
        bit = 1 << i
        if ellipsis_mask & bit:
            keys.append(...)
        elif new_axis_mask & bit:
            keys.append(None)
        elif shrink_axis_mask & bit:
            keys.append(start)
        else:
            keys.append(SliceValue(None if begin_mask & bit else start, None if end_mask & bit else stop, step))
    return run(b, "GetItem", input_, keys)


# ---- products


def matmul(
    b: Builder,
    a: Any,
    b_: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
) -> Any:
    x, y = same_type(b, a, b_)
    x = run(b, "Swapaxes", x, axis1=-1, axis2=-2) if transpose_a or adjoint_a else x
    y = run(b, "Swapaxes", y, axis1=-1, axis2=-2) if transpose_b or adjoint_b else y
    return run(b, "Matmul", x, y)


def tensordot(b: Builder, a: Any, b_: Any, axes: Any) -> Any:
    return run(b, "Tensordot", *same_type(b, a, b_), axes=axes)


# ---- images


def adjust_brightness(b: Builder, image: Any, delta: float) -> Any:
    floats_only(b, image)
    return run(b, "Add", image, delta)


def adjust_contrast(b: Builder, images: Any, contrast_factor: float) -> Value:
    floats_only(b, images)
    return b.call("with_contrast", images, shape=images.shape, factor=contrast_factor)


def per_image_standardization(b: Builder, image: Any) -> Value:
    floats_only(b, image)
    return b.call("standardized_images", image, shape=image.shape)


def crop_to_bounding_box(
    b: Builder, image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int
) -> Any:
    rows = SliceValue(offset_height, offset_height + target_height, None)
    columns = SliceValue(offset_width, offset_width + target_width, None)
    return run(b, "GetItem", image, [..., rows, columns, SliceValue(None, None, None)])


def pad_to_bounding_box(
    b: Builder, image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int
) -> Any:
    height, width = image.dim(-3), image.dim(-2)
    if height is None or width is None:
        raise refusal("unsupported-graph", "an image of unknown size is padded to a box")
    after = (target_height - offset_height - height, target_width - offset_width - width)
    if min(*after, offset_height, offset_width) < 0:
        raise refusal("bad-config", f"an image of {height} x {width} does not fit into the box")
    widths = [[0, 0]] * (image.rank - 3) + [[offset_height, after[0]], [offset_width, after[1]], [0, 0]]
    return run(b, "Pad", image, 0, pad_width=widths)


def central_crop(b: Builder, image: Any, central_fraction: float) -> Any:
    """The middle of the image: as much is cut off at each end as int((n - n * fraction) / 2) says."""
    sizes = [image.dim(-3), image.dim(-2)]
    if None in sizes:
        raise refusal("unsupported-graph", "an image of unknown size is cropped")
    starts = [int((n - n * central_fraction) / 2) for n in sizes]
    rows, columns = (SliceValue(s, n - s, None) for s, n in zip(starts, sizes, strict=True))
    return run(b, "GetItem", image, [..., rows, columns, SliceValue(None, None, None)])


def resize_images(
    b: Builder,
    images: Any,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:
    floats_only(b, images)
    if preserve_aspect_ratio:
        raise refusal("unsupported-option", "tf.image.resize that keeps proportions")
    return run(b, "Resize", images, size=size, interpolation=method, antialias=antialias)


def resize_bilinear(
    b: Builder, images: Any, size: Any, align_corners: bool = False, half_pixel_centers: bool = False
) -> Any:
    """ResizeBilinear of TensorFlow 1: without half_pixel_centers, pixel i of the result lies at i * n / m."""
    floats_only(b, images)
    if align_corners:
        raise refusal("unsupported-option", "ResizeBilinear with align_corners")
    if half_pixel_centers:
        return run(b, "Resize", images, size=size, interpolation="bilinear")
    return legacy_bilinear(b, images, size)


def legacy_bilinear(b: Builder, images: Any, size: Any) -> Value:
    weights = {"function": "corner_weights", "args": {}}

    def change(x: Value) -> Value:
        shape = (*x.known_shape[:2], *size)
        return b.call("resize_by_weights", x, shape=shape, size=list(size), weights=weights)

    return on_planes(b, images, None, change)


def rotate_by_quarters(b: Builder, image: Any, k: int = 1) -> Any:
    return run(b, "Rot90", image, k=k, axes=[image.rank - 3, image.rank - 2])


def add_n(b: Builder, inputs: Any) -> Any:
    total = inputs[0]
    for other in inputs[1:]:
        total = run(b, "Add", total, other)
    return total
