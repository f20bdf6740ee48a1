"""Converted recurrent models survive torch.export with a free batch size, and torch.compile; what does not is named."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import genuine

import h5port

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # at these sizes threads cost more than they bring
from torch import nn  # noqa: E402

from h5port.runtime.build import FUNCTIONS, Converted  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights")

# All take (batch, time, 4); time is short, since each step is traced.
FIXTURES = [
    "keras-2.2.4-tf1.12/bi_lstm_stack",
    "keras-2.2.4-tf1.12/gru_mask_seq",
    "keras-2.3.1-tf1.15/bi_gru_mask_seq",
    "tf.keras-2.3-tf2.2/bi_lstm_masked_hard",
    "keras-2.15-tf2.15/bi_lstm_concat_zip",
    "keras-3.15.1-torch/gru_masking_backwards",
    "keras-3.15.1-torch/lstm_zero_output_for_mask",
]
STEPS, FEATURES, UNITS = 2, 4, 3

# Masked forms that torch.export cannot trace: packed sequences, whose sizes hang on the data. They are used where the
# final cell state of an nn.LSTM is wanted under a mask (return_state, stateful); all else is exported.
NOT_EXPORTED = {"run_lstm"}


@pytest.fixture(autouse=True)
def clean_torch() -> Iterator[None]:
    """Torch in its default state; it logs its graphs at length where an export fails."""
    logging.disable(logging.ERROR)
    with torch._dynamo.config.patch(allow_rnn=True):  # torch's own LSTM, GRU and RNN are whole in a graph with this
        yield
    logging.disable(logging.NOTSET)
    torch._dynamo.reset()


def load(case_id: str) -> Any:
    case = genuine(case_id)
    return h5port.load(case.source, **case.options)


def sequences(rows: int) -> Any:
    """Random sequences: wholly valid, masked at the start, at the end, wholly, and so on; 0 is the mask value."""
    x = torch.randn(rows, STEPS, FEATURES, generator=torch.Generator().manual_seed(rows))
    x[1::4, 0] = 0
    x[2::4, 1] = 0
    x[3::4] = 0
    return x


def exported(module: Any, *inputs: Any) -> Any:
    """The exported module, its batch size free."""
    shapes = tuple({0: torch.export.Dim("batch", min=2)} for _ in inputs)
    given = (shapes,) if isinstance(module, Converted) else shapes  # its forward takes *inputs: one argument
    return torch.export.export(module, inputs, dynamic_shapes=given).module()


def compiled(module: Any) -> Any:
    """The compiled module, as one graph; no compiler is needed."""
    return torch.compile(module, backend="eager", fullgraph=True)


def assert_equal(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    if isinstance(expected, list | tuple):
        for mine, theirs in zip(got, expected, strict=True):
            assert_equal(mine, theirs)
    else:
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case_id", FIXTURES)
def test_an_exported_model_gives_the_same_outputs_for_another_batch_size(case_id: str) -> None:
    module = load(case_id)
    assert_equal(exported(module, sequences(3))(sequences(5)), module(sequences(5)))


@pytest.mark.parametrize(
    "case_id", ["tf.keras-2.3-tf2.2/bi_lstm_masked_hard", "keras-3.15.1-torch/gru_masking_backwards"]
)
def test_a_compiled_model_is_one_graph_with_the_same_outputs(case_id: str) -> None:
    module = load(case_id)
    assert_equal(compiled(module)(sequences(5)), module(sequences(5)))


def test_a_time_major_model_is_exported_with_its_batch_in_the_middle() -> None:
    module = load("tf_keras-2.21/lstm_time_major")
    one, two = sequences(3).transpose(0, 1), sequences(5).transpose(0, 1)
    shapes = (({1: torch.export.Dim("batch", min=2)},),)
    assert_equal(torch.export.export(module, (one,), dynamic_shapes=shapes).module()(two), module(two))


class Form(nn.Module):
    """A function on a recurrent module under a mask."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = FUNCTIONS[name]
        self.rnn = getattr(nn, name.removeprefix("run_").upper())(FEATURES, UNITS, batch_first=True)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)

    def forward(self, x: Any, mask: Any) -> Any:
        return self.function(self.rnn, x, mask)


@pytest.mark.parametrize("name", ["run_rnn", *NOT_EXPORTED])
def test_a_masked_form_that_is_in_no_fixture_is_exported_or_named_as_an_exception(name: str) -> None:
    form, one, two = Form(name).eval(), sequences(3), sequences(5)
    given = [(x, (x != 0).any(-1)) for x in (one, two)]
    if name in NOT_EXPORTED:
        with pytest.raises(Exception, match="data-dependent"):
            exported(form, *given[0])
    else:
        assert_equal(exported(form, *given[0])(*given[1]), form(*given[1]))


@pytest.mark.parametrize("way", ["export", "compile"])
def test_a_stateful_model_keeps_its_states_from_call_to_call(way: str) -> None:
    case_id = "keras-3.15.1-tensorflow/lstm_stateful"
    module, again = load(case_id), load(case_id)
    calls = [[torch.from_numpy(a) for a in inputs] for inputs, _ in genuine(case_id).calls()]
    assert len(calls) > 1
    if way == "export":
        other = torch.export.export(module, tuple(calls[0])).module()
    else:
        other = compiled(module)
    for inputs in calls:
        assert_equal(other(*inputs), again(*inputs))
