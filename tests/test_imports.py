"""Which room may import which, and that neither torch nor Keras is needed where it is not wanted."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FIXTURES

PACKAGE = Path(__file__).parent.parent / "h5port"

# room -> the rooms that it may import; `errors` and `version` are everybody's
ALLOWED = {
    "archive": set(),
    "transform": set(),
    "module": set(),
    "schema": {"archive"},
    "layers": {"archive", "schema", "transform", "module", "ops"},
    "ops": {"schema", "module", "layers"},
    "output": {"module", "transform"},
    "runtime": {"module"},
}


def imports(source: str, name: str) -> set[str]:
    """The rooms and packages that a module imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{a.name}" for a in node.names} if node.module == "h5port" else {node.module or ""}
    return {n for n in found if n}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "h5port" and len(parts) > 1 else ""


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_before_it(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        rooms = {room_of(m) for m in imports(file.read_text(encoding="utf-8"), file.stem)} & ALLOWED.keys()
        assert rooms <= ALLOWED[room] | {room}, f"{file.name} imports {rooms - ALLOWED[room]}"


def test_only_the_runtime_imports_torch_and_nobody_imports_keras() -> None:
    for file in PACKAGE.rglob("*.py"):
        packages = {m.split(".")[0] for m in imports(file.read_text(encoding="utf-8"), file.stem)}
        assert not packages & {"keras", "tensorflow", "tf_keras"}, file
        if file.relative_to(PACKAGE).parts[0] not in ("runtime", "api.py"):
            assert "torch" not in packages, file


def test_the_import_test_can_fail() -> None:
    assert "torch" in imports("def f():\n    import torch", "x")
    assert room_of(next(iter(imports("from h5port.runtime.build import build", "x")))) == "runtime"


def modules_after(code: str) -> set[str]:
    """The top-level packages that are loaded after the code ran in a process of its own."""
    text = f"{code}\nimport sys\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


MODEL = FIXTURES / "made" / "bilstm_keras231" / "model.h5"


@pytest.mark.parametrize(
    "code",
    [
        "import h5port",
        f"import h5port; h5port.inspect({str(MODEL)!r})",
        f"import h5port; h5port.check({str(MODEL)!r})",
        f"import h5port; h5port.state_dict({str(MODEL)!r}, 'bilstm_1')",
        f"import h5port, tempfile; h5port.convert({str(MODEL)!r}, tempfile.mkdtemp() + '/out')",
    ],
)
def test_torch_and_keras_are_not_loaded(code: str) -> None:
    assert not modules_after(code) & {"torch", "keras", "tensorflow", "tf_keras", "yaml"}


def loaded_by(code: str) -> tuple[set[str], set[str]]:
    """(packages beside Python's own, files of layers and operations) that are loaded after the code."""
    text = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    names = set(run.stdout.splitlines()[-1].split())
    packages = {n.split(".")[0].lstrip("_") for n in names} - set(sys.stdlib_module_names)
    families = {n[7:] for n in names if n.startswith(("h5port.layers.", "h5port.ops."))}
    return {p for p in packages if p in PACKAGES or p in HEAVY}, families


# what starting costs: a new name here is a decision, not an accident
PACKAGES = {"h5py", "numpy", "msgspec", "click", "safetensors"}
HEAVY = {"torch", "keras", "tensorflow", "yaml", "distributed", "matplotlib", "multiprocessing", "asyncio"}
ALWAYS = {f"layers.{n}" for n in "base builder catalogue engine quantization refused".split()} | {"ops.refused"}
RECURRENT = ALWAYS | {f"layers.{n}" for n in "activations cells core recurrent wrappers".split()}


@pytest.mark.parametrize(
    ("code", "packages", "families"),
    [
        ("import h5port", {"h5py", "numpy", "msgspec"}, ALWAYS),
        ("import h5port.cli", {"h5py", "numpy", "msgspec", "click"}, ALWAYS),
        (f"import h5port; h5port.inspect({str(MODEL)!r})", {"h5py", "numpy", "msgspec"}, RECURRENT),
        (f"import h5port; h5port.check({str(MODEL)!r})", {"h5py", "numpy", "msgspec"}, RECURRENT),
        (
            f"import h5port, tempfile; h5port.convert({str(MODEL)!r}, tempfile.mkdtemp() + '/out')",
            {"h5py", "numpy", "msgspec"},
            RECURRENT,
        ),
    ],
)
def test_what_each_command_loads(code: str, packages: set[str], families: set[str]) -> None:
    assert loaded_by(code) == (packages, families)


def test_a_file_of_a_family_is_found_by_the_names_in_it() -> None:
    code = "from h5port.layers import base, catalogue; catalogue.load(['Conv2D', 'GlobalMaxPooling1D', 'Einsum'])"
    _, families = loaded_by(code)
    assert {"layers.convolution", "layers.global_pooling", "ops.products"} <= families
    assert "layers.text" not in families


def test_loading_never_loads_keras() -> None:
    pytest.importorskip("torch")
    loaded = modules_after(f"import h5port; h5port.load({str(MODEL)!r})")
    assert "torch" in loaded
    assert not loaded & {"keras", "tensorflow", "tf_keras"}


def test_the_test_of_loaded_modules_can_fail(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import keras"
    assert "keras" in modules_after(code)
