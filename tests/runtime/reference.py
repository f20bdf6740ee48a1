"""Keras' recurrence by its definition: plain loops in float64 numpy, one row and one step at a time.

Weights are in torch's layout: weight_ih (gates * units, in), weight_hh (gates * units, units), two biases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Activation = Callable[[Array], Array]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Cell:
    """One cell: its kind ("LSTM", "GRU" or "RNN"), its weights and its functions."""

    kind: str
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    activation: Activation = np.tanh
    recurrent_activation: Activation = sigmoid
    reset_after: bool = True

    @property
    def units(self) -> int:
        return int(self.weight_hh.shape[1])

    def step(self, x: Array, states: list[Array]) -> list[Array]:
        """The states after one step of one row; the first is the output."""
        return {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.kind](x, *states)

    def _lstm(self, x: Array, h: Array, c: Array) -> list[Array]:
        z = self.weight_ih @ x + self.bias_ih + self.weight_hh @ h + self.bias_hh
        i, f, g, o = np.split(z, 4)
        gate, act = self.recurrent_activation, self.activation
        c = gate(f) * c + gate(i) * act(g)
        return [gate(o) * act(c), c]

    def _gru(self, x: Array, h: Array) -> list[Array]:
        x_r, x_z, x_n = np.split(self.weight_ih @ x + self.bias_ih, 3)
        w_r, w_z, w_n = np.split(self.weight_hh, 3)
        b_r, b_z, b_n = np.split(self.bias_hh, 3)
        r = self.recurrent_activation(x_r + w_r @ h + b_r)
        z = self.recurrent_activation(x_z + w_z @ h + b_z)
        inner = r * (w_n @ h + b_n) if self.reset_after else w_n @ (r * h) + b_n
        return [z * h + (1 - z) * self.activation(x_n + inner)]

    def _rnn(self, x: Array, h: Array) -> list[Array]:
        return [self.activation(self.weight_ih @ x + self.bias_ih + self.weight_hh @ h + self.bias_hh)]


def run(
    cell: Cell,
    x: Array,
    mask: Array | None = None,
    initial: list[Array] | None = None,
    *,
    zero_output: bool = False,
    start_from_state: bool = False,
) -> tuple[Array, list[Array]]:
    """x (N, T, in) -> the outputs of all steps (N, T, units) in the order computed, and the final states (N, units).

    A masked step holds every state. Its output is the one before (before the first valid step zero, or the initial h
    with `start_from_state`), or zero with `zero_output`.
    """
    rows, steps, _ = x.shape
    finals = [np.zeros((rows, cell.units)) for _ in range(STATES[cell.kind])]
    outputs = np.zeros((rows, steps, cell.units))
    for row in range(rows):
        states = [np.zeros(cell.units) if initial is None else initial[k][row] for k in range(len(finals))]
        output = states[0] if start_from_state else np.zeros(cell.units)
        for t in range(steps):
            valid = mask is None or bool(mask[row, t])
            if valid:
                states = cell.step(x[row, t], states)
                output = states[0]
            if valid or not zero_output:
                outputs[row, t] = output
        for final, state in zip(finals, states, strict=True):
            final[row] = state
    return outputs, finals
