"""Spectrograms out of the real and the imaginary part, (N, channels, bins, frames) each."""

from __future__ import annotations

import torch


def each_channel(x):
    return x.reshape(-1, 1, x.shape[-1])


def channels_apart(x, *, channels):
    return x.unflatten(0, (-1, channels))


def spectral_power(real, imag):
    return real.square() + imag.square()


def magnitude(power, *, epsilon):
    return power.clamp_min(epsilon).sqrt()


def log_magnitude(power, *, epsilon):
    return power.clamp_min(epsilon).sqrt().clamp_min(epsilon).log()


def power_density(power):
    """Each bin but the first and the last stands for two frequencies."""
    return power + torch.nn.functional.pad(power[:, :, 1:-1], (0, 0, 1, 1))


def phase(real, imag):
    return torch.atan2(imag, real)


def joined_parts(real, imag):
    return torch.cat([real, imag], 2)


def hertz_to_mel(x):
    return 1127.0 * torch.log(1.0 + x / 700.0)


def mel_weights(bins, bands, sampling_rate, low, high):
    """Triangles (bins, bands) of height 1, evenly spaced on the mel scale; the first bin is in none (HTK)."""
    at = hertz_to_mel(torch.linspace(0.0, sampling_rate / 2.0, bins)[1:]).unsqueeze(1)
    ends = hertz_to_mel(torch.tensor([low, high], dtype=torch.float32)).tolist()
    edges = torch.linspace(*ends, bands + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    slopes = torch.minimum((at - left) / (centre - left), (right - at) / (right - centre))
    return torch.nn.functional.pad(slopes.clamp_min(0), (0, 0, 1, 0))
