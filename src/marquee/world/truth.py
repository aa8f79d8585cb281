"""Hidden truth of the simulated market, which nobody in it can see: tastes, appeal, probabilities.

A user looks at a position with a chance that only the position decides, and clicks what they look at with
a chance that only taste, appeal and context decide. So position bias is known exactly, and a ranking by
`click_probability` is the best one there is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import IndexArray

RealArray = npt.NDArray[np.float64]

# A chance of 12 % for an item of no special appeal at `FAIR_AFFINITY`.
FAIR_CLICK_LOGIT = -2.0
# Above the affinity of most pairs: most items are no match for a user.
FAIR_AFFINITY = 0.6
AFFINITY_GAIN = 10.0
DAYPARTS = 4


@dataclass(frozen=True)
class Truth:
    """Tastes and appeal; rows are those of `World.users` and `World.items`.

    Attributes:
        user_vectors: Taste on the first day, unit length, (n_users, latent_dim).
        user_turns: Where taste turns to: unit length, at right angles to it, (n_users, latent_dim).
        segment_vectors: The part of taste that a user's attributes explain, unit length,
            (n_users, latent_dim).
        item_vectors: Unit length, (n_items, latent_dim).
        item_appeal: What all users alike see in an item, in logits, (n_items,).
        item_category: Row of the category, (n_items,).
        daypart_effects: Of the quarter of the day, in logits, (DAYPARTS, n_categories), mean 0.
        device_effects: Of the device in hand, in logits, (n_devices, n_categories), mean 0.
        drift_per_day: How far taste turns in a day, in radians.
        affinity_gain: Logits per unit of inner product.
    """

    user_vectors: RealArray
    user_turns: RealArray
    segment_vectors: RealArray
    item_vectors: RealArray
    item_appeal: RealArray
    item_category: IndexArray
    daypart_effects: RealArray
    device_effects: RealArray
    drift_per_day: float
    affinity_gain: float

    def tastes(self, day: float) -> RealArray:
        """Returns every user's taste on a day, unit length, (n_users, latent_dim)."""
        angle = self.drift_per_day * day
        # The two are orthogonal and of length 1: so is every turn between them.
        return np.asarray(np.cos(angle) * self.user_vectors + np.sin(angle) * self.user_turns)

    def click_logits(self, user_rows: IndexArray, item_rows: IndexArray, day: float) -> RealArray:
        """Returns the logit of a click on what is looked at, (users, items), in a neutral context."""
        affinity = self.tastes(day)[user_rows] @ self.item_vectors[item_rows].T
        return self._logits(affinity, item_rows)

    def exposure_logits(
        self, user_rows: IndexArray, item_rows: IndexArray, day: float, hour: IndexArray, device: IndexArray
    ) -> RealArray:
        """Returns the logit of a click on what is looked at, element by element, context included."""
        # Row by row: a product of matrices would hold every pair of users and items.
        affinity = np.einsum("nd,nd->n", self.tastes(day)[user_rows], self.item_vectors[item_rows])
        return self._logits(affinity, item_rows) + self.context_logits(item_rows, hour, device)

    def _logits(self, affinity: RealArray, item_rows: IndexArray) -> RealArray:
        """Returns logits of affinities, (…, n) as `item_rows`; most items are no match at all."""
        match = self.affinity_gain * (affinity - FAIR_AFFINITY)
        return FAIR_CLICK_LOGIT + match + self.item_appeal[item_rows]

    def context_logits(self, item_rows: IndexArray, hour: IndexArray, device: IndexArray) -> RealArray:
        """Returns the terms that hour and device add to the logit of a click, element by element."""
        category = self.item_category[item_rows]
        daypart = hour * DAYPARTS // 24
        return self.daypart_effects[daypart, category] + self.device_effects[device, category]


def sigmoid(logits: RealArray) -> RealArray:
    """Returns 1 / (1 + exp(-logits)), without overflow."""
    # exp(-logits) overflows for very negative logits, where tanh does not.
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def look_probability(surface: IndexArray, position: IndexArray) -> RealArray:
    """Returns the chance that a position is looked at, element by element; position 1 is the top.

    Args:
        surface: 0 for the feed, 1 for the sidebar.
        position: 1 …
    """
    top = np.array([0.95, 0.7])  # feed, sidebar
    decay = np.array([0.15, 0.3])
    return np.asarray(top[surface] / (1.0 + decay[surface] * (position - 1)))
