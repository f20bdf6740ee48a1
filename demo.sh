#!/bin/sh
# Converts a stacked bidirectional LSTM that Keras 2.3.1 wrote, and shows that torch computes what Keras computed.
set -eu
cd "$(dirname "$0")"
EXTRA=torch
. scripts/environment.sh
exec "$PYTHON" scripts/demo.py
