"""The passes change how a program is written and never what it computes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h5port.module.passes import drop_same_casts, drop_unread, fold_padding, simplify
from h5port.module.program import EFFECTS, CallSpec, ModuleSpec, Program, TensorSpec, ValueSpec, names_in

MANY = settings(max_examples=40, deadline=None)
DTYPES = ("float32", "int64", "bool")
TENSOR = {"weight": TensorSpec((2,), "float32")}


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Up to eight calls of functions and modules: casts of every kind, effects, values that nobody reads."""
    values = {
        f"x{i}": ValueSpec(dtype=draw(st.sampled_from(DTYPES)), role="input") for i in range(draw(st.integers(1, 2)))
    }
    inputs = list(values)
    kinds = {"plain": {}, "weighted": TENSOR, "memory": {}}
    modules = {n: ModuleSpec(type="Linear", tensors=t) for n, t in kinds.items() if draw(st.booleans())}
    calls = []
    for number in range(draw(st.integers(0, 8))):
        name = st.sampled_from(list(values))
        target = draw(st.sampled_from(["cast", "cast", "relu", "add", "two", "concatenate", "recall", "remember", "@"]))
        operands: tuple[Any, ...] = (draw(name),)
        args: dict[str, Any] = {}
        dtype, outputs = values[operands[0]].dtype, (f"v{number}",)
        if target == "cast":
            dtype = draw(st.sampled_from(DTYPES))
            args = {"to": dtype}
        elif target == "add":
            operands = (*operands, draw(name | st.none()))
        elif target == "two":
            outputs = (f"v{number}", f"w{number}")
        elif target == "concatenate":
            operands = ([draw(name), draw(name)],)
            args = {"dim": 1}
        elif target in ("recall", "remember"):
            operands = ("@memory", *operands)
        elif target == "@":
            target = draw(st.sampled_from(["@plain", "@weighted"]))
        if any(n.startswith("@") and n[1:] not in modules for n in (target, *names_in(operands))):
            continue
        calls.append(CallSpec(target=target, inputs=operands, outputs=outputs, args=args))
        values |= {o: ValueSpec(dtype=dtype) for o in outputs}
    read = st.lists(st.sampled_from(list(values)), min_size=1, max_size=3)
    outputs_of_all: Any = draw(read | st.fixed_dictionaries({"a": read}))
    given_as: Any = draw(st.sampled_from([inputs, {f"key {n}": n for n in inputs}]))
    return Program(
        name="m", doc="", inputs=given_as, outputs=outputs_of_all, modules=modules, calls=tuple(calls), values=values
    )


def meaning(program: Program) -> tuple[Any, list[Any]]:
    """What the outputs are computed from, and the effects in their order. A cast that changes no type is no step,
    unless it is of an input: the caller may give another type than the one expected."""
    known: dict[str, Any] = {n: n for n in names_in(program.inputs)}
    dtypes = {n: v.dtype for n, v in program.values.items()}
    effects = []

    def of(operand: Any) -> Any:
        if isinstance(operand, str):
            return operand if operand.startswith("@") else known[operand]
        if isinstance(operand, dict):
            return {k: of(v) for k, v in operand.items()}
        return [of(o) for o in operand] if isinstance(operand, list | tuple) else operand

    for call in program.calls:
        source = call.inputs[0]
        result: Any = (call.target, of(call.inputs), call.args)
        if call.target == "cast" and not isinstance(known[source], str) and dtypes[source] == call.args["to"]:
            result = known[source]
        for place, output in enumerate(call.outputs):
            known[output] = result if len(call.outputs) == 1 else (place, result)
        if call.target in EFFECTS:
            effects.append(result)
    return of(program.outputs), effects


@pytest.mark.parametrize("change", [simplify, drop_unread, drop_same_casts])
@MANY
@given(program=programs())
def test_a_pass_keeps_what_is_computed_and_every_effect(change: Any, program: Program) -> None:
    assert meaning(change(program)) == meaning(program)


@pytest.mark.parametrize("change", [simplify, drop_unread, drop_same_casts])
@MANY
@given(program=programs())
def test_a_pass_applied_twice_does_no_more(change: Any, program: Program) -> None:
    assert change(change(program)) == change(program)


@MANY
@given(programs())
def test_nothing_is_left_that_nobody_reads(program: Program) -> None:
    after = simplify(program)
    read = [n for c in after.calls for n in names_in(c.inputs)] + list(names_in(after.outputs))
    assert all(c.target in EFFECTS or set(c.outputs) & set(read) for c in after.calls)
    assert set(after.values) == set(names_in(after.inputs)) | {o for c in after.calls for o in c.outputs}


@MANY
@given(programs())
def test_no_cast_to_its_own_type_is_left_but_of_inputs(program: Program) -> None:
    after = simplify(program)
    inputs = set(names_in(after.inputs))
    for call in after.calls:
        if call.target == "cast" and call.inputs[0] not in inputs:
            assert after.values[call.inputs[0]].dtype != call.args["to"]


@MANY
@given(programs())
def test_modules_with_tensors_stay_and_others_only_where_they_are_used(program: Program) -> None:
    after = simplify(program)
    used = {n for c in after.calls for n in (c.target, *names_in(c.inputs))}
    assert set(after.modules) == {n for n, m in program.modules.items() if m.tensors or f"@{n}" in used}
    assert all(after.modules[n] == program.modules[n] for n in after.modules)


