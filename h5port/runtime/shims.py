"""Modules for what torch.nn has not, or computes otherwise. `model.py` carries the text of those it needs."""

from __future__ import annotations

import torch
from torch import nn


class Memory(nn.Module):
    """The states of a stateful layer, kept from call to call; `reset` puts them back to zero."""

    def __init__(self, batch_size, sizes, dtype=None):
        super().__init__()
        self.count = len(sizes)
        for i, size in enumerate(sizes):
            self.register_buffer(f"state_{i}", torch.zeros(batch_size, size, dtype=dtype), persistent=False)

    def recall(self, x):
        states = [getattr(self, f"state_{i}").clone() for i in range(self.count)]
        return states if self.count > 1 else states[0]

    def remember(self, *states):
        for i, state in enumerate(states):
            getattr(self, f"state_{i}").copy_(state.detach())

    def reset(self):
        for i in range(self.count):
            getattr(self, f"state_{i}").zero_()


class Stub(nn.Module):
    """Stands for a layer that was not converted: holds its arrays and its config, and names it when called."""

    def __init__(self, name, class_name, problem, config, tensors):
        super().__init__()
        self.name, self.class_name, self.problem, self.config = name, class_name, problem, config
        for tensor, (shape, dtype) in tensors.items():
            self.register_buffer(tensor, torch.empty(shape, dtype=getattr(torch, dtype)))

    def forward(self, *inputs):
        raise NotImplementedError(f"the layer {self.name!r} ({self.class_name}) was not converted: {self.problem}")


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
            r, z = self.recurrent_activation(x[:, : 2 * u] + inner[:, : 2 * u]).chunk(2, -1)
            n = self.activation(x[:, 2 * u :] + r * inner[:, 2 * u :])
        else:
            gates = x[:, : 2 * u] + self.linear(h, "hh", slice(0, 2 * u))
            r, z = self.recurrent_activation(gates).chunk(2, -1)
            n = self.activation(x[:, 2 * u :] + self.linear(r * h, "hh", slice(2 * u, None)))
        return [z * h + (1 - z) * n]


class KerasRNN(KerasRecurrent):
    """A simple recurrent layer with any activation."""

    def step(self, x, h):
        return [self.activation(x + self.linear(h, "hh"))]


class GaussianNoise(nn.Module):
    """Adds noise while training."""

    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev

    def forward(self, x):
        return x + torch.randn_like(x) * self.stddev if self.training else x


class GaussianDropout(nn.Module):
    """Multiplies by noise around 1 while training."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return x * (1 + torch.randn_like(x) * (self.rate / (1 - self.rate)) ** 0.5) if self.training else x


class StdNorm(nn.Module):
    """Batch normalisation of Keras 0.3 along axis 1: (x - mean) / (std + eps). The statistics are not updated."""

    def __init__(self, num_features, eps):
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.empty(num_features)), nn.Parameter(torch.empty(num_features))
        self.register_buffer("running_mean", torch.empty(num_features))
        self.register_buffer("running_std", torch.empty(num_features))

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        mean, std, weight, bias = (
            v.reshape(shape) for v in (self.running_mean, self.running_std, self.weight, self.bias)
        )
        return (x - mean) / (std + self.eps) * weight + bias


class SampleNorm(nn.Module):
    """Batch normalisation of Keras 1 in mode 1: each sample over its last axis; eps outside the root, and inside."""

    def __init__(self, num_features, eps, inner_eps):
        super().__init__()
        self.eps, self.inner_eps = eps, inner_eps
        self.weight, self.bias = nn.Parameter(torch.empty(num_features)), nn.Parameter(torch.empty(num_features))

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = (x.var(-1, unbiased=False, keepdim=True) + self.inner_eps).sqrt()
        return (x - mean) / (std + self.eps) * self.weight + self.bias


class BatchStatNorm(nn.Module):
    """Batch normalisation of Keras 1 in mode 2 along axis 1: always with the statistics of the batch at hand."""

    def __init__(self, num_features, eps):
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.empty(num_features)), nn.Parameter(torch.empty(num_features))

    def forward(self, x):
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


class VarianceScale(nn.Module):
    """x / sqrt(variance + eps) * weight: the mean is not taken out."""

    def __init__(self, shape, dims, eps):
        super().__init__()
        self.dims, self.eps = dims, eps
        self.weight = nn.Parameter(torch.empty(shape))

    def forward(self, x):
        return x * (x.var(self.dims, unbiased=False, keepdim=True) + self.eps).rsqrt() * self.weight


class ShapedPReLU(nn.Module):
    """PReLU with a slope for each element, or shared along some axes."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))

    def forward(self, x):
        return x.clamp_min(0) + self.weight * x.clamp_max(0)


class ParametricSoftplus(nn.Module):
    """softplus(beta * x) * alpha."""

    def __init__(self, shape):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(shape))

    def forward(self, x):
        return nn.functional.softplus(self.beta * x) * self.alpha


class SReLU(nn.Module):
    """Linear in the middle, with other slopes below t_left and above t_left + |t_right|.

    `cap_below` is Theano's reading: what lies below t_left is capped, too.
    """

    def __init__(self, shape, cap_below=False):
        super().__init__()
        self.cap_below = cap_below
        for name in ("t_left", "a_left", "t_right", "a_right"):
            setattr(self, name, nn.Parameter(torch.empty(shape)))

    def forward(self, x):
        width = self.t_right.abs()
        above = x - self.t_left
        low = self.a_left * above
        if self.cap_below:
            low = torch.minimum(low, width)
        middle = torch.where(above > 0, torch.minimum(above, width), low)
        return self.t_left + middle + self.a_right * (above - width).clamp_min(0)
