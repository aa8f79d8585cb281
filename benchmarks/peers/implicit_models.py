"""implicit's ALS and BPR (github.com/benfred/implicit), by the callback that their `fit` offers."""

from contextlib import suppress

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

from benchmarks.peers.protocol import Contestant, Pairs, RaceIsOverError

MODELS = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}


def main() -> None:
    """Fits the model that the settings name."""
    contestant = Contestant()
    pairs = Pairs.read(contestant.folder)
    shape = (pairs.n_users, pairs.n_items)
    ones = np.ones(len(pairs.items), dtype=np.float32)
    matrix = csr_matrix((ones, pairs.items.astype(np.int32), pairs.offsets.astype(np.int32)), shape=shape)
    settings = dict(contestant.settings)
    model = MODELS[settings.pop("model")](
        **settings, num_threads=contestant.threads, random_state=1, dtype=np.float32
    )
    contestant.start()
    with suppress(RaceIsOverError):
        model.fit(
            matrix,
            show_progress=False,
            callback=lambda *_: contestant.lap(lambda: (model.user_factors, model.item_factors)),
        )
    contestant.finish("implicit", "numpy", "scipy")


if __name__ == "__main__":
    main()
