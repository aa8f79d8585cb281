"""Names of many users in files: the same answers as a dictionary, and nothing held."""

from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.user_ids import USER_ID_FILES, MappedIds, user_file, user_id_arrays
from marquee.core.ids import IdMap
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import BundleError, DataError, UnknownIdError
from tests.support.bundles import NOW, publish_tiny

NAMES = ("u2", "ünï-✓", "a", "u1", "\ud800", "with a blank", "u" * 300, "Z")


def mapped(names: tuple[str, ...]) -> MappedIds:
    arrays = user_id_arrays(names)
    return MappedIds(*(arrays[user_file(name)] for name in ("text", "offsets", "hashes", "rows")))  # type: ignore[arg-type]  # by name


def test_every_name_is_found_as_by_a_dictionary() -> None:
    found, expected = mapped(NAMES), IdMap(NAMES)
    asked = [*NAMES, "", "u", "u3", "never seen"]
    assert found.encode(asked).tolist() == expected.encode(asked).tolist()
    assert [found.index(one) for one in asked] == [expected.index(one) for one in asked]
    assert [one in found for one in asked] == [one in expected for one in asked]
    assert found.decode([3, 1]) == expected.decode([3, 1])
    assert (tuple(found.ids), found.ids[2], found.ids[:2]) == (NAMES, "a", NAMES[:2])
    assert len(found) == len(found.ids) == len(NAMES)
    assert found.extend(["new", "a"]).ids == (*NAMES, "new")
    assert 7 not in found


def test_empty_name_is_one_as_any_other() -> None:
    assert mapped(("", "a")).encode(["", "a", "b"]).tolist() == [1, 2, 0]


def test_a_million_names_are_told_apart() -> None:
    n = 1_000_000
    found = mapped(tuple(f"user-{number}" for number in range(n)))
    some = np.random.default_rng(0).integers(0, n, 2000)
    assert found.encode([f"user-{number}" for number in some]).tolist() == (some + 1).tolist()
    assert not found.encode([f"User-{number}" for number in some]).any()


def test_names_that_share_a_hash_are_told_apart_by_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marquee.bundle.user_ids._hash", lambda text: np.uint64(len(text) % 2))
    assert mapped(NAMES).encode([*NAMES, "b", "cc"]).tolist() == [*range(1, len(NAMES) + 1), 0, 0]


@pytest.mark.parametrize("index", [0, len(NAMES) + 1, -1])
def test_index_without_a_name_is_refused(index: int) -> None:
    with pytest.raises(UnknownIdError, match=f"index must be between 1 and {len(NAMES)}, got {index}"):
        mapped(NAMES).decode([index])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("offsets", lambda a: a + 1, "offsets of ids must reach from 0 to"),
        ("offsets", lambda a: np.array([a[0], *a[1:-1][::-1], a[-1]]), "must rise"),
        ("hashes", lambda a: a[::-1].copy(), "must rise"),
        ("rows", lambda a: a - 1, "rows of ids must be 1 …"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, change: object, message: str) -> None:
    arrays = user_id_arrays(NAMES)
    arrays[user_file(name)] = change(arrays[user_file(name)])  # type: ignore[operator]  # a function
    with pytest.raises(DataError, match=message):
        MappedIds(*(arrays[user_file(one)] for one in ("text", "offsets", "hashes", "rows")))  # type: ignore[arg-type]  # by name


def test_bundle_of_many_users_answers_as_one_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Recommender.load(publish_tiny(tmp_path / "plain"))
    monkeypatch.setattr("marquee.bundle.contents.MIN_USERS", 1)
    path = publish_tiny(tmp_path / "mapped")
    bundle = Bundle.load(path)
    assert isinstance(bundle.user_ids, MappedIds)
    assert set(bundle.manifest.files) >= USER_ID_FILES
    assert not USER_ID_FILES & set(plain.bundle.manifest.files)
    requests = [Request(timestamp=NOW, user_id=name) for name in ("u1", "u6", "stranger")]
    answers, expected = Recommender(bundle).recommend(requests), plain.recommend(requests)
    assert [one.items for one in answers] == [one.items for one in expected]
    assert [one.unknown_user for one in answers] == [False, False, True]


def test_some_files_of_names_without_the_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marquee.bundle.contents.MIN_USERS", 1)
    whole = user_id_arrays
    monkeypatch.setattr(
        "marquee.bundle.contents.user_id_arrays",
        lambda ids: {name: array for name, array in whole(ids).items() if name != "user_id_rows.npy"},
    )
    with pytest.raises(BundleError, match=r"the files of user ids .*expected .*user_id_rows"):
        Bundle.load(publish_tiny(tmp_path))
