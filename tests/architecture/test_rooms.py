"""The rooms: how full they are, what their faces show, and how little an import of one module loads."""

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import PurePosixPath

import pytest

from tests.architecture.sources import read_sources, tracked_files
from tests.support.paths import ROOT

MAX_MODULES = {"src": 15, "serving": 15, "training": 15, "tests/unit": 20}

# What other rooms and users may import from a room; whoever adds a name to a face adds it here.
FACES = {
    "marquee.bundle": "Bundle BundleContents Manifest activate publish resolve",
    "marquee.data": (
        "DataConfig Dataset JudgedPart QueryArrays Split SplitConfig SplitMethod TableConfig Tables "
        "read_tables split_events validate_no_leakage"
    ),
    "marquee.decision": "Answer HistoryEvent Recommendation Recommender Request Reranking Source",
    "marquee.evaluation": (
        "BaselinesConfig Estimate Evaluation EvaluationTask METRICS evaluate fit_baselines"
    ),
    "marquee.index": (
        "Index IndexConfig IndexKind SearchResult build_index choose_index inner_product_scores "
        "measure_recall rank"
    ),
    "marquee.recommender": "Answer HistoryEvent Recommendation Recommender Request Source",
}
# Modules of ours, packages aside, that a fresh process holds after importing one.
CLOSURES = {
    "marquee.evaluation.metrics": 5,
    "marquee.nn.losses.softmax": 10,
    "marquee.core.catalog": 6,
    "marquee.index.index": 12,
    "marquee.decision.requests": 17,
}


def loaded_modules(module: str) -> list[str]:
    """Returns the modules of ours, packages aside, that importing `module` loads in a fresh process."""
    code = (
        f"import importlib, json, sys; importlib.import_module({module!r})\n"
        "ours = [name for name, module in sys.modules.items()"
        " if name.startswith('marquee.') and not hasattr(module, '__path__')]\n"
        "print(json.dumps(ours))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names: list[str] = json.loads(ran.stdout)
    return names


@pytest.mark.parametrize("root", MAX_MODULES)
def test_no_folder_holds_more_modules_than_a_reader_keeps_in_mind(root: str) -> None:
    modules = [name for name in tracked_files(f"{root}/**.py") if not name.endswith("__init__.py")]
    full = Counter(str(PurePosixPath(name).parent) for name in modules)
    assert full
    assert not {folder: n for folder, n in full.items() if n > MAX_MODULES[root]}


@pytest.mark.parametrize("face", FACES)
def test_face_shows_the_names_that_are_promised(face: str) -> None:
    room = importlib.import_module(face)
    assert sorted(room.__all__) == sorted(FACES[face].split())
    assert all(
        getattr(room, name).__module__.startswith("marquee.") for name in room.__all__ if name != "METRICS"
    )


@pytest.mark.parametrize("face", FACES)
def test_no_module_hides_a_name_of_its_face(face: str) -> None:
    assert not [name for name in FACES[face].split() if _is_module(f"{face}.{name}")]


def _is_module(name: str) -> bool:
    """Returns whether a module of that name can be imported; a door is no package."""
    parent = importlib.import_module(name.rpartition(".")[0])
    return hasattr(parent, "__path__") and importlib.util.find_spec(name) is not None


def test_face_refuses_a_name_that_it_does_not_have() -> None:
    with pytest.raises(AttributeError, match=r"'marquee\.index' has no attribute 'nothing'"):
        importlib.import_module("marquee.index").nothing  # noqa: B018


def test_rooms_import_modules_and_not_faces() -> None:
    through_faces = [
        f"{source.path}:{node.lineno}"
        for source in read_sources("src", "training", "serving", "marquee_cli", "demo", "benchmarks")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom)
        and node.module in FACES
        and source.path not in ("src/marquee/recommender.py",)
    ]
    assert not through_faces


@pytest.mark.parametrize("module", CLOSURES)
def test_import_loads_no_more_than_it_needs(module: str) -> None:
    loaded = loaded_modules(module)
    assert module in loaded
    assert len(loaded) <= CLOSURES[module], loaded
