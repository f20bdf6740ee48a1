"""What a quantised layer, or one with LoRA, keeps in the file, and the floats that it computes with.

Sources: `variable_serialization_spec`, `_int8_call`, `_int4_call` and `_float8_call` of
keras/src/layers/core/{dense,einsum_dense,embedding}.py, and keras/src/quantizers/quantizers.py, of Keras 3.15. int8 is
the same since Keras 3.3; the int4 of earlier releases is packed otherwise, and refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.layers.builder import Builder, Tensor, Value
from h5port.module.program import Shape
from h5port.schema.graph import LayerConfig
from h5port.schema.needs import Variable
from h5port.transform.recipe import Source
from h5port.transform.steps import AddProduct, AnyStep, Dequantize, DequantizeGroups, Unpack

# The variables of float8 that are there beside the layer's own; the gradients use the last three.
FLOAT8 = (
    "inputs_scale",
    "inputs_amax_history",
    "kernel_scale",
    "kernel_amax_history",
    "outputs_grad_scale",
    "outputs_grad_amax_history",
)


def family_of(mode: str) -> str:
    """'int8', 'float8', 'int4' for "int4/128" and "int4/-1"; any other mode as it is."""
    return "int4" if re.fullmatch(r"int4/(-1|\d+)", mode) else "unknown int4" if mode == "int4" else mode


def block_size(mode: str) -> int:
    """How many inputs share a scale in a mode "int4/N"; -1: all of them."""
    return int(mode.partition("/")[2])


def as_stored(kernels: tuple[str, ...], config: LayerConfig, variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """The variables of a layer in its mode of quantisation or with LoRA; `kernels` are those that these change."""
    if config.quantization is not None:
        return _quantised(kernels, config.quantization, variables)
    return _with_lora(kernels, variables) if config.options.get("lora_rank") is not None else variables


def _with_lora(kernels: tuple[str, ...], variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """The kernel is frozen. Stores by paths hold it merged; those by names hold the two factors beside it."""
    kept = [msgspec.structs.replace(v, trainable=v.trainable and v.name not in kernels) for v in variables]
    factors = [f"lora_{v.name}_{part}" for v in variables if v.name in kernels for part in "ab"]
    return (*kept, *(Variable(n, None, True, optional=True) for n in factors))


def _quantised(kernels: tuple[str, ...], mode: str, variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """Integers are never trained; what makes floats of them comes last."""
    if family_of(mode) == "float8":
        return (*variables, *(Variable(n) for n in FLOAT8))
    whole = mode == "int8"  # of packed integers the stored shape is another
    kept = [
        v
        if v.name not in kernels
        else msgspec.structs.replace(v, trainable=False, shape=v.shape if whole else (None,) * len(v.shape or ()))
        for v in variables
    ]
    added = []
    for name in (v.name for v in variables if v.name in kernels):
        added.append(Variable(f"{name}_scale", None, False))
        if family_of(mode) == "int4" and block_size(mode) > 0:
            added += [Variable(f"{name}_zero", None, False), Variable("g_idx", None, False)]
    return (*kept, *added)


def kernel(
    b: Builder, variable: str, shape: Shape, axis: int, layout: tuple[tuple[int, ...], tuple[int, ...]] | None = None
) -> Tensor:
    """The stored array of a variable; where the layer is quantised to integers, the floats that they stand for.

    axis    has a scale for each of its elements
    layout  of the scales of int8, where that does not tell it: the axes to transpose them to, and the shape to give
            them, which broadcasts against the array
    """
    mode = b.layer.quantization
    if mode is None or mode == "float8":
        return _merged(b, variable, b.stored(variable, shape))
    b.note(f"{variable} is quantised ({mode}): the floats made of it are exact, but no longer its bits")
    sources = _sources(b, variable, f"{variable}_scale")
    scale = b.array(f"{variable}_scale")
    usual = tuple(scale.shape[0] if i == axis else 1 for i in range(len(shape)))
    axes, scale_shape = layout or ((0,), usual)
    steps: tuple[AnyStep, ...] = (Dequantize(axes, scale_shape),)
    if mode != "int8":
        columns = shape[-1]
        if columns is None or len(shape) != 2:
            raise refusal("unsupported-option", f"{variable} of {len(shape)} axes in {mode}")
        grouped = block_size(mode) > 0
        steps = (Unpack(columns), DequantizeGroups(1 - axis) if grouped else steps[0])
        sources = _sources(b, variable, f"{variable}_scale", f"{variable}_zero", "g_idx") if grouped else sources
    return _checked(variable, Tensor(sources, scale.dtype, steps, lossless=False), shape)


def _merged(b: Builder, variable: str, kernel: Tensor) -> Tensor:
    """With the product of LoRA's factors added, where the file holds them: Dense.kernel of Keras 3.15."""
    factors = [f"lora_{variable}_{part}" for part in "ab"]
    if not all(b.has(f) for f in factors):
        return kernel
    rank, alpha = b.layer.options.get("lora_rank"), b.layer.options.get("lora_alpha")
    scale = float(rank if alpha is None else alpha) / float(rank)  # type: ignore[arg-type]
    b.note(f"{variable} is the stored one with LoRA's factors added, as Keras computes it")
    stored = [b.array(v) for v in (variable, *factors)]
    sources = tuple(Source(a.path, a.shape) for a in stored)
    return _checked(variable, Tensor(sources, kernel.dtype, (AddProduct(scale),), lossless=False), kernel.shape)


