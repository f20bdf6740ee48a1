"""A program becomes a module: a closed vocabulary, weights that fit, frozen tensors, inputs by order or by name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from conftest import genuine

import h5port
from h5port.module.program import CallSpec, ModuleSpec, Program, TensorSpec, ValueSpec
from h5port.module.vocabulary import is_typed

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # at these sizes threads cost more than they bring

from h5port.runtime.build import SHIMS, TORCH_MODULES, build  # noqa: E402

DENSE = ModuleSpec(
    type="Linear",
    args={"in_features": 2, "out_features": 3},
    tensors={"weight": TensorSpec((3, 2), "float32"), "bias": TensorSpec((3,), "float32", False)},
)
WEIGHTS = {"dense.weight": torch.arange(6.0).reshape(3, 2), "dense.bias": torch.tensor([1.0, -1.0, 0.5])}


def program(
    module: ModuleSpec = DENSE,
    calls: tuple[CallSpec, ...] = (CallSpec(target="@dense", inputs=("x",), outputs=("y",)),),
    inputs: Any = ("x",),
    outputs: Any = "y",
) -> Program:
    """y = dense(x), or a variant of it."""
    names = dict.fromkeys([*(inputs.values() if isinstance(inputs, dict) else inputs)]) | dict.fromkeys(
        o for c in calls for o in c.outputs
    )
    values = {n: ValueSpec(shape=(None, 2)) for n in names}
    return Program(
        name="m", doc="", inputs=inputs, outputs=outputs, modules={"dense": module}, calls=calls, values=values
    )


def call(target: str, *inputs: str, out: str = "y", **args: Any) -> CallSpec:
    return CallSpec(target=target, inputs=inputs, outputs=(out,), args=args)


def refused(what: Program, weights: dict[str, Any] = WEIGHTS) -> h5port.H5PortError:
    with pytest.raises(h5port.H5PortError) as error:
        build(what, weights)
    assert error.value.code == "bad-output"
    return error.value


# ---- the vocabulary


def shim(**args: Any) -> ModuleSpec:
    return ModuleSpec(type="KerasRNN", args={"input_size": 2, "hidden_size": 3, **args})


@pytest.mark.parametrize("name", ["Nonsense", "Module", "Sequential", "KerasRecurrent.__init__", "functional", ""])
def test_a_module_type_that_is_not_in_the_vocabulary_is_refused(name: str) -> None:
    assert repr(name) in str(refused(program(ModuleSpec(type=name))))


@pytest.mark.parametrize("name", ["nonsense", "torch", "nn", "F", "PackedSequence", "os.system", "eval", ""])
def test_a_function_that_is_not_in_the_vocabulary_is_refused(name: str) -> None:
    assert repr(name) in str(refused(program(calls=(call(name, "x"),))))


def test_a_function_among_the_arguments_of_a_module_comes_from_the_same_vocabulary() -> None:
    assert "'eval'" in str(refused(program(shim(activation={"function": "eval", "args": {}}))))


def test_a_function_among_the_arguments_of_a_module_is_looked_up_with_its_own_arguments() -> None:
    spec = shim(activation={"function": "leaky_relu", "args": {"negative_slope": 0.25}})
    module = build(program(spec), {f"dense.{n}": torch.ones(s) for n, s in _RNN_SHAPES.items()})
    assert module.dense.activation(torch.tensor(-4.0)) == -1.0


_RNN_SHAPES = {"weight_ih_l0": (3, 2), "weight_hh_l0": (3, 3), "bias_ih_l0": (3,), "bias_hh_l0": (3,)}


def test_an_argument_that_a_module_does_not_know_is_refused() -> None:
    refused(program(ModuleSpec(type="Linear", args={"in_features": 2, "out_features": 3, "sparsity": 0.5})))


# ---- weights


def test_weights_that_are_missing_or_too_many_are_refused_by_name() -> None:
    assert "dense.bias" in str(refused(program(), {"dense.weight": WEIGHTS["dense.weight"]}))
    assert "dense.extra" in str(refused(program(), {**WEIGHTS, "dense.extra": torch.zeros(1)}))


def test_weights_of_another_shape_are_refused_by_name() -> None:
    assert "dense.weight" in str(refused(program(), {**WEIGHTS, "dense.weight": torch.zeros(2, 3)}))


def test_the_module_is_in_eval_and_has_the_weights_bit_for_bit() -> None:
    module = build(program(), WEIGHTS)
    assert not module.training
    assert not module.dense.training
    assert module.state_dict().keys() == WEIGHTS.keys()
    assert all(torch.equal(module.state_dict()[n], w) for n, w in WEIGHTS.items())


def test_frozen_tensors_take_no_gradient_and_all_others_do() -> None:
    assert {n: p.requires_grad for n, p in build(program(), WEIGHTS).named_parameters()} == {
        "dense.weight": True,
        "dense.bias": False,
    }


def test_a_frozen_keras_layer_stays_frozen() -> None:
    module = load("keras-2.12-tf2.12/frozen_layers_zip")
    frozen = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert frozen == {f"{layer}.{p}" for layer in ("dense", "batch_normalization") for p in ("weight", "bias")}


# ---- inputs and outputs

X = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])


def test_inputs_come_in_their_order_one_by_one_or_as_a_list_of_tensors_or_arrays() -> None:
    module = build(program(calls=(call("subtract", "a", "b"),), inputs=("a", "b")), WEIGHTS)
    for given in [(X, X + 2), ([X, X + 2],), ((X, X + 2),), (X.numpy(), X.numpy() + 2), (X.tolist(), X + 2)]:
        assert torch.equal(module(*given), torch.full((2, 2), -2.0))


@pytest.mark.parametrize("given", [(), (X,), (X, X, X), ([X],)])
def test_a_wrong_number_of_inputs_is_an_error_that_names_them(given: tuple[Any, ...]) -> None:
    module = build(program(calls=(call("subtract", "left", "right"),), inputs=("left", "right")), WEIGHTS)
    with pytest.raises(TypeError, match=r"2 inputs \(left, right\)"):
        module(*given)


def by_name() -> Any:
    calls = (call("subtract", "a", "b"),)
    return build(program(calls=calls, inputs={"left": "a", "right": "b"}), WEIGHTS)


def test_a_model_of_named_inputs_takes_a_dict_in_any_order() -> None:
    assert torch.equal(by_name()({"right": X + 2, "left": X}), torch.full((2, 2), -2.0))


@pytest.mark.parametrize("given", [(), (X, X), ({"left": X, "right": X}, X)])
def test_a_model_of_named_inputs_says_that_it_takes_one_dict(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="left"):
        by_name()(*given)


def test_a_named_input_that_is_not_given_is_named() -> None:
    with pytest.raises((KeyError, TypeError), match="right"):
        by_name()({"left": X})


def test_outputs_have_the_structure_of_the_program() -> None:
    calls = (call("relu", "x", out="y"), call("tanh", "x", out="z"))
    module = build(program(calls=calls, outputs={"one": "y", "more": ["z", "y"]}), WEIGHTS)
    given = module(X)
    assert list(given) == ["one", "more"]
    assert torch.equal(given["one"], torch.relu(X))
    assert [type(v) for v in given["more"]] == [torch.Tensor, torch.Tensor]
    assert torch.equal(given["more"][0], torch.tanh(X))


def test_an_operand_may_be_a_list_a_number_or_nothing() -> None:
    calls = (
        CallSpec(target="concatenate", inputs=(["x", "x"],), outputs=("y",), args={"dim": 1}),
        CallSpec(target="multiply", inputs=("y", 2), outputs=("z",)),
    )
    assert torch.equal(build(program(calls=calls, outputs="z"), WEIGHTS)(X), torch.cat([X, X], 1) * 2)


def test_a_nested_program_has_its_own_names_and_is_called_like_a_module() -> None:
    inner = program(calls=(call("@dense", "x", out="x2"), call("relu", "x2", out="y")), outputs=["y", "x2"])
    spec = ModuleSpec(type="Program", program=inner)
    outer = program(spec, (CallSpec(target="@dense", inputs=("x",), outputs=("one", "two")),), outputs=["one", "two"])
    module = build(outer, {f"dense.{n}": w for n, w in WEIGHTS.items()})
    one, two = module(X)
    assert torch.equal(two, X @ WEIGHTS["dense.weight"].T + WEIGHTS["dense.bias"])
    assert torch.equal(one, two.relu())
    assert not module.dense.dense.bias.requires_grad


# ---- recurrent fixtures


def load(case_id: str) -> Any:
    case = genuine(case_id)
    return h5port.load(case.source, **case.options)


ONE_BIAS = [
    "keras-2.0.8-tf1.12/bi_lstm_concat",
    "keras-2.2.4-tf1.12/bi_lstm_stack",
    "keras-2.2.4-tf1.12/gru_mask_seq",
    "keras-2.15-tf2.15/bi_lstm_concat_zip",
    "keras-2.8-tf2.8/gru_reset_before",
    "keras-3.15.1-torch/lstm_zero_output_for_mask",
    "tf.keras-2.3-tf2.2/bi_lstm_masked_hard",
]
TWO_BIASES = [
    "keras-2.2.4-tf1.12/bi_cudnnlstm",
    "keras-2.3.1-tf1.15/gru_reset_after_mask",
    "keras-3.15.1-torch/gru_masking_backwards",
]


def second_biases(module: Any) -> list[Any]:
    found = [p for n, p in module.named_parameters() if n.rsplit(".", 1)[-1].startswith("bias_hh")]
    assert found
    return found


@pytest.mark.parametrize("case_id", ONE_BIAS)
def test_the_bias_that_keras_has_not_is_zero_and_frozen(case_id: str) -> None:
    module = load(case_id)
    for bias in second_biases(module):
        assert not bias.any()
        assert not bias.requires_grad
    firsts = [p for n, p in module.named_parameters() if "bias_ih" in n]
    assert all(p.requires_grad for p in firsts)
    assert any(p.any() for p in firsts)


@pytest.mark.parametrize("case_id", TWO_BIASES)
def test_where_keras_has_two_biases_both_train(case_id: str) -> None:
    assert all(bias.requires_grad and bias.any() for bias in second_biases(load(case_id)))


def test_every_parameter_but_the_frozen_bias_gets_a_gradient() -> None:
    module = load("keras-2.2.4-tf1.12/bi_lstm_stack").train()
    ((inputs, _),) = genuine("keras-2.2.4-tf1.12/bi_lstm_stack").calls()
    module(*map(torch.from_numpy, inputs)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == ("bias_hh" in name), name
        assert parameter.grad is None or (parameter.grad.any() and parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("case_id", ["keras-2.2.4-tf1.12/lstm_stateful", "keras-3.15.1-torch/bi_stateful"])
def test_reset_states_starts_a_stateful_model_anew(case_id: str) -> None:
    module, case = load(case_id), genuine(case_id)
    calls = case.calls()
    for _ in range(2):
        with torch.inference_mode():
            outputs = [module(*map(torch.from_numpy, inputs)).numpy() for inputs, _ in calls]
        for got, (_, (expected,)) in zip(outputs, calls, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=case.data["tolerance"])
        module.reset_states()


@pytest.mark.parametrize("name", sorted({**TORCH_MODULES, **SHIMS}.keys() - {"Stub"}))
def test_modules_with_parameters_take_a_dtype_and_no_others(name: str) -> None:
    cls = TORCH_MODULES.get(name) or SHIMS[name]
    arguments = {a for c in cls.__mro__ if "__init__" in vars(c) for a in inspect.signature(c.__init__).parameters}
    assert ("dtype" in arguments) == is_typed(name) or name == "KerasRecurrent"
