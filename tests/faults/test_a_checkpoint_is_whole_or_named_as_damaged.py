"""A checkpoint is written beside the one before and renamed; a damaged one is named in words."""

from pathlib import Path

import pytest
import torch

from marquee.errors import ConfigError
from tests.support.mini_shop import MiniShop, run
from training import export, train
from training.fitting.checkpoints import WholeCheckpoints, read_state


def test_failed_write_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"state_dict": {"a": torch.ones(2)}}, path)

    def fill_the_disk(_: object, file: object) -> None:
        file.write(b"half of it")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        WholeCheckpoints().save_checkpoint({"state_dict": {"a": torch.zeros(2)}}, path)
    assert read_state(path)["a"].tolist() == [1.0, 1.0]
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 the head of an archive"])
def test_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"last\.ckpt is damaged: its \d+ bytes are no whole file of torch; train again"
    ):
        read_state(path)
    (tmp_path / "best.ckpt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"copy .*best\.ckpt over it"):
        read_state(path)


def test_commands_say_which_checkpoint_is_damaged(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.train(monkeypatch) == 0
    checkpoints = shop.latest / "checkpoints"
    for name in ("last.ckpt", "best.ckpt"):
        whole = (checkpoints / name).read_bytes()
        (checkpoints / name).write_bytes(whole[: len(whole) // 2])
    assert run(monkeypatch, train.main, f"resume={shop.latest}", "trainer.epochs=2") == 2
    said = capsys.readouterr().err
    assert "last.ckpt is damaged" in said
    assert run(monkeypatch, export.main, f"run={shop.latest}", f"bundles={shop.path}") == 2
    said += capsys.readouterr().err
    assert "best.ckpt is damaged" in said
    assert "Traceback" not in said
