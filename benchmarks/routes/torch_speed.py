"""A worker: models that h5port made, and the same written by hand, run when they are asked for by name.

    python torch_speed.py FOLDER [--compiled]

FOLDER holds what `sections.models` writes.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn
from worker import serve

import h5port

BATCH, STEPS, UNITS, SIDE = 32, 50, 64, 64


class Images(nn.Module):
    """The net of `inputs.images`, as a hand would write it for channels_last memory."""

    def __init__(self, widths=(32, 64, 128)):
        super().__init__()
        layers = []
        for inputs, filters in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters, eps=1e-3)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def main(folder, compiled):
    torch.manual_seed(0)
    sequence = torch.randn(BATCH, STEPS, UNITS)
    pictures = torch.randn(BATCH, SIDE, SIDE, 3)
    lstm = nn.LSTM(UNITS, UNITS, num_layers=2, batch_first=True, bidirectional=True).eval()
    images = Images().eval().to(memory_format=torch.channels_last)
    runs = {"lstm by hand": lambda: lstm(sequence)[0]}
    runs["images by hand"] = partial(images, pictures.permute(0, 3, 1, 2))
    for file in sorted(Path(folder).glob("*.h5")):
        module = h5port.load(file)
        runs[file.stem] = partial(module, pictures if file.stem == "images" else sequence)
        if compiled and file.stem in ("hard", "before"):
            runs[f"{file.stem} compiled"] = partial(torch.compile(module), sequence)
    with torch.inference_mode():
        serve(runs)


main(sys.argv[1], "--compiled" in sys.argv)
