"""Native and shim recurrent forms equal Keras' definition (reference.py) for any mask, state and output rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import GATES, STATES, Array, Cell, run, sigmoid

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # at these sizes threads cost more than they bring
from torch import nn  # noqa: E402

from h5port.runtime.build import FUNCTIONS, SHIMS  # noqa: E402

functions = SimpleNamespace(**FUNCTIONS)
shims = SimpleNamespace(**SHIMS)

IN, UNITS = 3, 4
SETTINGS = settings(max_examples=10, deadline=None)

ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "tanh": (functions.tanh, np.tanh),
    "sigmoid": (functions.sigmoid, sigmoid),
    "relu": (functions.relu, lambda x: np.maximum(x, 0)),
    "hard_sigmoid": (functions.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hard_sigmoid_fifth": (functions.hard_sigmoid_fifth, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "identity": (functions.identity, lambda x: x),
    "softmax": (partial(functions.softmax, dim=-1), lambda x: np.exp(x) / np.exp(x).sum()),  # over one gate
}


@dataclass(frozen=True)
class Native:
    """A torch module and the function that runs it as Keras does."""

    function: str
    module: str
    activation: str = "tanh"

    def build(self, bias: bool = True, bidirectional: bool = False) -> Any:
        options = {"nonlinearity": self.activation} if self.module == "RNN" else {}
        cls = getattr(nn, self.module)
        return randomised(cls(IN, UNITS, bias=bias, batch_first=True, bidirectional=bidirectional, **options))

    def run(self, module: Any, *inputs: Any, **options: Any) -> tuple[Any, list[Any]]:
        result = getattr(functions, self.function)(module, *inputs, **options)
        return (result[0], list(result[1:])) if isinstance(result, tuple) else (result, [])

    def shim(self) -> Any:
        options = {} if self.module == "RNN" else {"recurrent_activation": functions.sigmoid}
        if self.module == "GRU":
            options["reset_after"] = True
        cls = getattr(shims, f"Keras{self.module}")
        return cls(IN, UNITS, activation=getattr(functions, self.activation), dtype=torch.float64, **options)


NATIVES = [
    Native("run_lstm", "LSTM"),
    Native("run_lstm_outputs", "LSTM"),
    Native("run_gru", "GRU"),
    Native("run_rnn", "RNN"),
    Native("run_rnn", "RNN", "relu"),
    Native("run_gru", "RNN", "relu"),
]
natives = pytest.mark.parametrize("native", NATIVES, ids=lambda n: f"{n.function}-{n.module}-{n.activation}")


@dataclass(frozen=True)
class Inputs:
    """What a recurrent layer is called on; `state` None: none is given."""

    x: Array
    mask: Array | None
    states: tuple[Array, Array] | None
    options: dict[str, bool]

    def state(self, kind: str) -> list[Array] | None:
        return None if self.states is None else list(self.states[: STATES[kind]])

    def tensors(self, kind: str) -> tuple[Any, Any, Any]:
        state = self.state(kind)
        return (
            torch.from_numpy(self.x),
            None if self.mask is None else torch.from_numpy(self.mask),
            None if state is None else [torch.from_numpy(s) for s in state],
        )

    def reversed(self) -> Inputs:
        mask = None if self.mask is None else self.mask[:, ::-1].copy()
        return Inputs(self.x[:, ::-1].copy(), mask, self.states, self.options)


def mask_rows(steps: int) -> st.SearchStrategy[list[bool]]:
    """Wholly valid, masked at the start, at the end, in the middle, wholly masked."""
    counts = st.integers(0, steps)
    return st.one_of(
        st.just([True] * steps),
        st.just([False] * steps),
        counts.map(lambda k: [False] * k + [True] * (steps - k)),
        counts.map(lambda k: [True] * k + [False] * (steps - k)),
        st.lists(st.booleans(), min_size=steps, max_size=steps),
    )


@st.composite
def inputs(draw: st.DrawFn, *, masked: bool = False) -> Inputs:
    rows, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    masks = st.lists(mask_rows(steps), min_size=rows, max_size=rows).map(np.array)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    states = rng.uniform(-1, 1, (2, rows, UNITS))
    return Inputs(
        x=rng.uniform(-2, 2, (rows, steps, IN)),
        mask=draw(masks if masked else st.none() | masks),
        states=draw(st.sampled_from([None, (states[0], states[1])])),
        options=draw(st.fixed_dictionaries({"zero_output": st.booleans(), "start_from_state": st.booleans()})),
    )


def randomised(module: Any, seed: int = 0) -> Any:
    """The module in float64 with weights that are all different, both biases included."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.6, 0.6, generator=generator)
    return module


