"""An installed wheel is whole: outside any checkout, from no data to an answer over HTTP."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from demo.processes import free_port, running_server
from marquee.client import Client, RecommendRequest
from tests.support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.server]

SMALL = (
    *("trainer.epochs=1", "model.dim=8", "data.history_length=10", "evaluation.baselines.als=false"),
    *("evaluation.ks=[10]", "trainer.accelerator=cpu"),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `marquee` of an environment that holds the wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for name in ("src", "training", "serving", "marquee_cli", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=120)
    shutil.rmtree(source)
    (wheel,) = folder.glob("marquee-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*pip, str(wheel)], env=environment(), check=True, timeout=120)
    # The dependencies are those of this environment: a line of a .pth adds a folder, and reads no other .pth,
    # so that the editable install of the checkout stays behind.
    inside = sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})
    Path(inside, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python.with_name("marquee")


def environment() -> dict[str, str]:
    """Returns our environment without what would lead back to the checkout."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MARQUEE_") and name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }


def run(program: Path, folder: Path, *arguments: str) -> str:
    """Runs `marquee …` in a folder and returns its output."""
    command = [str(program), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_simulates_trains_exports_serves_and_answers(program: Path, tmp_path: Path) -> None:
    world = ("data=world", "data.world.n_users=150", "data.world.n_content=60", "data.world.n_ads=40")
    run(program, tmp_path, "simulate", *world)
    assert (tmp_path / "data" / "world" / "events.parquet").is_file()
    run(program, tmp_path, "train", "data=world", *SMALL)
    run(program, tmp_path, "export", "run=runs/world/latest")
    url = f"http://127.0.0.1:{(port := free_port())}"
    serve = [str(program), "serve", "bundle=bundles/world", f"port={port}"]
    with (
        running_server(serve, environment(), url, tmp_path / "log", directory=tmp_path),
        Client(url) as client,
    ):
        answer = client.recommend(RecommendRequest(user_id="somebody-new", k=3))
    assert len(answer.items) == 3


def test_wheel_stacks_config_dirs_of_users(program: Path, tmp_path: Path) -> None:
    (tmp_path / "own" / "data").mkdir(parents=True)
    text = "name: shop\nroot: .\nevents: {path: e.csv}\n"
    (tmp_path / "own" / "data" / "shop.yaml").write_text(text, encoding="utf-8")
    composed = run(program, tmp_path, "train", "--config-dir", "own", "data=shop", "--cfg", "job")
    assert "name: shop" in composed
