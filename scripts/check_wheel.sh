#!/bin/sh
# Builds the wheel, installs it without torch in a clean environment, and uses it there.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# by way of the source distribution: what earlier builds left in build/ is not packed
.venv/bin/python -m build --outdir "$work" . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$work"/h5port-*.whl
model=$(pwd)/fixtures/made/bilstm_keras231/model.h5
cd "$work"
venv/bin/h5port --version
venv/bin/h5port inspect "$model"
venv/bin/h5port convert "$model" -o out
venv/bin/h5port explain out bilstm_1.weight_ih_l0
venv/bin/python - <<'PYTHON'
import importlib.resources
import sys

import h5port

files = {p.name for p in importlib.resources.files("h5port.schemas").iterdir()}
assert {"config.schema.json", "report.schema.json"} <= files, files
assert (importlib.resources.files("h5port") / "py.typed").is_file()
try:
    h5port.load("out")
except h5port.H5PortError as error:
    assert error.code == "missing-extra", error
else:
    raise SystemExit("load worked without torch")
assert not {"torch", "keras", "tensorflow"} & set(sys.modules)
PYTHON
venv/bin/python - <<'PYTHON'
# what installing it takes: everything that lies in site-packages, but for pip itself
import sysconfig
from pathlib import Path

packages = Path(sysconfig.get_path("purelib"))
sizes = {
    place.name: sum(f.stat().st_size for f in [place, *place.rglob("*")] if f.is_file())
    for place in packages.iterdir()
    if not place.name.startswith(("pip", "setuptools", "wheel", "_distutils", "distutils", "pkg_resources"))
}
own = sum(f.stat().st_size for f in (packages / "h5port").rglob("*") if f.is_file() and f.suffix != ".pyc")
print(f"site-packages: {sum(sizes.values()) / 1e6:.1f} MB, of which h5port {own / 1e6:.2f} MB of sources")
assert sum(sizes.values()) <= 115e6, sizes
assert own < 1e6, own
PYTHON
echo "the wheel works without torch"
