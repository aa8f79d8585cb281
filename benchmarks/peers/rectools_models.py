"""RecTools' ALS and BPR (github.com/MobileTeleSystems/RecTools): its wrappers around implicit's."""

from contextlib import suppress

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import ImplicitALSWrapperModel, ImplicitBPRWrapperModel

from benchmarks.peers.protocol import Contestant, Pairs, RaceIsOverError, Vectors


def main() -> None:
    """Fits the model that the settings name; BPR says nothing between epochs: it is judged at the end."""
    contestant = Contestant()
    pairs = Pairs.read(contestant.folder)
    columns = {
        Columns.User: pairs.users,
        Columns.Item: pairs.items,
        Columns.Weight: np.ones(len(pairs.items), dtype=np.float32),
        Columns.Datetime: pd.Timestamp(0),
    }
    dataset = Dataset.construct(pd.DataFrame(columns))
    users = dataset.user_id_map.convert_to_internal(np.arange(pairs.n_users))
    items = dataset.item_id_map.convert_to_internal(np.arange(pairs.n_items))
    settings = dict(contestant.settings)
    is_als = settings.pop("model") == "als"
    common = {**settings, "num_threads": contestant.threads, "random_state": 1}
    if is_als:
        als = AlternatingLeastSquares(**common)
        model = ImplicitALSWrapperModel(als)
    else:
        model = ImplicitBPRWrapperModel(BayesianPersonalizedRanking(**common))

    def vectors() -> Vectors:
        fitted = model.model  # implicit's; `get_vectors` answers only once the fit is over
        return fitted.user_factors[users], fitted.item_factors[items]

    if is_als:
        als.fit_callback = lambda *_: contestant.lap(vectors)
    contestant.start()
    with suppress(RaceIsOverError):
        model.fit(dataset)
        if not is_als:
            contestant.epoch = settings["iterations"]
            contestant.hand_over(vectors)
    contestant.finish("rectools", "implicit", "numpy")


if __name__ == "__main__":
    main()