def cell_of(module: Any, suffix: str = "_l0", **functions_: Any) -> Cell:
    """The reference's cell with the weights of a torch module or a shim."""
    kind = type(module).__name__.removeprefix("Keras")
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    weights = {n: getattr(module, n + suffix).detach().numpy() for n in names if hasattr(module, n + suffix)}
    none = np.zeros(GATES[kind] * module.hidden_size)
    return Cell(kind, **{"bias_ih": none, "bias_hh": none, **weights}, **functions_)


def numpy_function(name: str) -> Callable[[Array], Array]:
    return ACTIVATIONS[name][1]


def assert_equal(got: Any, expected: Array) -> None:
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def assert_all_equal(got: tuple[Any, list[Any]], expected: tuple[Array, list[Array]]) -> None:
    """Outputs and final states; a form that gives no states is compared by its outputs."""
    assert_equal(got[0], expected[0])
    for mine, theirs in zip(got[1], expected[1], strict=bool(got[1])):
        assert_equal(mine, theirs)


def run_shim(shim: Any, *inputs: Any, **options: Any) -> tuple[Any, list[Any]]:
    y, *states = shim(*inputs, **options)
    return y, states


# ---- native forms


@natives
@pytest.mark.parametrize("bias", [True, False])
@SETTINGS
@given(given_=inputs())
def test_a_native_layer_computes_the_definition(native: Native, bias: bool, given_: Inputs) -> None:
    module = native.build(bias)
    got = native.run(module, *given_.tensors(native.module), **given_.options)
    cell = cell_of(module, activation=numpy_function(native.activation))
    assert_all_equal(got, run(cell, given_.x, given_.mask, given_.state(native.module), **given_.options))


@natives
@SETTINGS
@given(given_=inputs())
def test_the_backward_weights_run_over_the_reversed_sequence(native: Native, given_: Inputs) -> None:
    module = native.build(bidirectional=True)
    back = given_.reversed()
    got = native.run(module, *back.tensors(native.module), reverse=True, **given_.options)
    cell = cell_of(module, "_l0_reverse", activation=numpy_function(native.activation))
    assert_all_equal(got, run(cell, back.x, back.mask, back.state(native.module), **given_.options))


@natives
@SETTINGS
@given(given_=inputs())
def test_both_runs_together_are_the_bidirectional_module_of_torch(native: Native, given_: Inputs) -> None:
    module = native.build(bidirectional=True)
    x = torch.from_numpy(given_.x)
    forward, backward = native.run(module, x)[0], native.run(module, x.flip(1), reverse=True)[0].flip(1)
    assert_equal(functions.rnn_outputs(module, x), torch.cat([forward, backward], -1).detach().numpy())


@natives
@SETTINGS
@given(given_=inputs())
def test_the_plain_bidirectional_functions_compute_the_definition(native: Native, given_: Inputs) -> None:
    module = native.build(bidirectional=True)
    activation = numpy_function(native.activation)
    forward, _ = run(cell_of(module, activation=activation), given_.x)
    backward, _ = run(cell_of(module, "_l0_reverse", activation=activation), given_.x[:, ::-1])
    ends = [forward[:, -1], backward[:, -1]]
    x = torch.from_numpy(given_.x)
    assert_equal(functions.last_steps(module, x), np.concatenate(ends, -1))
    for got, expected in zip(functions.both_last_steps(module, x), ends, strict=True):
        assert_equal(got, expected)
    for got, expected in zip(functions.rnn_both_outputs(module, x), [forward, backward[:, ::-1]], strict=True):
        assert_equal(got, expected)


