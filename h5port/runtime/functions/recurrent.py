"""Recurrent layers on torch's own modules."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def rnn_outputs(rnn, x):
    return rnn(x)[0]


def last_step(y):
    return y[:, -1]


def first_step(y):
    return y[:, 0]


def halves(y):
    return y.chunk(2, -1)


def last_steps(rnn, x):
    """The last step of each direction's own run: of the backward one that is step 0 in time."""
    forward, backward = rnn(x)[0].chunk(2, -1)
    return torch.cat((forward[:, -1], backward[:, 0]), -1)


def rnn_both_outputs(rnn, x):
    return rnn(x)[0].chunk(2, -1)


def both_last_steps(rnn, x):
    """The last step of each direction's own run: of the backward one that is step 0 in time."""
    forward, backward = rnn(x)[0].chunk(2, -1)
    return forward[:, -1], backward[:, 0]


def direction(rnn, reverse):
    """The weights of one direction of a torch recurrent module."""
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] if rnn.bias else ["weight_ih", "weight_hh"]
    return [getattr(rnn, f"{name}_l0{'_reverse' if reverse else ''}") for name in names]


def where_it_masks(mask):
    """The mask; None if it masks nothing. While a graph is recorded nobody knows, and it is taken to mask something."""
    if mask is None or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return mask
    return None if mask.all() else mask


def valid_first(x, mask):
    """The valid steps moved to the front; and for each step the place of the last valid one so far (-1: none)."""
    valid = mask.to(torch.int64)
    place = valid.cumsum(1) - 1
    target = torch.where(mask, place, place[:, -1:] + (1 - valid).cumsum(1))
    steps = torch.arange(x.shape[1], device=x.device).expand_as(target)
    order = torch.zeros_like(target).scatter(1, target, steps)
    return x.gather(1, order.unsqueeze(-1).expand(-1, -1, x.shape[-1])), place


def back_in_place(y, place, mask, zero_output, start):
    """Outputs at their own steps again: a masked step repeats the one before, or is zero; `start` comes first."""
    held = y.gather(1, place.clamp_min(0).unsqueeze(-1).expand(-1, -1, y.shape[-1]))
    if zero_output:
        return torch.where(mask.unsqueeze(-1), held, 0)
    before = 0 if start is None else start.unsqueeze(1)
    return torch.where((place >= 0).unsqueeze(-1), held, before)


def last_valid(y, place, initial):
    """The state after the last valid step; the initial state in rows that have none."""
    last = place[:, -1]
    state = y.gather(1, last.clamp_min(0)[:, None, None].expand(-1, 1, y.shape[-1])).squeeze(1)
    return torch.where((last < 0).unsqueeze(-1), initial, state)


def run_one(rnn, x, state, reverse):
    """One direction of nn.GRU or nn.RNN from an initial state."""
    run = torch.gru if isinstance(rnn, nn.GRU) else torch.rnn_relu if rnn.nonlinearity == "relu" else torch.rnn_tanh
    return run(x, state.unsqueeze(0), direction(rnn, reverse), rnn.bias, 1, 0.0, rnn.training, False, True)[0]


def run_gru(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    """nn.GRU or nn.RNN as Keras runs it: (outputs of all steps, final state). Masked steps hold the state."""
    initial, mask = x.new_zeros(x.shape[0], rnn.hidden_size) if state is None else state[0], where_it_masks(mask)
    if mask is None:
        y = run_one(rnn, x, initial, reverse)
        return y, y[:, -1]
    x, place = valid_first(x, mask)
    y = run_one(rnn, x, initial, reverse)
    start = initial if start_from_state else None
    return back_in_place(y, place, mask, zero_output, start), last_valid(y, place, initial)


def run_rnn(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    return run_gru(rnn, x, mask, state, reverse=reverse, zero_output=zero_output, start_from_state=start_from_state)


def run_lstm_outputs(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    """nn.LSTM as Keras runs it: the outputs of all steps. Masked steps hold the state."""
    h, c = [x.new_zeros(x.shape[0], rnn.hidden_size)] * 2 if state is None else state
    mask, place = where_it_masks(mask), None
    if mask is not None:
        x, place = valid_first(x, mask)
    states = (h.unsqueeze(0), c.unsqueeze(0))
    y = torch.lstm(x, states, direction(rnn, reverse), rnn.bias, 1, 0.0, rnn.training, False, True)[0]
    return y if mask is None else back_in_place(y, place, mask, zero_output, h if start_from_state else None)


def run_lstm(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    """The same with the final states: (outputs, h, c). Under a mask the steps are packed, for the sake of c."""
    h, c = [x.new_zeros(x.shape[0], rnn.hidden_size)] * 2 if state is None else state
    weights, mask = direction(rnn, reverse), where_it_masks(mask)
    if mask is None:
        states = (h.unsqueeze(0), c.unsqueeze(0))
        y, h, c = torch.lstm(x, states, weights, rnn.bias, 1, 0.0, rnn.training, False, True)
        return y, h[0], c[0]
    front, place = valid_first(x, mask)
    lengths = place[:, -1] + 1
    packed = pack_padded_sequence(front, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False)
    states = tuple(s.index_select(0, packed.sorted_indices).unsqueeze(0) for s in (h, c))
    data, *ends = torch.lstm(packed.data, packed.batch_sizes, states, weights, rnn.bias, 1, 0.0, rnn.training, False)
    y, _ = pad_packed_sequence(PackedSequence(data, *packed[1:]), batch_first=True, total_length=x.shape[1])
    none = (lengths == 0).unsqueeze(-1)
    ends = [torch.where(none, start, e[0].index_select(0, packed.unsorted_indices)) for start, e in zip((h, c), ends)]
    return back_in_place(y, place, mask, zero_output, h if start_from_state else None), *ends


def recall(memory, x):
    return memory.recall(x)


def remember(memory, *states):
    return memory.remember(*states)


def any_nonzero(tensors):
    return torch.stack([t.any() for t in tensors]).any()


def where(condition, x, y):
    return torch.where(condition, x, y)
