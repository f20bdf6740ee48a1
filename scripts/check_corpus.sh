#!/bin/sh
set -eu
cd "$(dirname "$0")/.."
.venv/bin/python ../shared/check.py corpus --core | tail -n 1
