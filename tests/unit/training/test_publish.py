"""`python -m training.publish` and `make_key`: their results with bundles and keys, and their refusals."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marquee.bundle.bundle import Bundle
from marquee.bundle.releases import resolve
from marquee.decision.golden_requests import make_golden_requests, sample_requests, to_json
from marquee.decision.recommender import Recommender
from marquee.errors import BundleError, BundleNotFoundError, ChecksumError, ConfigError, SignatureError
from marquee.store.signing import TrustedKeys, write_key_pair
from tests.support.bundles import CREATED, N_USERS, make_tiny, publish_tiny
from tests.support.paths import ROOT
from training.publish import PublishConfig, publish


def run(**settings: object) -> tuple[Path, str]:
    out = StringIO()
    config = PublishConfig(**settings)  # type: ignore[arg-type]  # settings of any type
    return publish(config, Console(file=out, width=200)), out.getvalue()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_key_pair(tmp_path_factory.mktemp("keys") / "release")[0]


def test_bundle_is_moved_signed_and_activated(tmp_path: Path, keys: Path) -> None:
    original = publish_tiny(tmp_path / "here")
    path, said = run(bundle=str(original.parent), to=str(tmp_path / "there"), signing_key=str(keys))
    assert path == tmp_path / "there" / "tiny" / original.name == resolve(tmp_path / "there" / "tiny")
    assert Bundle.load(path, TrustedKeys.read(f"{keys}.pub"))
    assert said == f"bundle {path} is current\n"
    assert not (original / "manifest.sig").exists()


def test_bundle_is_moved_without_being_activated(tmp_path: Path) -> None:
    first, second = publish_tiny(tmp_path / "here"), publish_tiny(tmp_path / "here", seed=1)
    run(bundle=str(first), to=str(tmp_path / "there"))
    path, said = run(bundle=str(second), to=str(tmp_path / "there"), activate=False)
    assert resolve(tmp_path / "there" / "tiny").name == first.name
    assert said == f"bundle {path}\n"


def test_bundle_is_signed_and_activated_where_it_is(tmp_path: Path, keys: Path) -> None:
    first, second = publish_tiny(tmp_path), publish_tiny(tmp_path, seed=1)
    run(bundle=str(first), signing_key=str(keys), activate=False)
    assert resolve(first.parent) == second
    run(bundle=str(first), trusted_keys=f"{keys}.pub")
    assert resolve(first.parent) == first


def test_going_back_makes_the_version_before_current(tmp_path: Path) -> None:
    first = publish_tiny(tmp_path)
    publish_tiny(tmp_path, seed=1)
    assert run(back=str(first.parent)) == (first, f"bundle {first} is current\n")
    with pytest.raises(BundleNotFoundError, match="nothing that was current before"):
        run(back=str(first.parent))


def test_going_back_to_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    first, second = publish_tiny(tmp_path), publish_tiny(tmp_path, seed=1)
    (first / "popularity.npy").write_bytes(b"other")
    with pytest.raises(ChecksumError):
        run(back=str(first.parent))
    assert resolve(first.parent) == second


def test_unsigned_bundle_is_not_published_where_a_signature_is_wanted(tmp_path: Path, keys: Path) -> None:
    original = publish_tiny(tmp_path / "here")
    with pytest.raises(SignatureError, match="is not signed"):
        run(bundle=str(original), to=str(tmp_path / "there"), trusted_keys=f"{keys}.pub")
    assert not (tmp_path / "there").exists()


def test_bundle_that_answers_otherwise_than_recorded_is_not_published(tmp_path: Path) -> None:
    bundle = Bundle.of(make_tiny().contents, CREATED)
    requests = sample_requests(bundle, CREATED, np.random.default_rng(0))
    golden = make_golden_requests(Recommender(bundle), requests)
    other_users = np.ones((N_USERS + 1, 4), dtype=np.float32)
    original = publish_tiny(tmp_path / "here", golden_requests=to_json(golden), user_vectors=other_users)
    with pytest.raises(BundleError, match="answers golden request 0 otherwise"):
        run(bundle=str(original), to=str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of bundle .* and back .* must be given"),
        ({"bundle": "a", "back": "b"}, "one of bundle .* and back .* must be given"),
        ({"back": "b", "to": "c"}, "back=b takes no to, signing_key or activate"),
        ({"bundle": "a", "activate": False}, "bundle=a would be neither moved, signed nor activated"),
    ],
)
def test_command_that_asks_for_nothing_or_two_things_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        PublishConfig(**settings)  # type: ignore[arg-type]  # as above


@pytest.mark.slow
def test_keys_and_releases_are_made_on_the_command_line(tmp_path: Path) -> None:
    first = publish_tiny(tmp_path / "here")

    def command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"training.{module}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    made = command("make_key", f"path={tmp_path / 'key'}")
    assert made.returncode == 0, made.stderr
    assert "MARQUEE_TRUSTED_KEYS" in made.stdout
    moved = command(
        "publish", f"bundle={first}", f"to={tmp_path / 'there'}", f"signing_key={tmp_path / 'key'}"
    )
    assert moved.returncode == 0, moved.stderr
    assert Bundle.load(tmp_path / "there" / "tiny", TrustedKeys.read(tmp_path / "key.pub"))
    refused = command("publish", f"back={tmp_path / 'there' / 'tiny'}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("BundleNotFoundError: ")