def test_the_last_step_is_the_last_of_time() -> None:
    y = torch.arange(24.0).reshape(2, 3, 4)
    assert functions.last_step(y).tolist() == [[8, 9, 10, 11], [20, 21, 22, 23]]


# ---- shims


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"), [("LSTM", {}), ("GRU", {"reset_after": False}), ("GRU", {"reset_after": True})]
)
@SETTINGS
@given(given_=inputs(), names=st.tuples(*[st.sampled_from(sorted(ACTIVATIONS))] * 2))
def test_a_gated_shim_computes_the_definition(
    kind: str, options: dict[str, bool], bias: bool, given_: Inputs, names: tuple[str, str]
) -> None:
    (act, act_np), (gate, gate_np) = (ACTIVATIONS[n] for n in names)
    shim = getattr(shims, f"Keras{kind}")(IN, UNITS, bias, act, gate, each_gate=names[1] == "softmax", **options)
    randomised(shim)
    got = run_shim(shim, *given_.tensors(kind), **given_.options)
    cell = cell_of(shim, activation=act_np, recurrent_activation=gate_np, **options)
    assert_all_equal(got, run(cell, given_.x, given_.mask, given_.state(kind), **given_.options))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bias", [True, False])
@SETTINGS
@given(given_=inputs(), gate_scale=st.sampled_from([1, 1.2]))
def test_a_shim_of_both_directions_computes_both_definitions(
    kind: str, bias: bool, given_: Inputs, gate_scale: float
) -> None:
    gate = {} if kind == "RNN" else {"recurrent_activation": functions.hard_sigmoid, "gate_scale": gate_scale}
    shim = getattr(shims, f"Keras{kind}")(IN, UNITS, bias, functions.tanh, bidirectional=True, **gate)
    randomised(shim)
    x, mask, _ = given_.tensors(kind)
    zero_output = given_.options["zero_output"]
    y, states = run_shim(shim, x, mask, zero_output=zero_output)
    scaled = {} if kind == "RNN" else {"recurrent_activation": lambda v: np.clip(v * gate_scale / 6 + 0.5, 0, 1)}
    scaled |= {"reset_after": False} if kind == "GRU" else {}
    back = given_.reversed()
    runs = [
        run(cell_of(shim, end, **scaled), of.x, of.mask, None, zero_output=zero_output)
        for end, of in (("_l0", given_), ("_l0_reverse", back))
    ]
    assert_equal(y, np.concatenate([runs[0][0], runs[1][0][:, ::-1]], -1))
    for k, state in enumerate(states):
        assert_equal(state, np.concatenate([r[1][k] for r in runs], -1))


@pytest.mark.parametrize("bias", [True, False])
@SETTINGS
@given(given_=inputs(), name=st.sampled_from(sorted(ACTIVATIONS)))
def test_the_simple_shim_computes_the_definition(bias: bool, given_: Inputs, name: str) -> None:
    act, act_np = ACTIVATIONS[name]
    shim = randomised(shims.KerasRNN(IN, UNITS, bias, act))
    got = run_shim(shim, *given_.tensors("RNN"), **given_.options)
    cell = cell_of(shim, activation=act_np)
    assert_all_equal(got, run(cell, given_.x, given_.mask, given_.state("RNN"), **given_.options))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_shim_with_double_steps_gives_the_definition_rounded_once(kind: str) -> None:
    gate = {} if kind == "RNN" else {"recurrent_activation": functions.relu}
    shim = getattr(shims, f"Keras{kind}")(IN, UNITS, activation=functions.relu, double=True, **gate)
    randomised(shim).float()
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3, 12, IN)).astype(np.float32)
    mask = rng.random((3, 12)) < 0.7
    y, *states = shim(torch.from_numpy(x), torch.from_numpy(mask))
    relu = {"activation": numpy_function("relu"), "recurrent_activation": numpy_function("relu")}
    expected_y, expected = run(
        cell_of(shim.double(), **relu, **({"reset_after": False} if kind == "GRU" else {})), x, mask
    )
    for got, wanted in zip([y, *states], [expected_y, *expected], strict=True):
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-7, atol=1e-12)


