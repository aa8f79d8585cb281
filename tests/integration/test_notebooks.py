"""Every notebook runs from top to bottom, on the library alone, and is kept without its outputs."""

import ast
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALLOWED = {"marquee", "numpy", "polars", "torch", "matplotlib"} | sys.stdlib_module_names
LIMIT_S = 180


def read_notebook(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat is not typed
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_notebook_and_its_name_is_numbered() -> None:
    assert NOTEBOOKS
    assert [path.name for path in NOTEBOOKS if not path.name[:2].isdigit()] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read_notebook(path)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources=resources).execute()
    silent = [cell.source for cell in code_cells(notebook) if not cell.outputs]
    assert len(silent) <= 1  # the imports
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("marquee-")] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = code_cells(read_notebook(path))
    assert [cell.source for cell in cells if cell.outputs or cell.execution_count] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_imports_the_library_alone(path: Path) -> None:
    trees = [ast.parse(cell.source) for cell in code_cells(read_notebook(path))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= ALLOWED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_asks_questions(path: Path) -> None:
    pages = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown"]
    questions = [page.splitlines()[0] for page in pages if page.startswith("## ")]
    assert len(questions) > 3
    assert [question for question in questions if not question.endswith("?")] == []
    assert [int(question.split()[1].rstrip(".")) for question in questions] == [*range(1, len(questions) + 1)]
