"""RecBole's BPR (github.com/RUCAIBox/RecBole), epoch by epoch through its own trainer and data loader."""

from contextlib import suppress

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer
from recbole.utils import init_seed

from benchmarks.peers.protocol import Contestant, Pairs, RaceIsOverError, Vectors

NAME = "pairs"
ALWAYS = {
    "data_path": None,
    "load_col": {"inter": ["user_id", "item_id"]},
    "benchmark_filename": ["train", "valid", "valid"],  # it insists on parts to judge; they are not used
    "train_neg_sample_args": {
        "distribution": "uniform",
        "sample_num": 1,
        "alpha": 1.0,
        "dynamic": False,
        "candidate_num": 0,
    },
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
}


def _write(pairs: Pairs, contestant: Contestant) -> None:
    """Writes the pairs in the form that RecBole reads."""
    folder = contestant.folder / NAME
    folder.mkdir()
    rows = [
        f"{user}\t{item}\n" for user, item in zip(pairs.users.tolist(), pairs.items.tolist(), strict=True)
    ]
    for part, some in (("train", rows), ("valid", rows[:1])):
        head = "user_id:token\titem_id:token\n"
        (folder / f"{NAME}.{part}.inter").write_text(head + "".join(some), encoding="ascii")


def main() -> None:
    """Fits BPR with the settings' knobs."""
    contestant = Contestant()
    pairs = Pairs.read(contestant.folder)
    _write(pairs, contestant)
    settings = dict(contestant.settings)
    epochs = settings.pop("epochs")
    always = {**ALWAYS, "data_path": str(contestant.folder), "checkpoint_dir": str(contestant.folder)}
    config = Config(model="BPR", dataset=NAME, config_dict={**always, **settings})
    init_seed(1, reproducibility=True)
    dataset = create_dataset(config)
    users = dataset.token2id("user_id", [str(user) for user in range(pairs.n_users)])
    items = dataset.token2id("item_id", [str(item) for item in range(pairs.n_items)])
    train, _, _ = data_preparation(config, dataset)
    model = BPR(config, train.dataset)
    trainer = Trainer(config, model)

    def vectors() -> Vectors:
        tables = (model.user_embedding, model.item_embedding)
        found = [
            table.weight.detach().numpy()[rows] for table, rows in zip(tables, (users, items), strict=True)
        ]
        return np.asarray(found[0]), np.asarray(found[1])

    contestant.start()
    with suppress(RaceIsOverError):
        for epoch in range(epochs):
            trainer._train_epoch(train, epoch, show_progress=False)
            contestant.lap(vectors)
    contestant.finish("recbole", "torch", "numpy", "pandas")


if __name__ == "__main__":
    main()
