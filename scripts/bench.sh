#!/bin/sh
# Measures how fast and how small h5port is; see benchmarks/run.py, which takes the arguments. Genuine Kerases are
# measured beside it where `make oracle` has made its environment.
set -eu
cd "$(dirname "$0")/.."
EXTRA=dev,bench
. scripts/environment.sh
exec "$PYTHON" benchmarks/run.py "$@"
