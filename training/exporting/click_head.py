"""The head of a run as a bundle holds it: its graph, its counts, and the latest exposures of each user."""

import numpy as np

from marquee.bundle.clicks.contents import HeadContents
from marquee.core.ids import Ids
from marquee.data.shown.outcomes import NEVER
from marquee.nn.probabilities.export import export_network
from training.fitting.probabilities.run import HeadOfRun

N_PARITY_EXPOSURES = 1000


def head_contents(of_run: HeadOfRun, user_ids: Ids) -> HeadContents:
    """Returns the files of a head.

    Args:
        of_run: The head and the exposures of its run.
        user_ids: Users of the bundle, in the order of its other tables.

    Raises:
        ParityError: If the exported network disagrees with the trained one.
    """
    exposures, shown = of_run.exposures, of_run.exposures.shown
    some = slice(-N_PARITY_EXPOSURES, None)
    graph, _ = export_network(
        of_run.head.network, exposures.columns[some], exposures.place[some], exposures.score[some]
    )
    # By the bundle's users: the exposures may have others, who did nothing that counts.
    index = np.concatenate([[0], user_ids.encode(exposures.user_ids.ids)])[shown.user]
    order = np.lexsort((shown.timestamp, index))
    order = order[index[order] > 0]  # nobody's exposures are nobody's past
    sizes = np.bincount(index[order], minlength=len(user_ids) + 1)
    kept = _latest(sizes, exposures.spec.window)
    rows = order[kept]
    counts = exposures.described.counts
    return HeadContents(
        graph=graph,
        spec=exposures.spec,
        counts=np.stack([counts.came, counts.expected], axis=1).astype(np.float32),
        slots=exposures.slots.astype(np.int32),
        numbers=exposures.numbers,
        offsets=np.concatenate([[0], np.cumsum(np.minimum(sizes, exposures.spec.window))]),
        shown_items=shown.item[rows].astype(np.int32),
        shown_expected=exposures.described.expected[rows],
        shown_came=shown.reacted_at[rows] != NEVER,
        shown_at=shown.timestamp[rows],
    )


def _latest(sizes: np.ndarray, window: int) -> np.ndarray:
    """Returns which of the grouped exposures are among the latest of their user, (n,) bool."""
    ends = np.repeat(np.cumsum(sizes), sizes)
    return np.asarray(ends - np.arange(len(ends)) <= window)
