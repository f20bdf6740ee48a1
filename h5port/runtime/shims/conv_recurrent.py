"""The convolutional LSTM."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class KerasConvLSTM(nn.Module):
    """An LSTM whose products are convolutions; gates i f g o as in nn.LSTM. `pads` and `state_pads` are the zeros
    around an input and around a state as F.pad takes them. A masked step holds both states, as in KerasLSTM."""

    def __init__(
        self, in_channels, out_channels, kernel_size, pads, state_pads, stride, dilation, channels_last,
        bias=True, activation=None, recurrent_activation=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self.out_channels, self.pads, self.state_pads = out_channels, pads, state_pads
        self.stride, self.dilation, self.channels_last = stride, dilation, channels_last
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.convolve = (F.conv1d, F.conv2d, F.conv3d)[len(kernel_size) - 1]
        self.weight_ih = nn.Parameter(torch.empty(4 * out_channels, in_channels, *kernel_size, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(4 * out_channels, out_channels, *kernel_size, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(4 * out_channels, dtype=dtype)) if bias else None

    def forward(self, x, mask=None, state=None, *, zero_output=False, start_from_state=False):
        """x (N, T, ...), mask (N, T) -> outputs (N, T, ...), then h and c (N, ...): channels where Keras has them."""
        x = x.movedim(-1, 2) if self.channels_last else x
        wide = F.pad(x.flatten(0, 1), self.pads)
        projected = self.convolve(wide, self.weight_ih, self.bias, self.stride, 0, self.dilation)
        projected = projected.unflatten(0, x.shape[:2])
        if state is None:
            h = c = torch.zeros_like(projected[:, 0, : self.out_channels])
        else:
            h, c = (s.movedim(-1, 1) if self.channels_last else s for s in state)
        before = h if state is not None and start_from_state else torch.zeros_like(h)
        outputs = []
        for t, step in enumerate(projected.unbind(1)):
            i, f, g, o = (step + self.convolve(F.pad(h, self.state_pads), self.weight_hh)).chunk(4, 1)
            new_c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
            new_h = self.recurrent_activation(o) * self.activation(new_c)
            if mask is None:
                h, c, before = new_h, new_c, new_h
                outputs.append(new_h)
                continue
            valid = mask[:, t].reshape(-1, *[1] * (h.dim() - 1))
            h, c = torch.where(valid, new_h, h), torch.where(valid, new_c, c)
            before = torch.where(valid, new_h, before)
            outputs.append(torch.where(valid, new_h, 0) if zero_output else before)
        y = torch.stack(outputs, 1)
        if self.channels_last:
            return y.movedim(2, -1), h.movedim(1, -1), c.movedim(1, -1)
        return y, h, c
