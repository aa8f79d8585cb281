"""A publisher that dies at any step leaves the old bundle or the new one, never half of one."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.releases import resolve
from marquee.store.signing import TrustedKeys
from tests.support.bundles import publish_tiny
from tests.support.paths import ROOT


@dataclass(frozen=True)
class Faults:
    """The remains of publishers that died.

    Attributes:
        folders: One per step, in the order of the steps; the last publisher lived.
        steps: What each dead publisher was about to do.
        key: Who published the second bundle.
    """

    folders: list[Path]
    steps: list[str]
    key: TrustedKeys


@pytest.fixture(scope="module")
def all_faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Faults]:
    folder = tmp_path_factory.mktemp("faults")
    command = [sys.executable, "-m", "tests.integration.publisher", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    faults, key = {}, TrustedKeys.read(folder / "key.pub")
    for name, steps in re.findall(r"(\w+):\n([^:]*)(?=\n\w+:|$)", done.stdout):
        folders = sorted((folder / name).iterdir(), key=lambda path: int(path.name))
        faults[name] = Faults(folders, steps.splitlines(), key)
    return faults


@pytest.fixture(params=["publish", "copy"])
def faults(request: pytest.FixtureRequest, all_faults: dict[str, Faults]) -> Faults:
    return all_faults[request.param]


def seed_of(folder: Path) -> object:
    """Returns which of the two bundles is current, after verifying every byte of it."""
    return Bundle.load(folder / "tiny").manifest.config["seed"]


@pytest.mark.slow
def test_every_kind_of_step_was_killed(faults: Faults) -> None:
    assert len(faults.steps) == len(faults.folders) - 1 > 50
    killed = " ".join(faults.steps)
    for step in (
        "create",
        "write item_vectors.npy",
        "write recorded_requests.json",
        "sync manifest.sig",
        "sync manifest.json",
        "rename the folder",
        "rename ACTIVATED",
        "rename CURRENT",
    ):
        assert step in killed


@pytest.mark.slow
def test_current_bundle_is_the_old_or_the_new_one(faults: Faults) -> None:
    renamed = faults.steps.index("rename CURRENT")
    seeds = [seed_of(folder) for folder in faults.folders]
    assert seeds == [0] * (renamed + 1) + [1] * (len(seeds) - renamed - 1)


@pytest.mark.slow
def test_every_version_folder_is_whole(faults: Faults) -> None:
    for folder in faults.folders:
        for version in (folder / "tiny").glob("[!.]*/"):
            bundle = Bundle.load(version)
            assert bundle.version == version.name
            if bundle.manifest.config["seed"] == 1:
                assert Bundle.load(version, faults.key)


@pytest.mark.slow
def test_next_publisher_sweeps_and_succeeds(faults: Faults) -> None:
    for folder in faults.folders[::3]:
        published = publish_tiny(folder, seed=2)
        assert resolve(folder / "tiny") == published
        assert not (folder / "tiny" / ".publishing").exists()
