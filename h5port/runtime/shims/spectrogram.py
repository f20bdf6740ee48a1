"""The mel spectrogram."""

from __future__ import annotations

import torch
from torch import nn

from h5port.runtime.functions.spectrogram import mel_weights


class MelSpectrogram(nn.Module):
    """Signals (N, samples) to (N, bands, frames). keras/src/layers/preprocessing/mel_spectrogram.py of Keras 3.15."""

    def __init__(
        self,
        fft_length,
        sequence_stride,
        sequence_length,
        window,
        sampling_rate,
        num_mel_bins,
        min_freq,
        max_freq,
        mag_exp=2.0,
        decibels=None,
    ):
        super().__init__()
        self.fft_length, self.stride, self.mag_exp, self.decibels = fft_length, sequence_stride, mag_exp, decibels
        windows = {"hann": torch.hann_window, "hamming": torch.hamming_window, None: torch.ones}
        even = {} if window is None else {"periodic": sequence_length % 2 == 0}  # TensorFlow's are so at even lengths
        weights = mel_weights(fft_length // 2 + 1, num_mel_bins, sampling_rate, min_freq, max_freq)
        self.register_buffer("window", windows[window](sequence_length, **even, dtype=torch.float64), persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, x):
        window = self.window.to(x.dtype)
        size = len(window)
        parts = torch.stft(x, self.fft_length, self.stride, size, window, center=True, return_complex=True)
        y = self.weights.to(x.dtype).T @ parts.abs() ** self.mag_exp
        return y if self.decibels is None else self.in_decibels(y, *self.decibels)

    def in_decibels(self, x, least, reference, top):
        """Below a reference, and not more than `top` under the loudest of the whole batch."""
        reference = x.new_tensor(reference).abs().clamp_min(least)
        x = 10 * x.clamp_min(least).log10() - 10 * reference.log10()
        return torch.maximum(x, x.max() - top)
