#!/bin/sh
# Runs h5port against genuine Kerases. Makes .oracle, an environment with Keras on TensorFlow, where it is missing or
# its pins have changed; pip is all it needs. Arguments go to tests/oracle/run.py.
set -eu
cd "$(dirname "$0")/.."
EXTRA=dev
. scripts/environment.sh
pins="tensorflow-cpu==2.21.0 keras==3.15.1 numpy safetensors"
alone="tf_keras==2.21.0" # asks for the large build of TensorFlow, which is not needed
mark=".oracle/oracle-$(echo "$pins $alone" | cksum | cut -d ' ' -f 1)"
if [ ! -e "$mark" ]; then
    rm -rf .oracle
    "$(find_python)" -m venv .oracle
    echo "installing Keras on TensorFlow into .oracle" >&2
    .oracle/bin/python -m pip install --quiet --disable-pip-version-check $pins >&2
    .oracle/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $alone >&2
    touch "$mark"
fi
exec "$PYTHON" tests/oracle/run.py --python .oracle/bin/python "$@"
