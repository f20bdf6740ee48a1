"""A `Program` becomes a torch.nn.Module. The vocabulary is closed: names are looked up in three tables."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from h5port.errors import H5PortError, refusal
from h5port.module.program import CallSpec, ModuleSpec, Program, names_in
from h5port.module.vocabulary import TORCH
from h5port.runtime import functions, shims


def _members(package: ModuleType, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """What the files of a package define, by name."""
    files = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return {n: o for f in files for n, o in vars(f).items() if wanted(o) and o.__module__ == f.__name__}


TORCH_MODULES: dict[str, type[nn.Module]] = {name: getattr(nn, name) for name in TORCH}
SHIMS: dict[str, type[nn.Module]] = _members(shims, inspect.isclass)
FUNCTIONS: dict[str, Callable[..., Any]] = _members(functions, inspect.isfunction)
Custom = Mapping[str, Callable[..., nn.Module]]
Tensors = Mapping[str, torch.Tensor]


class Converted(nn.Module):
    """A converted Keras model. `program` says what it computes; submodules are named after the Keras layers.

    It takes the Keras model's inputs in their order (a dict of them if the Keras model does) and gives its outputs in
    their structure.
    """

    def __init__(self, program: Program, tensors: Tensors, custom: Custom | None = None) -> None:
        super().__init__()
        self.program = program
        for name, spec in program.modules.items():
            setattr(self, name, build_module(spec, _below(tensors, name), custom or {}))
        self._steps = [_Step(c, dead) for c, dead in zip(program.calls, _last_uses(program), strict=True)]

    def forward(self, *inputs: Any) -> Any:
        values = self._given(inputs)
        for step in self._steps:
            step.run(self, values)
        return _structure(self.program.outputs, values)

    def _given(self, inputs: tuple[Any, ...]) -> dict[str, Any]:
        names = self.program.inputs
        if isinstance(names, dict):
            if len(inputs) != 1 or not isinstance(inputs[0], Mapping) or not names.keys() <= inputs[0].keys():
                raise TypeError(f"this model takes one dict of the inputs {', '.join(names)}")
            given = inputs[0]
            return {names[k]: self._value(names[k], given[k]) for k in names}
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple) and len(names) > 1:
            inputs = tuple(inputs[0])
        if len(inputs) != len(names):
            raise TypeError(f"this model takes {len(names)} inputs ({', '.join(names)}), {len(inputs)} were given")
        return {n: self._value(n, x) for n, x in zip(names, inputs, strict=True)}

    def _value(self, name: str, given: Any) -> Any:
        """An input as the functions take it: strings as nested lists or arrays of them, everything else as tensors."""
        return given if self.program.values[name].dtype == "string" else _tensor(given)

    def reset_states(self) -> None:
        """Put the states of all stateful layers back to zero."""
        for module in self.modules():
            if isinstance(module, SHIMS["Memory"]):
                module.reset()  # type: ignore[operator]


def _last_uses(program: Program) -> list[list[str]]:
    """For each call the values that nobody needs after it: their memory is given back at once."""
    needed, dead = set(names_in(program.outputs)), []
    for call in reversed(program.calls):
        here = {*names_in(call.inputs), *call.outputs}
        dead.append(sorted(here - needed))
        needed |= here
    return dead[::-1]


class _Step:
    """A call with everything looked up that can be looked up before. `dead` are values that nobody needs after it."""

    def __init__(self, call: CallSpec, dead: list[str]) -> None:
        self.target: str | None = None
        if call.target.startswith("@"):
            self.target = call.target[1:]
        elif call.target not in FUNCTIONS:
            raise _unknown("function", call.target)
        else:
            self.function = FUNCTIONS[call.target]
        self.outputs = call.outputs
        self.args = {k: argument(v) for k, v in call.args.items()}
        self.inputs = call.inputs
        self.dead = dead

    def run(self, owner: nn.Module, values: dict[str, Any]) -> None:
        operands = [_operand(i, owner, values) for i in self.inputs]
        function = self.function if self.target is None else getattr(owner, self.target)
        result = function(*operands, **self.args)
        if len(self.outputs) == 1:
            values[self.outputs[0]] = (
                result[0] if isinstance(result, tuple) and self.target is not None and len(result) == 1 else result
            )
        else:
            values.update(zip(self.outputs, result, strict=True))
        for name in self.dead:
            values.pop(name, None)


def _unknown(kind: str, name: Any) -> H5PortError:
    return refusal(
        "bad-output", f"config.json has a {kind} {name!r}, which this h5port does not have", remedy="use a newer h5port"
    )


def argument(value: Any) -> Any:
    """An argument of the config as Python has it: dtypes by name, functions by name."""
    if isinstance(value, dict) and value.keys() == {"function", "args"}:
        function = FUNCTIONS.get(value["function"])
        if function is None:
            raise _unknown("function", value["function"])
        return functools.partial(function, **value["args"]) if value["args"] else function
    if isinstance(value, str) and value in _DTYPES:
        return getattr(torch, value)
    return value


_DTYPES = frozenset("float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split())


def build_module(spec: ModuleSpec, tensors: Tensors, custom: Custom) -> nn.Module:
    """The module of a spec. Its own tensors are still to be loaded; a replacement of the user's is given them here."""
    if spec.program is not None:
        return Nested(spec.program, tensors, custom)
    if spec.type == "Custom":
        return _replacement(spec, tensors, custom)
    args = spec.args if spec.type == "Stub" else {k: argument(v) for k, v in spec.args.items()}
    cls = TORCH_MODULES.get(spec.type) or SHIMS.get(spec.type)
    if cls is None:
        raise _unknown("module", spec.type)
    try:
        module = cls(**args)
    except TypeError as error:
        raise refusal(
            "bad-output", f"config.json gives a {spec.type} arguments that it does not take: {error}"
        ) from None
    for tensor, of in spec.tensors.items():
        parameter = getattr(module, tensor)
        if isinstance(parameter, nn.Parameter):
            parameter.requires_grad_(of.trainable)
    return module


