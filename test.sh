#!/bin/sh
# Runs the whole test suite. Arguments go to pytest.
set -eu
cd "$(dirname "$0")"
EXTRA=dev
. scripts/environment.sh
exec "$PYTHON" -m pytest -n auto "$@"
