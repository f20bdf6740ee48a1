#!/bin/sh
# Runs the part of the suite that needs no torch on the oldest and the newest supported Python of this machine.
set -eu
cd "$(dirname "$0")/.."
found=
for version in 3.10 3.13; do
    python=$(ls "$HOME"/.pyenv/versions/$version.*/bin/python 2>/dev/null | head -n 1 || true)
    [ -n "$python" ] || python=$(command -v "python$version" || true)
    [ -n "$python" ] || continue
    found="$found $version"
    venv=.venv-$version
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]'
    "$venv/bin/python" -m pytest -n auto >"$venv/log" 2>&1 || { cat "$venv/log"; exit 1; }
    echo "Python $version: $(tail -n 1 "$venv/log")"
done
[ -n "$found" ] || echo "neither Python 3.10 nor 3.13 is on this machine"