def _replacement(spec: ModuleSpec, tensors: Tensors, custom: Custom) -> nn.Module:
    name = spec.args["name"]
    if name not in custom:
        raise refusal(
            "unknown-layer",
            f"the layer {name!r} needs the replacement it was converted with",
            remedy=f'@h5port.register("{name}"), or load(..., custom={{"{name}": factory}})',
        )
    return custom[name](spec.args["config"], dict(tensors))


def _below(tensors: Tensors, name: str) -> dict[str, torch.Tensor]:
    return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}


def _custom_names(program: Program, prefix: str = "") -> tuple[str, ...]:
    """The prefixes of tensors that belong to replacements, which take them when they are made."""
    found = [f"{prefix}{n}." for n, m in program.modules.items() if m.type == "Custom"]
    inner = [_custom_names(m.program, f"{prefix}{n}.") for n, m in program.modules.items() if m.program is not None]
    return (*found, *(n for names in inner for n in names))


class Nested(Converted):
    """A nested model: takes its inputs and gives its outputs as plain tuples."""

    def forward(self, *inputs: Any) -> Any:
        values = dict(zip(self.program.inputs, inputs, strict=True))
        for step in self._steps:
            step.run(self, values)
        return tuple(values[n] for n in names_in(self.program.outputs))


def build(program: Program, tensors: Tensors, custom: Custom | None = None) -> Converted:
    """The module in eval(), with its weights. Raises H5PortError if the tensors do not fit the program."""
    module = Converted(program, tensors, custom)
    given = _custom_names(program)
    own = {n: t for n, t in tensors.items() if not n.startswith(given)} if given else dict(tensors)
    try:
        missing, unexpected = module.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise refusal("bad-output", f"the weights do not fit the config: {error}") from None
    missing = [n for n in missing if not (given and n.startswith(given))]
    if missing or unexpected:
        raise refusal("bad-output", f"the weights do not fit the config: missing {missing}, unexpected {unexpected}")
    return module.eval()


def _operand(operand: Any, owner: nn.Module, values: dict[str, Any]) -> Any:
    if isinstance(operand, str):
        return getattr(owner, operand[1:]) if operand.startswith("@") else values[operand]
    if isinstance(operand, list | tuple):
        return [_operand(o, owner, values) for o in operand]
    return operand


def _structure(names: Any, values: dict[str, Any]) -> Any:
    if isinstance(names, dict):
        return {k: _structure(v, values) for k, v in names.items()}
    if isinstance(names, list | tuple):
        return [_structure(v, values) for v in names]
    return values[names]


def _tensor(value: Any) -> Any:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
