"""Lists of a published split, permuted: the sets stay, the places go."""

from pathlib import Path

from benchmarks.recipe_published import shuffle_lists


def test_a_list_keeps_its_items_and_loses_their_places(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "shuffled"
    source.mkdir()
    folder.mkdir()
    items = [str(item) for item in range(50)]
    (source / "train.txt").write_text("u1 " + " ".join(items) + "\nu2\n", encoding="utf8")
    shuffle_lists(source, folder)
    first, second = (folder / "train.txt").read_text(encoding="utf8").splitlines()
    user, *found = first.split(" ")
    assert (user, second) == ("u1", "u2")
    assert found != items
    assert sorted(found, key=int) == items
