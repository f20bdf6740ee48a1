"""Normalisations whose statistics are the input's own: over axes of it, over groups of channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Module, Value
from h5port.layers.core import channels_first
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer


def places_of(axis: int | list[int], rank: int) -> list[int]:
    """The axes of an option, counted from the front, in the order in which the config has them."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    places = [a % rank for a in axes if -rank <= a < rank]
    if not axes or len(set(places)) < len(axes):
        raise refusal("unsupported-option", f"axis {axis} of an input of {rank} axes")
    return places


def scale_and_shift(b: Builder, norm: Module, shape: tuple[int, ...], scale: bool, center: bool) -> None:
    """The arrays gamma and beta, or what stands for them where the layer has none."""
    for ours, theirs, there, otherwise in (("weight", "gamma", scale, 1.0), ("bias", "beta", center, 0.0)):
        if there:
            norm.tensor(ours, b.stored(theirs, shape))
        else:
            norm.constant(ours, shape, otherwise, b.dtype)


@declares("LayerNormalization")
class LayerNormalization(Layer, frozen=True, kw_only=True):
    """Over one or more axes jointly (keras/src/layers/normalization/layer_normalization.py).

    The arrays have the sizes of the axes as the config lists them; Keras reshapes them to the order of the input
    without moving a number.
    """

    axis: int | list[int] = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    rms_scaling: bool = False
    floats_only = True
    examples = (
        example(),
        example(axis=[1, 2]),
        example(scale=False),
        example(center=False),
        example(axis=1),
        example(on=((4,),)),
        example(on=((3, 5, 4),), axis=[1, 3], epsilon=0.1),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.scale or self.rms_scaling:
            yield Variable("gamma")
        if self.center and not self.rms_scaling:
            yield Variable("beta")

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        places = places_of(self.axis, x.rank)
        axes = sorted(places)
        found = dict(zip(places, self._sizes(b, x, places), strict=True))
        sizes = [found[a] for a in axes]
        if self.rms_scaling:
            return self._rms(b, x, found)
        trailing = axes == list(range(x.rank - len(axes), x.rank))
        order = [i for i in range(x.rank) if i not in axes] + axes
        moved = x if trailing else b.call("permute", x, shape=tuple(x.dim(i) for i in order), dims=order)
        norm = b.module("LayerNorm", normalized_shape=sizes, eps=self.epsilon)
        for ours, theirs, there in (("weight", "gamma", self.scale), ("bias", "beta", self.center)):
            if there:
                stored = b.stored(theirs, tuple(found.values()))
                norm.tensor(ours, stored if places == axes else stored.reshape(*sizes))
            else:
                norm.constant(ours, tuple(sizes), float(ours == "weight"), b.dtype)
        y = norm(moved, shape=moved.shape)
        if trailing:
            return y
        return b.call("permute", y, shape=x.shape, dims=[order.index(i) for i in range(x.rank)])

    def _sizes(self, b: Builder, x: Value, places: list[int]) -> tuple[int, ...]:
        """The sizes of the axes, told by the arrays, which the input must fit; by the input where there are none."""
        for array in ("gamma", "beta"):
            if b.has(array):
                return b.stored(array, tuple(x.dim(a) for a in places)).shape
        sizes = tuple(n for n in (x.dim(a) for a in places) if n is not None)
        if len(sizes) < len(places):
            raise refusal("unsupported-graph", "LayerNormalization without weights over an axis of unknown size")
        return sizes

    def _rms(self, b: Builder, x: Value, sizes: dict[int, int]) -> Value:
        """x / sqrt(variance + epsilon) * gamma: the mean is not taken out."""
        shape = [sizes.get(i, 1) for i in range(1, x.rank)]
        norm = b.module("VarianceScale", shape=shape, dims=sorted(sizes), eps=self.epsilon, why="rms_scaling")
        norm.tensor("weight", b.stored("gamma", tuple(sizes.values())).reshape(*shape))
        return norm(x, shape=x.shape)


@declares("GroupNormalization")
class GroupNormalization(Layer, frozen=True, kw_only=True):
    """Each sample over its groups of channels and all axes but the batch; -1 groups: one for each channel
    (keras/src/layers/normalization/group_normalization.py)."""

    groups: int = 32
    axis: int = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    floats_only = True
    examples = (
        example(on=((5, 6),), weights=((6,), (6,)), groups=3),
        example(on=((3, 5, 6),), weights=((6,), (6,)), groups=2, epsilon=0.1),
        example(on=((6, 3, 5),), weights=((6,),), groups=-1, axis=1, center=False),
        example(on=((3, 6, 4),), weights=((6,),), groups=2, axis=-2, scale=False),
        example(on=((6,),), weights=((6,), (6,)), groups=1),
        example(on=((6,),), weights=((6,), (6,)), groups=6),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        if self.scale:
            yield Variable("gamma", (None,))
        if self.center:
            yield Variable("beta", (None,))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        if x.mask is not None and b.rule("group_norm_mask") == "weigh":
            raise refusal(
                "unsupported-graph",
                f"a mask reaches a GroupNormalization: {b.writer} weighs channels by it, not steps, or fails",
            )
        (place,) = places_of(self.axis, x.rank)
        size = self._channels(b, x, place)
        groups = size if self.groups == -1 else self.groups
        if place == 0 or groups < 1 or size % groups:
            raise refusal("unsupported-option", f"{self.groups} groups of axis {self.axis}, which has {size} channels")
        others = [n for i, n in enumerate(x.known_shape) if i not in (0, place)]
        alone = groups == size and all(n in (None, 1) for n in others)
        norm = b.module(
            "LooseGroupNorm" if alone else "GroupNorm",
            num_groups=groups,
            num_channels=size,
            eps=self.epsilon,
            why="torch.nn.GroupNorm refuses one value a group" if alone else None,
        )
        scale_and_shift(b, norm, (size,), self.scale, self.center)
        return channels_first(b, x, lambda v: norm(v, shape=v.shape), -1 if place == x.rank - 1 else place)

    def _channels(self, b: Builder, x: Value, place: int) -> int:
        for array in ("gamma", "beta"):
            if b.has(array):
                return b.stored(array, (x.dim(place),)).shape[0]
        size = x.dim(place)
        if size is None:
            raise refusal("unsupported-graph", "GroupNormalization over an axis of unknown size")
        return size


@declares("UnitNormalization")
class UnitNormalization(Layer, frozen=True, kw_only=True):
    """x / |x| over one or more axes (keras/src/layers/normalization/unit_normalization.py)."""

    axis: int | list[int] = -1
    examples = (example(), example(axis=1), example(axis=[1, 2]), example(on=((3, 5, 4),), axis=[-1, 1]))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        dims = sorted(places_of(self.axis, x.rank))
        return b.elementwise("unit_norm", x, dims=dims, ceiling=b.rule("unit_norm_ceiling"))


@declares("RMSNormalization")
class RMSNormalization(Layer, frozen=True, kw_only=True):
    """x / sqrt(mean(x^2) + epsilon) * scale over the last axes (rms_normalization of Keras 3.15, ops/nn.py)."""

    axis: int | list[int] = -1
    epsilon: float = 1e-6
    mask = "stops"
    floats_only = True
    examples = (
        example(weights=((4,),)),
        example(weights=((7, 4),), axis=[1, 2]),
        example(on=((3, 5, 4),), weights=((5, 4),), axis=[-2, -1], epsilon=0.1),
    )

    def variables(self, writer: Writer) -> Iterator[Variable]:
        yield Variable("scale")

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        x = b.cast(x, b.dtype)
        axes = places_of(sorted(self.axis) if isinstance(self.axis, list) else self.axis, x.rank)
        if axes != list(range(x.rank - len(axes), x.rank)):
            raise refusal(
                "unsupported-option",
                f"RMSNormalization over the axis {self.axis}, not the last: Keras itself fails, or scales another axis",
            )
        scale = b.stored("scale", tuple(x.dim(a) for a in axes))
        norm = b.module("RMSNorm", normalized_shape=list(scale.shape), eps=self.epsilon)
        norm.tensor("weight", scale)
        return norm(x, shape=x.shape)
