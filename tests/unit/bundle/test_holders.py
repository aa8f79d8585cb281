"""Releases that know a user are found without loading them."""

from pathlib import Path

from marquee.bundle.holders import Holder, find_holders
from tests.support.bundles import CREATED, publish_tiny


def test_releases_that_know_a_user_are_found(tmp_path: Path) -> None:
    first, second = publish_tiny(tmp_path, seed=1), publish_tiny(tmp_path, seed=2)
    (second / "user_ids.json").write_text('["somebody","u\\"1"]')
    known = (first / "user_ids.json").read_text().split('"')[1]
    assert find_holders(first.parent, known) == [Holder(first.name, CREATED + 1)]
    assert find_holders(first, known) == [Holder(first.name, CREATED + 1)]  # one version is named
    assert find_holders(first.parent, 'u"1') == [Holder(second.name, CREATED + 2)]
    assert find_holders(first.parent, "some") == []


def test_release_that_cannot_be_read_may_know_anybody(tmp_path: Path) -> None:
    release = publish_tiny(tmp_path, seed=1)
    (release / "user_ids.json").write_text("")
    (release / "manifest.json").write_text("{}")
    assert find_holders(release.parent, "somebody") == [Holder(release.name, 0)]
