"""A worker: models that h5port made, and the same written by hand, run when they are asked for by name.

    python torch_speed.py FOLDER [--compiled]

Names go in, seconds come out, a line each. FOLDER holds the models of `speed.MODELS`.
"""

import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

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


def by_hand(module):
    return lambda x: module(x)[0]


def seconds(run, times=5):
    """Of one run of several: the median, after one that is not counted."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main(folder, compiled):
    torch.manual_seed(0)
    sequence = torch.randn(BATCH, STEPS, UNITS)
    pictures = torch.randn(BATCH, SIDE, SIDE, 3)
    lstm = nn.LSTM(UNITS, UNITS, num_layers=2, batch_first=True, bidirectional=True).eval()
    images = Images().eval().to(memory_format=torch.channels_last)
    runs = {"lstm by hand": (by_hand(lstm), sequence)}
    runs["images by hand"] = (images, pictures.permute(0, 3, 1, 2))
    for file in sorted(Path(folder).glob("*.h5")):
        module = h5port.load(file)
        x = pictures if file.stem == "images" else sequence
        runs[file.stem] = (module, x)
        if compiled and file.stem in ("hard", "before"):
            runs[f"{file.stem} compiled"] = (torch.compile(module), x)
    with torch.inference_mode():
        for module, x in runs.values():
            for _ in range(3):
                module(x)
        print("> " + "\t".join(runs), flush=True)
        for line in sys.stdin:
            module, x = runs[line.strip()]
            print(f"> {seconds(lambda: module(x))}", flush=True)  # noqa: B023


main(sys.argv[1], "--compiled" in sys.argv)
