"""Small, named operations on tuples of arrays, invertible but for those of quantisation and LoRA.

A step takes a tuple of arrays and gives a tuple of arrays: `Split` and `Concat` change how many there are,
all others treat each array alike. A step that only moves elements says so as `move`, on arrays in parts, and copies
nothing; others say what they do as `apply`, on whole arrays. `invert` undoes a step bit for bit; `shapes` computes what
comes out without any data.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from h5port.transform.parts import Array, Part, Parts, Shape, as_array, cut, side_by_side, whole


class Step(msgspec.Struct, frozen=True, tag_field="step"):
    """What all steps offer; `shapes` are those of the arrays that come in."""

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        raise NotImplementedError

    def move(self, arrays: tuple[Parts, ...]) -> tuple[Parts, ...]:
        """What comes out, in parts: views of what comes in where the step only moves elements."""
        return tuple(whole(a) for a in self.apply(tuple(map(as_array, arrays))))

    def apply(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(map(as_array, self.move(tuple(map(whole, arrays)))))

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        """Undo `apply`; `shapes` are those of the arrays that `apply` was given."""
        raise NotImplementedError

    def words(self) -> str:
        """The step as a person would say it."""
        raise NotImplementedError


class Transpose(Step, frozen=True, tag="transpose"):
    axes: tuple[int, ...]

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        for s in shapes:
            _require(sorted(self.axes) == list(range(len(s))), f"{list(self.axes)} are not the axes of {s}")
        return tuple(tuple(s[a] for a in self.axes) for s in shapes)

    def move(self, arrays: tuple[Parts, ...]) -> tuple[Parts, ...]:
        def turn(at: Shape) -> Shape:
            return tuple(at[a] for a in self.axes)

        return tuple(
            Parts(
                turn(given.shape),
                given.dtype,
                tuple(Part(turn(p.start), p.array.transpose(self.axes)) for p in given.parts),
            )
            for given in arrays
        )

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        back = [self.axes.index(i) for i in range(len(self.axes))]
        return tuple(a.transpose(back) for a in arrays)

    def words(self) -> str:
        return "transpose" if self.axes == (1, 0) else f"transpose the axes to {list(self.axes)}"


class Reshape(Step, frozen=True, tag="reshape"):
    shape: Shape

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        for s in shapes:
            fits = math.prod(s) == math.prod(self.shape) and min(self.shape, default=0) >= 0
            _require(fits, f"cannot reshape {s} to {self.shape}")
        return (self.shape,) * len(shapes)

    def apply(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(a.reshape(self.shape) for a in arrays)

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        return tuple(a.reshape(s) for a, s in zip(arrays, shapes, strict=True))

    def words(self) -> str:
        return f"reshape to {list(self.shape)}"


class Flip(Step, frozen=True, tag="flip"):
    axes: tuple[int, ...]

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        for s in shapes:
            once = len(set(self.axes)) == len(self.axes) and all(0 <= a < len(s) for a in self.axes)
            _require(once, f"{list(self.axes)} are not axes of {s}")
        return shapes

    def move(self, arrays: tuple[Parts, ...]) -> tuple[Parts, ...]:
        def turn(given: Parts, part: Part) -> Part:
            ends = zip(given.shape, part.start, part.array.shape, strict=True)
            start = (n - s - m if i in self.axes else s for i, (n, s, m) in enumerate(ends))
            return Part(tuple(start), np.flip(part.array, self.axes))

        return tuple(given.with_parts(given.shape, (turn(given, p) for p in given.parts)) for given in arrays)

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        return self.apply(arrays)

    def words(self) -> str:
        return f"turn round along axis {', '.join(map(str, self.axes))}"


class Blocks(Step, frozen=True, tag="blocks"):
    """Cut an axis into len(order) equal blocks and put them in another order: block i of the result is block
    order[i] of what came in. This is how gates are reordered."""

    axis: int
    order: tuple[int, ...]

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        count = len(self.order)
        _require(count > 0 and sorted(self.order) == list(range(count)), f"{list(self.order)} is no order of blocks")
        for s in shapes:
            _require(0 <= self.axis < len(s), f"{s} has no axis {self.axis}")
            _require(s[self.axis] % count == 0, f"axis {self.axis} of {s} is not made of {count} equal blocks")
        return shapes

    def move(self, arrays: tuple[Parts, ...]) -> tuple[Parts, ...]:
        return tuple(self._reordered(given) for given in arrays)

    def _reordered(self, given: Parts) -> Parts:
        size = given.shape[self.axis] // len(self.order)
        blocks = list(cut(given, self.axis, [size] * len(self.order)))
        return side_by_side([blocks[i] for i in self.order], self.axis)

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        return Blocks(self.axis, tuple(self.order.index(i) for i in range(len(self.order)))).apply(arrays)

    def words(self) -> str:
        return f"reorder the {len(self.order)} gate blocks along axis {self.axis} to {list(self.order)}"


class Split(Step, frozen=True, tag="split"):
    """One array into `parts` equal ones along an axis."""

    axis: int
    parts: int

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require(len(shapes) == 1, f"one array is cut, not {len(shapes)}")
        (s,) = shapes
        _require(0 <= self.axis < len(s), f"{s} has no axis {self.axis}")
        whole = self.parts > 0 and s[self.axis] % self.parts == 0
        _require(whole, f"axis {self.axis} of {s} is not made of {self.parts} equal parts")
        return (_with(s, self.axis, s[self.axis] // self.parts),) * self.parts

    def move(self, arrays: tuple[Parts, ...]) -> tuple[Parts, ...]:
        (given,) = arrays
        return tuple(cut(given, self.axis, [given.shape[self.axis] // self.parts] * self.parts))

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        return (np.concatenate(arrays, self.axis),)

    def words(self) -> str:
        return f"cut axis {self.axis} into {self.parts} equal parts"


class Concat(Step, frozen=True, tag="concat"):
    """Many arrays into one along an axis."""

    axis: int

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require(len(shapes) > 0, "nothing to join")
        first = shapes[0]
        _require(0 <= self.axis < len(first), f"{first} has no axis {self.axis}")
        rest = _with(first, self.axis, 0)
        alike = all(len(s) == len(first) and _with(s, self.axis, 0) == rest for s in shapes)
        _require(alike, f"cannot join {list(shapes)} along axis {self.axis}")
        return (_with(first, self.axis, sum(s[self.axis] for s in shapes)),)

    def move(self, arrays: tuple[Parts, ...]) -> tuple[Parts, ...]:
        return (side_by_side(arrays, self.axis),)

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        (a,) = arrays
        ends = np.cumsum([s[self.axis] for s in shapes])[:-1]
        return tuple(np.split(a, [int(e) for e in ends], self.axis))

    def words(self) -> str:
        return f"join along axis {self.axis}"


class Lossy(Step, frozen=True):
    """A step on an array and what it is changed by. It is not undone."""

    def invert(self, arrays: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        raise ValueError("the result does not give back what it was made of")


class Unpack(Lossy, frozen=True, tag="unpack"):
    """Bytes of two signed 4-bit integers each, the low one first, to `size` integers along the last axis.

    unpack_int4 of keras/src/quantizers/quantizers.py of Keras 3.15.
    """

    size: int

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require(bool(shapes) and len(shapes[0]) > 0, "no array of bytes to unpack")
        _require(shapes[0][-1] == (self.size + 1) // 2, f"{shapes[0]} bytes do not hold {self.size} integers of 4 bits")
        return ((*shapes[0][:-1], self.size), *shapes[1:])

    def apply(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        packed = arrays[0].view(np.uint8)
        both = np.stack((packed & 15, packed >> 4), -1).reshape(*packed.shape[:-1], -1)[..., : self.size]
        return ((both ^ 8).astype(np.int8) - np.int8(8), *arrays[1:])

    def words(self) -> str:
        return "take two integers of 4 bits out of each byte"


class Dequantize(Lossy, frozen=True, tag="dequantize"):
    """Integers divided by their scales: (integers, scales) -> floats.

    The scales are transposed to `axes` and reshaped to `shape`, which broadcasts against the integers.
    """

    axes: tuple[int, ...]
    shape: Shape

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require(len(shapes) == 2, f"integers and scales, not {len(shapes)} arrays")
        integers, scales = shapes
        _require(
            sorted(self.axes) == list(range(len(scales))), f"{list(self.axes)} are not the axes of scales {scales}"
        )
        _require(math.prod(scales) == math.prod(self.shape), f"cannot reshape scales {scales} to {self.shape}")
        alike = len(self.shape) == len(integers) and all(m in (1, n) for m, n in zip(self.shape, integers, strict=True))
        _require(alike, f"scales {self.shape} do not broadcast against {integers}")
        return (integers,)

    def apply(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        integers, scales = arrays
        return (integers.astype(scales.dtype) / scales.transpose(self.axes).reshape(self.shape),)

    def words(self) -> str:
        return "divide the integers by their scales"


class DequantizeGroups(Lossy, frozen=True, tag="dequantize-groups"):
    """(integers, scales, zeros, groups) -> (integers - zero) * scale, with those of each element's group.

    The integers have two axes; `axis` is that of the groups, whose numbers `groups` holds as floats.
    dequantize_with_sz_map of keras/src/quantizers/quantizers.py of Keras 3.15.
    """

    axis: int

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require(
            len(shapes) == 4 and self.axis in (0, 1), f"integers, scales, zeros and groups, not {len(shapes)} arrays"
        )
        integers, scales, zeros, groups = shapes
        fits = len(integers) == len(scales) == 2 and scales == zeros and groups == (integers[self.axis],)
        _require(fits and scales[1 - self.axis] == integers[1 - self.axis], f"scales {scales} do not fit {integers}")
        return (integers,)

    def apply(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        integers, scales, zeros, groups = arrays
        group = groups.astype(np.int64)
        scale, zero = (a.take(group, self.axis) for a in (scales, zeros))
        return ((integers.astype(scales.dtype) - zero.astype(scales.dtype)) * scale,)

    def words(self) -> str:
        return "take the zero of its group from each integer, and multiply it by the scale of its group"


class AddProduct(Lossy, frozen=True, tag="add-product"):
    """(kernel, a, b) -> kernel + scale * a @ b."""

    scale: float

    def shapes(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require(len(shapes) == 3, f"a kernel and two factors, not {len(shapes)} arrays")
        kernel, a, b = shapes
        fits = len(kernel) == len(a) >= 1 and len(b) == 2 and kernel == (*a[:-1], b[1]) and a[-1] == b[0]
        _require(fits, f"the product of factors {a} and {b} is no {kernel}")
        return (kernel,)

    def apply(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        kernel, a, b = arrays
        return (kernel + kernel.dtype.type(self.scale) * (a @ b),)

    def words(self) -> str:
        return f"add {self.scale:g} times the product of the two factors"


AnyStep = Transpose | Reshape | Flip | Blocks | Split | Concat | Unpack | Dequantize | DequantizeGroups | AddProduct


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
