"""Generators and a linter that nobody here made read the document, and what they make of it works."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from serving.api.document.openapi import document
from serving.api.routes import ROUTES
from serving.config import Settings
from tests.support.paths import ROOT

TOOLS = ROOT / "tests" / "support" / "openapi_tools"
# `.ci/run` installs them; the test is skipped where they are not, with the command.
with_node = pytest.mark.skipif(
    shutil.which("node") is None or not (TOOLS / "node_modules" / ".bin" / "redocly").exists(),
    reason=f"node's tools are missing; npm install --prefix {TOOLS.relative_to(ROOT)}",
)

# Compiles only if what may be left out may be left out.
USE = """
import type { components, paths } from "./api";

type Messages = components["schemas"];
const asked: Messages["RecommendRequest"] = { user_id: "u0007", k: 3 };
const page: Messages["PageRequest"] = { rows: [{}, { row: "popular", k: 2 }] };
const like: Messages["SimilarRequest"] = { item_id: "c0001" };
const items: Messages["ItemsRequest"] = { items: [{ item_id: "c9" }] };
const reranked: Messages["RecommendRequest"] = { reranking: { caps: { category: 1 } } };
// @ts-expect-error: a misspelt field must not compile
const misspelt: Messages["RecommendRequest"] = { user: "u0007" };
type Answer = paths["/v1/recommend"]["post"]["responses"]["200"]["content"]["application/json"];
export const shown = (answer: Answer): string[] => answer.items.map((one) => one.item_id);
export const all = [asked, page, like, items, reranked, misspelt];
"""

USE_PYTHON = """
import json
from made import Client
from made.api.asking import recommend
from made.models import PageRequest, RecommendRequest, RowRequest

client = Client(base_url="http://127.0.0.1:9")
sent = recommend._get_kwargs(body=RecommendRequest(user_id="u0007", k=3))
print(json.dumps([sent["method"], sent["url"], sent["json"]]))
print(json.dumps(PageRequest(rows=[RowRequest()]).to_dict()))
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The document of a service with two surfaces, in a file."""
    path = tmp_path / "openapi.json"
    path.write_bytes(msgspec.json.encode(document(Settings(), ["home", "ads"], ROUTES)))
    return path


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Returns the output of a command that must succeed."""
    ended = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    return output


def node_tool(name: str) -> Path:
    return TOOLS / "node_modules" / ".bin" / name


@with_node
def test_types_of_openapi_typescript_compile_with_what_an_app_sends(written: Path) -> None:
    folder = written.parent
    run([node_tool("openapi-typescript"), written, "-o", "api.ts"], folder)
    (folder / "use.ts").write_text(USE, encoding="utf-8")
    run([node_tool("tsc"), "--noEmit", "--strict", "use.ts"], folder)


@with_node
def test_linter_finds_nothing(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDOCLY_TELEMETRY", "off")
    monkeypatch.setenv("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
    found = json.loads(run_for_json([node_tool("redocly"), "lint", "--format=json", written], written.parent))
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def run_for_json(command: Sequence[str | Path], folder: Path) -> str:
    """Returns the JSON that a command printed; words to people go elsewhere."""
    ended = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return ended.stdout[ended.stdout.index("{") : ended.stdout.rindex("}") + 1]


def test_client_of_openapi_python_client_sends_what_it_is_given(written: Path) -> None:
    folder = written.parent
    # The tool knows no JSON lines, and this is its own way to say that such a body is bytes.
    bytes_too = "application/x-ndjson: application/octet-stream, application/jsonl: application/octet-stream"
    text = f"post_hooks: []\ncontent_type_overrides: {{{bytes_too}}}\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    tool = Path(sys.executable).parent / "openapi-python-client"
    options: list[str | Path] = [
        "--path",
        written,
        "--meta",
        "none",
        "--output-path",
        "made",
        "--config",
        "config.yaml",
    ]
    said = run([tool, "generate", "--fail-on-warning", *options], folder)
    assert "unable to" not in said.lower()
    sent, page = map(json.loads, run([sys.executable, "-c", USE_PYTHON], folder).splitlines())
    assert sent == ["post", "/v1/recommend", {"user_id": "u0007", "k": 3}]
    assert page == {"rows": [{}]}
