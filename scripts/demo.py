"""The main job: a bundled Keras file becomes a folder, the folder a torch module, and its outputs are Keras' own."""

from pathlib import Path

import numpy as np
import torch

import h5port

case = Path(__file__).parent.parent / "fixtures" / "made" / "bilstm_keras231"
out = Path("bilstm_keras231_torch")

report = h5port.convert(case / "model.h5", out, overwrite=True)
model = h5port.load(out)
print(model)

with np.load(case / "golden.npz") as golden, torch.inference_mode():
    ids, expected = golden["in0"], golden["out0"]
    outputs = model(torch.from_numpy(ids)).numpy()

difference = float(np.abs(outputs - expected).max())
print(f"\n{report.source.file}, written by {report.source.writer}, {report.parameters:,} parameters")
print(f"Keras computed  {expected[0].round(6)}\ntorch computes  {outputs[0].round(6)}")
print(f"largest difference over {expected.shape[0]} inputs: {difference:.1e}")
print(f"\nwritten to {out.resolve()}:")
for file in sorted(out.iterdir()):
    print(f"  {file.name:20s} {file.stat().st_size:7,d} bytes")
print("\nwhere one tensor came from:\n" + h5port.explain(out, "bilstm_1.weight_ih_l0_reverse"))
raise SystemExit(difference > 1e-5)
