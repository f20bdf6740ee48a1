# Sourced with EXTRA set: makes .venv with h5port in it where there is none, and sets PYTHON.
# Needs a shell and any Python from 3.10 to 3.13 with venv.
find_python() {
    for candidate in "${H5PORT_PYTHON:-}" python3.11 python3.12 python3.13 python3.10 python3 python; do
        [ -n "$candidate" ] && "$candidate" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
            2>/dev/null && echo "$candidate" && return
    done
    echo "h5port needs Python 3.10 to 3.13 with venv" >&2
    return 1
}

PYTHON=.venv/bin/python
mark=".venv/h5port-$EXTRA-$(cksum <pyproject.toml | cut -d ' ' -f 1)"
if [ ! -e "$mark" ]; then
    [ -x "$PYTHON" ] || "$(find_python)" -m venv .venv
    echo "installing h5port[$EXTRA] into .venv" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -e ".[$EXTRA]" "torch==2.13.0" >&2
    touch "$mark"
fi
