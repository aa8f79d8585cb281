"""The import rules: stated in pyproject.toml for import-linter, and shown once more in a fresh process."""

import json
import subprocess
import sys

import pytest

from tests.architecture.sources import module_name, read_sources, read_text, tracked_files
from tests.support.paths import ROOT

OUR_ROOTS = {"training", "serving", "demo"}
# What must not be in memory once the serving path is imported.
TRAINING_PACKAGES = {
    "torch",
    "lightning",
    "pytorch_lightning",
    "hydra",
    "onnx",
    "onnxscript",
    "tensorboard",
} | {"sklearn"}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Returns a finished Python process that ran `code` in the repository."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def imported_packages(*modules: str) -> set[str]:
    """Returns the top-level packages that a fresh process holds after importing `modules`."""
    code = f"import importlib, json, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    ran = run_python(code)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_import_contracts_hold() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    ran = run_python(code)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("module", ["marquee.decision.recommender", "serving.service"])
def test_serving_path_loads_no_training_package(module: str) -> None:
    assert not imported_packages(module) & TRAINING_PACKAGES


def test_library_outside_nn_loads_no_training_package() -> None:
    modules = [module_name(source.path) for source in read_sources("src/marquee")]
    outside_nn = [name for name in modules if not name.startswith("marquee.nn")]
    assert len(outside_nn) > 1
    assert not imported_packages(*outside_nn) & TRAINING_PACKAGES


@pytest.mark.parametrize("notebook", tracked_files("notebooks/*.ipynb"))
def test_notebook_imports_only_marquee_of_ours(notebook: str) -> None:
    cells = json.loads(read_text(notebook))["cells"]
    code = "".join(line for cell in cells if cell["cell_type"] == "code" for line in [*cell["source"], "\n"])
    imports = [line for line in code.splitlines() if line.startswith(("import ", "from "))]
    assert not [
        line for line in imports if line.split()[1].partition(".")[0] in {"training", "serving", "demo"}
    ]
