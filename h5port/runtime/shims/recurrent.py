"""Recurrent layers that torch.nn has not, and the states of stateful ones."""

from __future__ import annotations

import torch
from torch import nn


class Memory(nn.Module):
    """The states of a stateful layer, kept from call to call; `reset` puts them back to zero."""

    def __init__(self, batch_size, sizes, dtype=None):
        super().__init__()
        self.count = len(sizes)
        for i, size in enumerate(sizes):
            shape = [size] if isinstance(size, int) else size
            self.register_buffer(f"state_{i}", torch.zeros(batch_size, *shape, dtype=dtype), persistent=False)

    def recall(self, x):
        states = [getattr(self, f"state_{i}").clone() for i in range(self.count)]
        return states if self.count > 1 else states[0]

    def remember(self, *states):
        for i, state in enumerate(states):
            getattr(self, f"state_{i}").copy_(state.detach())

    def reset(self):
        for i in range(self.count):
            getattr(self, f"state_{i}").zero_()


class KerasRecurrent(nn.Module):
    """The loop over the steps. A masked step holds every state; its output repeats the one before, or is zero.

    `double` computes the steps in float64: gates without bounds would make rounding errors grow from step to step.
    """

    gates = 1
    states = 1

    def __init__(
        self, input_size, hidden_size, bias=True, activation=None, recurrent_activation=None, double=False, dtype=None
    ):
        super().__init__()
        self.input_size, self.hidden_size, self.bias, self.double_steps = input_size, hidden_size, bias, double
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.weight_ih_l0 = nn.Parameter(torch.empty(self.gates * hidden_size, input_size, dtype=dtype))
        self.weight_hh_l0 = nn.Parameter(torch.empty(self.gates * hidden_size, hidden_size, dtype=dtype))
        if bias:
            self.bias_ih_l0 = nn.Parameter(torch.empty(self.gates * hidden_size, dtype=dtype))
            self.bias_hh_l0 = nn.Parameter(torch.zeros(self.gates * hidden_size, dtype=dtype))

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}"

    def forward(self, x, mask=None, state=None, *, zero_output=False, start_from_state=False):
        """x (N, T, input_size), mask (N, T) -> outputs (N, T, hidden_size), then each final state (N, hidden_size)."""
        given, dtype = state is not None, x.dtype
        x = x.double() if self.double_steps else x
        state = [s.to(x.dtype) for s in state] if given else [x.new_zeros(x.shape[0], self.hidden_size)] * self.states
        projected = self.linear(x, "ih").unbind(1)
        before = state[0] if given and start_from_state else torch.zeros_like(state[0])
        outputs = []
        for t, step in enumerate(projected):
            new = self.step(step, *state)
            if mask is None:
                state, before = new, new[0]
                outputs.append(new[0])
                continue
            valid = mask[:, t].unsqueeze(-1)
            state = [torch.where(valid, n, s) for n, s in zip(new, state, strict=True)]
            before = torch.where(valid, new[0], before)
            outputs.append(torch.where(valid, new[0], 0) if zero_output else before)
        return torch.stack(outputs, 1).to(dtype), *(s.to(dtype) for s in state)

    def linear(self, x, name, rows=slice(None)):
        """x times the rows of a weight matrix, with its bias."""
        weight, bias = getattr(self, f"weight_{name}_l0")[rows], getattr(self, f"bias_{name}_l0", None)
        return nn.functional.linear(x, weight.to(x.dtype), None if bias is None else bias[rows].to(x.dtype))


class KerasLSTM(KerasRecurrent):
    """An LSTM with any activations; gates i f g o as in nn.LSTM."""

    gates = 4
    states = 2

    def step(self, x, h, c):
        i, f, g, o = (x + self.linear(h, "hh")).chunk(4, -1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        return [self.recurrent_activation(o) * self.activation(c), c]


class KerasGRU(KerasRecurrent):
    """A GRU with any activations, its reset gate before or after the product; gates r z n as in nn.GRU."""

    gates = 3

    def __init__(self, *args, reset_after=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.reset_after = reset_after

    def step(self, x, h):
        u = self.hidden_size
        if self.reset_after:
            inner = self.linear(h, "hh")
            r, z = self.gate(x[:, : 2 * u] + inner[:, : 2 * u])
            n = self.activation(x[:, 2 * u :] + r * inner[:, 2 * u :])
        else:
            r, z = self.gate(x[:, : 2 * u] + self.linear(h, "hh", slice(0, 2 * u)))
            n = self.activation(x[:, 2 * u :] + self.linear(r * h, "hh", slice(2 * u, None)))
        return [z * h + (1 - z) * n]

    def gate(self, x):
        """Both gates at once, each by itself: a softmax goes over one of them."""
        return self.recurrent_activation(x.unflatten(-1, (2, self.hidden_size))).unbind(-2)


class KerasRNN(KerasRecurrent):
    """A simple recurrent layer with any activation."""

    def step(self, x, h):
        return [self.activation(x + self.linear(h, "hh"))]
