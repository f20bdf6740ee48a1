"""Spectrograms of signals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from h5port.errors import refusal
from h5port.layers.base import Layer, declares, example
from h5port.layers.builder import Builder, Value
from h5port.layers.spatial import DataFormat, channels_to_front, lengths, padded_same
from h5port.schema.needs import Variable
from h5port.schema.writer import Writer

_EPSILON = 1e-7  # keras.config.epsilon(), which no file holds


@declares("STFTSpectrogram")
class STFTSpectrogram(Layer, frozen=True, kw_only=True):
    """Fourier transforms of short frames, as convolutions with stored waves.

    keras/src/layers/preprocessing/stft_spectrogram.py of Keras 3.15. Window and scaling are in the stored waves.
    """

    mode: Literal["log", "magnitude", "psd", "real", "imag", "angle", "stft"] = "log"
    frame_length: int = 256
    frame_step: int | None = None
    fft_length: int | None = None
    padding: Literal["valid", "same"] = "valid"
    expand_dims: bool = False
    data_format: DataFormat = "channels_last"
    mask = "stops"
    inert = frozenset({"window", "periodic", "scaling"})
    examples = (
        *(
            example(
                on=((13, 2),), weights=((5, 1, 5),) * (1 if mode in ("real", "imag") else 2), mode=mode, frame_length=5
            )
            for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
        ),
        example(on=((13, 2),), weights=((5, 1, 9),) * 2, frame_length=5, frame_step=3, fft_length=16, padding="same"),
        example(on=((13, 2),), weights=((5, 1, 5),) * 2, frame_length=5, expand_dims=True),
        *(
            example(
                on=((2, 13),),
                weights=((5, 1, 5),) * 2,
                frame_length=5,
                data_format="channels_first",
                expand_dims=expand,
                padding="same",
            )
            for expand in (False, True)
        ),
    )

    @property
    def bins(self) -> int:
        return (self.fft_length or 2 ** math.ceil(math.log2(max(self.frame_length, 1)))) // 2 + 1

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in ("real", "imag") if self.mode in (part, *_OF_BOTH))

    def variables(self, writer: Writer) -> Iterator[Variable]:
        for part in self.parts:
            yield Variable(f"{part}_kernel", (self.frame_length, 1, self.bins))

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        step = self.frame_length // 2 if self.frame_step is None else self.frame_step
        if not 1 <= step <= self.frame_length or (self.fft_length or self.frame_length) < self.frame_length:
            raise refusal("unsupported-option", f"frames of {self.frame_length} every {step}, fft {self.fft_length}")
        if x.rank != 3 or (channels := channels_to_front(b, x, self.data_format).dim(1)) is None:
            raise refusal("unsupported-graph", f"STFTSpectrogram of {x.known_shape}: needs (N, samples, channels)")
        signal = channels_to_front(b, x, self.data_format)
        (frames,) = lengths(signal.known_shape[2:], [self.frame_length], [step], self.padding)
        rows = b.call("each_channel", signal, shape=(None, 1, signal.dim(2)))
        if self.padding == "same":
            rows = padded_same(b, rows, [self.frame_length], [step])
        parts = [self._part(b, rows, part, step, channels, frames) for part in self.parts]
        y = self._spectrum(b, x.dim(0), parts)
        return self._arranged(b, y)

    def _part(self, b: Builder, rows: Value, part: str, step: int, channels: int, frames: int | None) -> Value:
        """The real or the imaginary part, (N, channels, bins, frames)."""
        conv = b.module(
            "Conv1d",
            part,
            in_channels=1,
            out_channels=self.bins,
            kernel_size=self.frame_length,
            stride=step,
            bias=False,
        )
        conv.tensor("weight", b.stored(f"{part}_kernel").transpose(2, 1, 0))
        y = conv(rows, shape=(None, self.bins, frames))
        return b.call("channels_apart", y, shape=(None, channels, self.bins, frames), channels=channels)

    def _spectrum(self, b: Builder, batch: int | None, parts: list[Value]) -> Value:
        shape = (batch, *parts[0].known_shape[1:])
        match self.mode:
            case "real" | "imag":
                return msgspec.structs.replace(parts[0], shape=shape)
            case "angle":
                return b.call("phase", *parts, shape=shape)
            case "stft":
                return b.call("joined_parts", *parts, shape=(shape[0], shape[1], 2 * self.bins, shape[3]))
        power = b.call("spectral_power", *parts, shape=shape)
        match self.mode:
            case "psd":
                return b.call("power_density", power, shape=shape)
            case "magnitude":
                return b.call("magnitude", power, shape=shape, epsilon=_EPSILON)
            case _:
                return b.call("log_magnitude", power, shape=shape, epsilon=_EPSILON)

    def _arranged(self, b: Builder, y: Value) -> Value:
        """(N, channels, bins, frames) as the options want it."""
        n, channels, bins, frames = y.known_shape
        first = self.data_format == "channels_first"
        if self.expand_dims:
            axes = [0, 1, 3, 2] if first else [0, 3, 2, 1]
            return b.call("permute", y, shape=tuple(y.dim(a) for a in axes), dims=axes)
        wide = (channels or 0) * (bins or 0)
        y = b.call("join_axes", y, shape=(n, wide, frames), start=1, end=2)
        return y if first else b.call("transpose", y, shape=(n, frames, wide), dim0=1, dim1=2)


_OF_BOTH = ("log", "magnitude", "psd", "angle", "stft")


@declares("MelSpectrogram")
class MelSpectrogram(Layer, frozen=True, kw_only=True):
    """keras/src/layers/preprocessing/mel_spectrogram.py of Keras 3.15."""

    fft_length: int = 2048
    sequence_stride: int = 512
    sequence_length: int | None = None
    window: Literal["hann", "hamming"] | None = "hann"
    sampling_rate: int | float = 16000
    num_mel_bins: int = 128
    min_freq: float = 20.0
    max_freq: float | None = None
    power_to_db: bool = True
    top_db: float = 80.0
    mag_exp: float = 2.0
    min_power: float = 1e-10
    ref_power: float = 1.0
    mask = "stops"
    examples = (
        example(on=((40,),), fft_length=16, sequence_stride=8, num_mel_bins=5),
        example(on=((40,),), fft_length=16, sequence_stride=5, sequence_length=11, num_mel_bins=5, window="hamming"),
        example(
            on=((40,),), fft_length=15, sequence_stride=4, num_mel_bins=4, window=None, power_to_db=False, mag_exp=1.0
        ),
        example(
            on=((40,),),
            fft_length=16,
            sequence_stride=8,
            num_mel_bins=5,
            sampling_rate=8000,
            min_freq=100.0,
            max_freq=3000.0,
            top_db=20.0,
            ref_power=-2.0,
            min_power=1e-3,
        ),
    )

    def mixes_rows(self) -> bool:
        """`top_db` counts from the loudest of the whole batch."""
        return self.power_to_db

    def lower(self, b: Builder, x: Value, **kwargs: Any) -> Value:
        size = self.sequence_length or self.fft_length
        if not 1 <= size <= self.fft_length or self.sequence_stride < 1 or self.num_mel_bins < 1 or x.rank != 2:
            raise refusal("unsupported-option", f"frames of {size}, fft_length {self.fft_length} on {x.known_shape}")
        if self.window is None and size < self.fft_length:
            raise refusal(
                "unsupported-option", "window=None with a sequence_length below fft_length: backends of Keras differ"
            )
        options: dict[str, Any] = {"mag_exp": self.mag_exp} if self.mag_exp != 2.0 else {}
        if self.power_to_db:
            options["decibels"] = [self.min_power, self.ref_power, self.top_db]
        module = b.module(
            "MelSpectrogram",
            fft_length=self.fft_length,
            sequence_stride=self.sequence_stride,
            sequence_length=size,
            window=self.window,
            sampling_rate=self.sampling_rate,
            num_mel_bins=self.num_mel_bins,
            min_freq=self.min_freq,
            max_freq=self.max_freq or int(self.sampling_rate / 2),
            **options,
        )
        samples = x.dim(1)
        edges = self.fft_length // 2 * 2 - self.fft_length
        frames = None if samples is None else (samples + edges) // self.sequence_stride + 1
        return module(b.cast(x, b.dtype), shape=(x.dim(0), self.num_mel_bins, frames))