def _sources(b: Builder, *variables: str) -> tuple[Source, ...]:
    found = [b.array(v) for v in variables]
    if found[0].dtype != "int8":
        raise refusal("bad-config", f"the quantised {variables[0]} is stored as {found[0].dtype}, not as int8")
    return tuple(Source(a.path, a.shape) for a in found)


def _checked(variable: str, tensor: Tensor, shape: Shape) -> Tensor:
    try:
        fits = all(w is None or w == n for w, n in zip(shape, tensor.shape, strict=True))
    except ValueError as error:
        raise refusal("shape-mismatch", f"what {variable} is made of: {error}") from None
    if not fits:
        raise refusal("shape-mismatch", f"{variable} has the shape {list(tensor.shape)}, {list(shape)} is expected")
    return tensor


def rounded_input(b: Builder, x: Value, dims: Sequence[int] = (-1,)) -> Value:
    """The input as a quantised layer rounds it before use; `dims` are the axes that are summed over."""
    if b.layer.quantization is None:
        return x
    epsilon = _input_epsilon(b.layer)
    if epsilon is None:
        return x
    return b.call("rounded_to_int8", x, shape=x.shape, dims=list(dims), epsilon=epsilon).with_mask(x.mask)


def _input_epsilon(layer: LayerConfig) -> float | None:
    """The epsilon with which the inputs are rounded; None where they are left as they are.

    A config that does not say is one of Keras 3.3 to 3.12, whose int8 always rounds (Dense._int8_build).
    """
    config = layer.options.get("quantization_config")
    if config is None:
        return 1e-7 if layer.quantization == "int8" else None
    quantizers = config.get("config") or {} if isinstance(config, dict) else {}
    for role in ("weight_quantizer", "activation_quantizer"):
        if not _is_usual(quantizers.get(role)):
            raise refusal("unsupported-option", f"the {role} {quantizers[role]}")
    inputs = quantizers.get("activation_quantizer")
    return None if inputs is None else float((inputs.get("config") or {}).get("epsilon", 1e-7))


def _is_usual(quantizer: Any) -> bool:
    """Whether it is none, or the one that Keras itself takes."""
    usual = {"value_range": [-127, 127], "output_dtype": "int8"}
    if not isinstance(quantizer, dict):
        return quantizer is None
    options = quantizer.get("config") or {}
    same = {k: options.get(k, v) for k, v in usual.items()} == usual
    return quantizer.get("class_name") == "AbsMaxQuantizer" and same