@MANY
@given(programs())
def test_a_pass_leaves_the_program_that_it_was_given_and_its_borders(program: Program) -> None:
    before = msgspec.json.encode(program)
    after = simplify(program)
    assert msgspec.json.encode(program) == before
    assert (after.inputs, after.name, after.doc) == (program.inputs, program.name, program.doc)


def chain(*calls: tuple[str, str, str], outputs: list[str], **modules: ModuleSpec) -> Program:
    """x0 (float32), then calls of (target, input, output); a cast is "cast TYPE"."""
    values, found = {"x0": ValueSpec(role="input")}, []
    for target, source, output in calls:
        name, _, to = target.partition(" ")
        found.append(CallSpec(target=name, inputs=(source,), outputs=(output,), args={"to": to} if to else {}))
        values[output] = ValueSpec(dtype=to or values[source].dtype)
    return Program(name="m", doc="", inputs=["x0"], outputs=outputs, modules=modules, calls=tuple(found), values=values)


def test_a_mask_that_nobody_reads_is_never_computed() -> None:
    program = chain(("not_equal_to", "x0", "mask"), ("logical_and", "mask", "both"), ("relu", "x0", "y"), outputs=["y"])
    assert [c.target for c in simplify(program).calls] == ["relu"]
    assert set(simplify(program).values) == {"x0", "y"}


def test_what_remembers_is_kept_with_all_that_it_reads() -> None:
    program = chain(("relu", "x0", "state"), ("remember", "state", "none"), ("relu", "x0", "y"), outputs=["y"])
    assert [c.target for c in simplify(program).calls] == ["relu", "remember", "relu"]


def test_a_cast_to_its_own_type_is_dropped_and_its_readers_read_its_source() -> None:
    program = chain(("relu", "x0", "a"), ("cast float32", "a", "b"), ("cast float32", "b", "c"), outputs=["c"])
    assert [c.target for c in simplify(program).calls] == ["relu"]
    assert simplify(program).outputs == ["a"]


def test_a_cast_of_an_input_is_kept_because_the_caller_may_give_any_type() -> None:
    program = chain(("cast float32", "x0", "a"), ("relu", "a", "y"), outputs=["y"])
    assert simplify(program) == program


def test_a_cast_there_and_back_is_kept_because_it_rounds() -> None:
    program = chain(("relu", "x0", "a"), ("cast int64", "a", "b"), ("cast float32", "b", "y"), outputs=["y"])
    assert simplify(program) == program


@pytest.mark.parametrize(
    ("spec", "stays"),
    [
        (ModuleSpec(type="Linear", tensors=TENSOR), True),
        (ModuleSpec(type="Program", program=chain(outputs=["x0"], m=ModuleSpec(type="Linear", tensors=TENSOR))), True),
        (ModuleSpec(type="Dropout", args={"p": 0.5}), False),
    ],
)
def test_a_module_that_nobody_calls_stays_if_it_has_tensors(spec: ModuleSpec, stays: bool) -> None:
    program = chain(("relu", "x0", "y"), outputs=["y"], unused=spec)
    assert ("unused" in simplify(program).modules) == stays


# ---- padding


def padded_convolution(widths: list[int], calls: int = 1, outputs: tuple[str, ...] = ("y0",), **args: Any) -> Program:
    """Zeros and a convolution that is called so many times, once on the padded value."""
    module = ModuleSpec(type="Conv2d", args={"kernel_size": 3, **args}, tensors=TENSOR)
    pad = CallSpec(target="pad_zeros", inputs=("x",), outputs=("wide",), args={"widths": widths})
    others = [CallSpec(target="@conv", inputs=("x",), outputs=(f"y{i}",)) for i in range(1, calls)]
    first = CallSpec(target="@conv", inputs=("wide",), outputs=("y0",))
    values = {n: ValueSpec() for n in ("x", "wide", *(f"y{i}" for i in range(calls)))}
    return Program(
        name="m",
        doc="",
        inputs=["x"],
        outputs=list(outputs),
        modules={"conv": module},
        calls=(pad, first, *others),
        values=values,
    )


@pytest.mark.parametrize(("widths", "padding"), [([1, 1, 1, 1], 1), ([1, 1, 2, 2], [2, 1]), ([0, 0, 3, 3], [3, 0])])
def test_zeros_alike_on_both_sides_go_into_the_convolution(widths: list[int], padding: Any) -> None:
    program = simplify(padded_convolution(widths))
    assert [c.target for c in program.calls] == ["@conv"]
    assert program.calls[0].inputs == ("x",)
    assert program.modules["conv"].args["padding"] == padding


@pytest.mark.parametrize(
    "program",
    [
        padded_convolution([1, 2, 1, 1]),
        padded_convolution([1, 1, 1, 1], calls=2, outputs=("y0", "y1")),
        padded_convolution([1, 1, 1, 1], outputs=("y0", "wide")),
        padded_convolution([1, 1, 1, 1], padding=2),
    ],
    ids=["other widths", "called twice", "read elsewhere", "padded already"],
)
def test_other_zeros_stay(program: Program) -> None:
    assert fold_padding(program) == program