def test_an_infinite_candidate_stays_infinite_in_a_gru() -> None:
    shim = randomised(
        shims.KerasGRU(IN, UNITS, activation=lambda x: x.sign() * torch.inf, recurrent_activation=torch.sigmoid)
    )
    y, (state,) = run_shim(shim, torch.ones(2, 1, IN, dtype=torch.float64))
    assert torch.isinf(y).all()
    assert torch.isinf(state).all()


def test_a_shim_has_the_tensors_of_the_native_module() -> None:
    for native in NATIVES:
        for bias in (True, False):
            module, shim = native.build(bias), type(native.shim())(IN, UNITS, bias)
            shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (module, shim)]
            assert shapes[0] == shapes[1]


def results(native: Native, module: Any, given_: Inputs) -> tuple[tuple[Any, list[Any]], dict[str, Any]]:
    """(outputs, states) of the native module or of the shim, and the gradient of a sum of all, unlike in each place."""
    run_ = run_shim if isinstance(module, shims.KerasRecurrent) else native.run
    y, states = run_(module, *given_.tensors(native.module), **given_.options)
    loss = sum((v * torch.linspace(0.5, 1.5, v.numel()).reshape(v.shape)).sum() for v in [y, *states])
    module.zero_grad(set_to_none=True)
    loss.backward()
    return (y, states), {n: p.grad for n, p in module.named_parameters()}


@pytest.mark.parametrize("native", [n for n in NATIVES if n.function != "run_lstm_outputs"], ids=lambda n: n.function)
@SETTINGS
@given(given_=inputs())
def test_native_and_shim_with_the_same_activations_agree_in_outputs_and_gradients(
    native: Native, given_: Inputs
) -> None:
    module, shim = native.build(), native.shim()
    shim.load_state_dict(module.state_dict())
    (y, states), gradients = results(native, module, given_)
    (shim_y, shim_states), shim_gradients = results(native, shim, given_)
    assert_all_equal((y, states), (shim_y.detach().numpy(), [s.detach().numpy() for s in shim_states]))
    assert gradients.keys() == shim_gradients.keys()
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        torch.testing.assert_close(gradient, shim_gradients[name], rtol=1e-10, atol=1e-10)


@natives
def test_gradients_are_those_of_finite_differences(native: Native) -> None:
    mask = torch.tensor([[True, True, True], [False, True, False], [False, False, False]])
    module = native.build()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 3, IN, dtype=torch.float64, generator=generator, requires_grad=True)
    state = [
        torch.randn(3, UNITS, dtype=torch.float64, generator=generator, requires_grad=True)
        for _ in range(STATES[native.module])
    ]

    def all_of(x: Any, *rest: Any) -> Any:
        y, states = native.run(module, x, mask, list(rest[: len(state)]), start_from_state=True)
        return (y, *states)

    assert torch.autograd.gradcheck(all_of, (x, *state, *module.parameters()))


# ---- rows


def forms() -> list[Any]:
    """Each native form and each shim as one call, with random weights: (kind, call)."""
    made = {f"{n.function}-{n.module}-{n.activation}": (n.module, partial(n.run, n.build())) for n in NATIVES}
    made |= {f"Keras{n.module}-{n.activation}": (n.module, partial(run_shim, randomised(n.shim()))) for n in NATIVES}
    return [pytest.param(kind, call, id=name) for name, (kind, call) in made.items()]


