"""Recurrent layers that torch.nn has not, and the states of stateful ones."""

from __future__ import annotations

import torch
from torch import nn

from h5port.runtime.functions.recurrent import where_it_masks


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
    `each_gate` activates each gate by itself: a softmax goes over one of them. `gate_scale` is what the activation of
    the gates multiplies its input with: done to the weights, it is done once and not at every step.
    `bidirectional` adds the run over the reversed sequence, whose outputs stand at their steps behind those of the
    other. Each tensor of a step has the directions as its first axis, so that both take one operation.
    """

    gates = 1
    states = 1
    order: tuple[int, ...] = (0,)  # of the gates in a step
    blocks: tuple[int, ...] = (1,)  # how many gates a step takes at once

    def __init__(
        self,
        input_size,
        hidden_size,
        bias=True,
        activation=None,
        recurrent_activation=None,
        double=False,
        each_gate=False,
        gate_scale=1,
        bidirectional=False,
        dtype=None,
    ):
        super().__init__()
        self.each_gate, self.gate_scale = each_gate, gate_scale
        self.input_size, self.hidden_size, self.bias, self.double_steps = input_size, hidden_size, bias, double
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.directions = ["_l0", "_l0_reverse"] if bidirectional else ["_l0"]
        wide = self.gates * hidden_size
        for direction in self.directions:
            shapes = {"weight_ih": (wide, input_size), "weight_hh": (wide, hidden_size)}
            shapes |= {"bias_ih": (wide,), "bias_hh": (wide,)} if bias else {}
            for name, shape in shapes.items():
                self.register_parameter(name + direction, nn.Parameter(torch.zeros(shape, dtype=dtype)))

    def extra_repr(self):
        both = ", bidirectional=True" if len(self.directions) > 1 else ""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}{both}"

    def forward(self, x, mask=None, state=None, *, zero_output=False, start_from_state=False):
        """x (N, T, input_size), mask (N, T) -> outputs (N, T, directions * hidden_size), then the final states."""
        given, dtype, mask = state is not None, x.dtype, where_it_masks(mask)
        x = x.double() if self.double_steps else x
        zeros = x.new_zeros(len(self.directions), x.shape[0], self.hidden_size)
        state = [s.to(x.dtype).expand_as(zeros) for s in state] if given else [zeros] * self.states
        before = state[0] if given and start_from_state else zeros
        valid = (
            None if mask is None else torch.stack(self.in_order([mask] * len(self.directions))).unsqueeze(-1).unbind(2)
        )
        recurrent, outputs = self.recurrent(x.dtype), []
        for t, step in enumerate(self.projected(x)):
            new = self.step(step, recurrent, *state)
            if valid is None:
                state, before = new, new[0]
                outputs.append(new[0])
                continue
            state = [torch.where(valid[t], n, s) for n, s in zip(new, state, strict=True)]
            before = torch.where(valid[t], new[0], before)
            outputs.append(torch.where(valid[t], new[0], 0) if zero_output else before)
        y = self.in_order(torch.stack(outputs, 2).to(dtype).unbind(0))
        return [torch.cat(v, -1) if len(v) > 1 else v[0] for v in (y, *(s.to(dtype).unbind(0) for s in state))]

    def in_order(self, runs):
        """One (N, T, ..) for each direction, the second turned round in time."""
        return [v if k == 0 else v.flip(1) for k, v in enumerate(runs)]

    def weights(self, name, dtype):
        """A parameter of all directions, (directions, gates * hidden_size, ..), its gates in the order of a step."""
        weight = torch.stack([getattr(self, name + direction) for direction in self.directions]).to(dtype)
        weight = weight.unflatten(1, (self.gates, -1))[:, list(self.order)]
        if self.gate_scale != 1:
            weight = torch.cat([weight[:, :-1] * self.gate_scale, weight[:, -1:]], 1)
        return weight.flatten(1, 2)

    def projected(self, x):
        """What the input adds to the gates: for each step, a tensor (directions, N, gates) for each block of gates."""
        runs, weights = self.in_order([x] * len(self.directions)), self.weights("weight_ih", x.dtype)
        biases = self.input_bias(x.dtype) if self.bias else [None] * len(runs)
        sums = torch.stack([nn.functional.linear(*of_one) for of_one in zip(runs, weights, biases, strict=True)])
        sizes = [n * self.hidden_size for n in self.blocks]
        return zip(*(block.unbind(2) for block in sums.split(sizes, -1)), strict=True)

    def input_bias(self, dtype):
        """Both biases, where they are added alike."""
        return self.weights("bias_ih", dtype) + self.weights("bias_hh", dtype)

    def recurrent(self, dtype):
        """What a step multiplies its states with, made once: (directions, hidden_size, gates)."""
        return self.weights("weight_hh", dtype).transpose(1, 2)

    def gate(self, x, count):
        """So many gates, activated."""
        sizes = [self.hidden_size] * count
        if self.each_gate:
            return [self.recurrent_activation(gate) for gate in torch.split_with_sizes(x, sizes, -1)]
        return torch.split_with_sizes(self.recurrent_activation(x), sizes, -1)


class KerasLSTM(KerasRecurrent):
    """An LSTM with any activations; gates i f g o as in nn.LSTM."""

    gates = 4
    states = 2
    order = (0, 1, 3, 2)  # i f o g: those of one activation side by side
    blocks = (4,)

    def step(self, x, recurrent, h, c):
        sizes = [3 * self.hidden_size, self.hidden_size]
        gates, g = torch.split_with_sizes(torch.baddbmm(*x, h, recurrent), sizes, -1)
        i, f, o = self.gate(gates, 3)
        c = torch.addcmul(f * c, i, self.activation(g))
        return [o * self.activation(c), c]


class KerasGRU(KerasRecurrent):
    """A GRU with any activations, its reset gate before or after the product; gates r z n as in nn.GRU."""

    gates = 3
    order = (0, 1, 2)
    blocks = (2, 1)

    def __init__(self, *args, reset_after=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.reset_after = reset_after

    def input_bias(self, dtype):
        """Behind the product, the reset gate scales the candidate's second bias, too."""
        given, both = self.weights("bias_ih", dtype), super().input_bias(dtype)
        return torch.cat([both[:, : -self.hidden_size], given[:, -self.hidden_size :]], 1) if self.reset_after else both

    def recurrent(self, dtype):
        gates, candidate = super().recurrent(dtype).split([2 * self.hidden_size, self.hidden_size], -1)
        bias = self.weights("bias_hh", dtype)[:, None, -self.hidden_size :] if self.bias and self.reset_after else None
        return gates, candidate, bias

    def step(self, x, recurrent, h):
        x_gates, x_n = x
        gates, candidate, bias = recurrent
        r, z = self.gate(torch.baddbmm(x_gates, h, gates), 2)
        if self.reset_after:
            n = torch.addcmul(x_n, r, h @ candidate if bias is None else torch.baddbmm(bias, h, candidate))
        else:
            n = torch.baddbmm(x_n, r * h, candidate)
        return [torch.addcmul(z * h, 1 - z, self.activation(n))]


class KerasRNN(KerasRecurrent):
    """A simple recurrent layer with any activation."""

    def step(self, x, recurrent, h):
        return [self.activation(torch.baddbmm(*x, h, recurrent))]
