"""The model store: a whole copy under the bundle's name and version, once, whatever came before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.publishing import publish
from marquee.errors import BundleError, ConfigError
from tests.support.bundles import make_tiny, publish_tiny
from tests.support.quiet_bentoml import bentoml
from tests.support.quiet_bentoml import register as command


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    """A store of our own in place of the user's."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    folder = tmp_path / "models"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return publish_tiny(tmp_path / "bundles")


def test_registered_bundle_is_a_whole_one(bundle: Path) -> None:
    tag = command.register(str(bundle.parent))
    assert tag == bentoml.Tag("tiny", bundle.name.lower())
    model = bentoml.models.get(tag)
    assert Bundle.load(model.path).manifest == Bundle.load(bundle).manifest
    assert model.info.metadata["metrics"] == {"ndcg@10": 0.25}


def test_registering_twice_changes_nothing(bundle: Path) -> None:
    first = command.register(str(bundle))
    created = bentoml.models.get(first).creation_time
    assert command.register(str(bundle)) == first
    assert bentoml.models.get(first).creation_time == created
    assert len(bentoml.models.list("tiny")) == 1


def test_two_versions_stand_side_by_side(tmp_path: Path) -> None:
    tags = {command.register(str(publish_tiny(tmp_path / "bundles", seed=seed))) for seed in (1, 2)}
    assert {model.tag for model in bentoml.models.list("tiny")} == tags


def test_version_that_begins_like_another_is_another(tmp_path: Path) -> None:
    for version in ("v1-long", "v1"):
        command.register(str(publish(make_tiny().contents, tmp_path, "tiny", created=1, version=version)))
    assert {str(model.tag) for model in bentoml.models.list("tiny")} == {"tiny:v1", "tiny:v1-long"}


@pytest.mark.parametrize("lost", ["model.yaml", "manifest.json", "item_vectors.npy"])
def test_half_of_a_bundle_is_replaced(bundle: Path, store: Path, lost: str) -> None:
    tag = command.register(str(bundle))
    folder = store / tag.path()
    (folder / lost).unlink()
    assert command.register(str(bundle)) == tag
    assert Bundle.load(folder).version == bundle.name


def test_another_bundle_of_the_same_version_is_refused(tmp_path: Path) -> None:
    one, other = (
        publish(make_tiny(seed).contents, tmp_path / str(seed), "tiny", created=1, version="v1")
        for seed in (1, 2)
    )
    command.register(str(one))
    with pytest.raises(BundleError, match=f"holds another bundle as tiny:v1 than {other}"):
        command.register(str(other))


def test_name_that_cannot_be_a_tag_is_refused(tmp_path: Path) -> None:
    bundle = publish(make_tiny().contents, tmp_path, "tiny", created=1, version="v1-")
    with pytest.raises(ConfigError, match="cannot hold bundle 'tiny' in version 'v1-'"):
        command.register(str(bundle))


def test_damaged_bundle_is_not_registered(bundle: Path, store: Path) -> None:
    (bundle / "popularity.npy").write_bytes(b"")
    with pytest.raises(BundleError, match=r"popularity\.npy"):
        command.register(str(bundle))
    assert not list(store.iterdir())


def test_command_prints_the_tag(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([f"bundle={bundle}"]) == 0
    assert capsys.readouterr().out.strip() == f"tiny:{bundle.name.lower()}"


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([f"bundle={tmp_path}"]) == 1
    assert f"not registered: {tmp_path} holds neither" in capsys.readouterr().err
    assert command.main([]) == 2
    assert "usage: python -m serving.register bundle=" in capsys.readouterr().err