@pytest.mark.parametrize(("kind", "call"), forms())
@SETTINGS
@given(given_=inputs(masked=True), row=st.integers(0, 3))
def test_a_row_alone_gives_what_it_gives_in_a_batch(
    kind: str, call: Callable[..., Any], given_: Inputs, row: int
) -> None:
    x, mask, state = given_.tensors(kind)
    y, states = call(x, mask, state, **given_.options)
    one = slice(row % len(x), row % len(x) + 1)
    own_state = None if state is None else [s[one] for s in state]
    own_y, own_states = call(x[one], mask[one], own_state, **given_.options)
    assert_all_equal((own_y, own_states), (y[one].detach().numpy(), [s[one].detach().numpy() for s in states]))


@pytest.mark.parametrize(("kind", "call"), forms())
@SETTINGS
@given(given_=inputs(masked=True))
def test_what_stands_in_a_masked_step_never_matters(kind: str, call: Callable[..., Any], given_: Inputs) -> None:
    x, mask, state = given_.tensors(kind)
    y, states = call(x, mask, state, **given_.options)
    other = call(torch.where(mask.unsqueeze(-1), x, torch.nan), mask, state, **given_.options)
    assert_all_equal(other, (y.detach().numpy(), [s.detach().numpy() for s in states]))


@pytest.mark.parametrize(("kind", "call"), forms())
def test_a_wholly_masked_row_keeps_the_state_and_gives_zeros(kind: str, call: Callable[..., Any]) -> None:
    rng = np.random.default_rng(5)
    given_ = Inputs(rng.normal(size=(2, 3, IN)), np.zeros((2, 3), bool), tuple(rng.normal(size=(2, 2, UNITS))), {})
    x, mask, state = given_.tensors(kind)
    y, states = call(x, mask, state)
    assert not y.any()
    assert all(torch.equal(s, before) for s, before in zip(states, state, strict=bool(states)))
    y, states = call(x, mask, state, start_from_state=True)
    assert torch.equal(y, state[0].unsqueeze(1).expand_as(y))
    y, states = call(x, mask)
    assert not y.any()
    assert not any(s.any() for s in states)


# ---- memory


def test_memory_recalls_what_was_remembered_until_it_is_reset() -> None:
    memory = shims.Memory(2, [3, 4], dtype=torch.float64)
    x = torch.zeros(2, 5, IN)
    assert [s.shape for s in functions.recall(memory, x)] == [(2, 3), (2, 4)]
    assert all(s.dtype == torch.float64 and not s.any() for s in functions.recall(memory, x))
    states = [torch.rand(2, n, dtype=torch.float64, requires_grad=True) for n in (3, 4)]
    functions.remember(memory, *states)
    for kept, state in zip(functions.recall(memory, x), states, strict=True):
        assert torch.equal(kept, state)
        assert not kept.requires_grad
    memory.reset()
    assert not any(s.any() for s in functions.recall(memory, x))
    assert all(s.detach().any() for s in states)


def test_memory_of_one_state_recalls_that_state() -> None:
    memory = shims.Memory(2, [3])
    memory.remember(torch.ones(2, 3))
    assert torch.equal(memory.recall(None), torch.ones(2, 3))


def test_memory_is_no_weight() -> None:
    memory = shims.Memory(2, [3, 4])
    assert not memory.state_dict()
    assert not list(memory.parameters())
    assert len(list(memory.buffers())) == 2


def test_a_remembered_state_does_not_change_with_the_tensor_it_came_from() -> None:
    memory, state = shims.Memory(1, [2]), torch.ones(1, 2)
    memory.remember(state)
    state.zero_()
    assert memory.recall(None).all()


def test_a_state_remembered_in_inference_mode_can_be_trained_from_and_reset() -> None:
    memory, weight = shims.Memory(1, [2]), torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        memory.remember(torch.ones(1, 2))
    (memory.recall(None) * weight).sum().backward()
    assert weight.grad.tolist() == [1, 1]
    memory.reset()
    assert not memory.recall(None).any()
