"""Tells models apart by what the same users got from each: paired tests, and what they could have seen.

A verdict needs three numbers: the difference, how often chance alone makes one as large, and the size of
difference that would have been noticed. The last one is what makes "cannot tell" worth reading.
Does not rank anything (see `evaluation`) and puts nothing into words (see `reports`).
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from zlib import crc32

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError

SIGNIFICANCE = 0.05
POWER = 0.8
# The observed assignment counts too: with it p-values are multiples of 1 / 10,000.
N_FLIPS = 9_999
FLIPS_MEMORY_MB = 16

Checksums = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two models on the same users.

    Attributes:
        difference: Mean of first minus second.
        p_value: How often a difference at least as large comes about if it does not matter which of the
            two a user's values come from; after `holm`, corrected for the number of comparisons.
        detectable: Size of a true difference that such a test finds in 80 % of the cases; None where all
            users differ alike, which says nothing of how far other users would.
        n_users: Users that both have a value for.
    """

    difference: float
    p_value: float
    detectable: float | None
    n_users: int


def paired_test(
    differences: Float64Array,
    generator: np.random.Generator,
    *,
    n_comparisons: int = 1,
    n_flips: int = N_FLIPS,
) -> PairedTest:
    """Returns the two-sided sign-flip test of paired differences.

    Under the hypothesis that the two models are alike, each user's difference is as likely to have the
    other sign. Assumes nothing else of the values, which are bounded, skewed and full of zeros.

    Args:
        differences: First minus second of each user, (n_users,); NaN where a user has no value.
        generator: Draws the signs.
        n_comparisons: How many tests are read together: a true difference must be larger to be found.
        n_flips: Drawn assignments of signs; the smallest p-value is 1 / (n_flips + 1).

    Raises:
        DataError: If fewer than 2 users have a value.

    Source:
        Fisher 1935, "The Design of Experiments", section 21; recommended for retrieval by Smucker, Allan
        and Carterette 2007, CIKM. The p-value counts the observed assignment: Phipson and Smyth 2010.

    Example:
        >>> test = paired_test(np.array([0.5, 0.25, 0.0, 0.25]), np.random.default_rng(0))
        >>> test.difference, 0.2 < test.p_value < 0.3  # 2 of the 8 assignments of three signs
        (0.25, True)
    """
    present = differences[~np.isnan(differences)]
    n_users = len(present)
    if n_users < 2:
        raise DataError(f"a paired test needs at least 2 users, got {n_users}; judge more users")
    observed = abs(float(present.sum()))
    # A difference of 0 is 0 under either sign: it changes no sum.
    moved = np.abs(present[present != 0])
    n_as_large = 0
    n_at_once = max(1, FLIPS_MEMORY_MB * 2**20 // (8 * max(len(moved), 1)))
    n_bytes = -(-len(moved) // 8)
    tolerance = 1e-9 * float(moved.sum())  # the same sum in another order is not a smaller one
    for start in range(0, n_flips, n_at_once):
        n = min(n_at_once, n_flips - start)
        # A sign needs one random bit: eight come in a byte.
        bits = np.unpackbits(
            np.frombuffer(generator.bytes(n * n_bytes), np.uint8).reshape(n, n_bytes), axis=1
        )
        sums = 2.0 * (bits[:, : len(moved)].astype(np.float64) @ moved) - moved.sum()  # 1 is plus, 0 minus
        n_as_large += int(np.count_nonzero(np.abs(sums) >= observed - tolerance))
    # By range, not by deviation: rounding may leave equal values a deviation above 0.
    standard_error = float(present.std(ddof=1)) / n_users**0.5 if np.ptp(present) > 0 else None
    return PairedTest(
        difference=float(present.mean()),
        p_value=(n_as_large + 1) / (n_flips + 1),
        detectable=None if standard_error is None else _factor(n_comparisons) * standard_error,
        n_users=n_users,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns p-values that may be compared with one level all together, in the same order.

    Whatever the tests have to do with each other, the chance that any true hypothesis among them is
    rejected stays at that level.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6(2).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    # Corrected values never fall along the order: Holm's steps stop at the first one not rejected.
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return tuple(corrected.tolist())


@dataclass(frozen=True)
class JudgedUsers:
    """Metrics of each user by one model of one run: enough to compare runs later.

    Attributes:
        model: Name of the model.
        dataset: Name of the data set.
        fingerprint: Checksum of the data that were read.
        split: The split in words.
        part: Part of the split that was judged.
        n_items: Items ranked for every user.
        headline: The metric that the run's verdict is about.
        user_ids: The users evaluated.
        targets: Checksum of each user's targets, (n_users,) uint32: runs compare where it is equal.
        values: Metric → value of each user, (n_users,).
    """

    model: str
    dataset: str
    fingerprint: str
    split: str
    part: str
    n_items: int
    headline: str
    user_ids: tuple[str, ...]
    targets: Checksums
    values: Mapping[str, Float64Array]

    def __post_init__(self) -> None:
        shapes = {(len(self.user_ids),), self.targets.shape, *(v.shape for v in self.values.values())}
        if len(shapes) != 1:
            raise ShapeError(f"users, targets and values must have one length, got {sorted(shapes)}")

    def write(self, path: Path) -> None:
        """Writes the values as compressed arrays, nothing pickled."""
        facts = {
            name: getattr(self, name)
            for name in ("model", "dataset", "fingerprint", "split", "part", "n_items", "headline")
        }
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                facts=np.array(json.dumps(facts)),
                user_ids=np.array(self.user_ids),
                targets=self.targets,
                names=np.array(list(self.values)),
                values=np.stack([*self.values.values()]).astype(np.float32),
            )

    @classmethod
    def read(cls, path: Path) -> "JudgedUsers":
        """Reads the file that `write` wrote.

        Raises:
            DataError: If the file is missing or no such file.
        """
        try:
            # A pickle could run code of whoever wrote the file.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                names = [str(name) for name in file["names"]]
                values = file["values"].astype(np.float64)
                return cls(
                    **facts,
                    user_ids=tuple(file["user_ids"].tolist()),
                    targets=file["targets"],
                    values=dict(zip(names, values, strict=True)),
                )
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} must hold the values of each user, got {error}; judge the run again with "
                "`python -m training.evaluate run=…`"
            ) from error


def target_checksums(targets: ItemLists, queries: IndexArray, item_ids: Sequence[str]) -> Checksums:
    """Returns a checksum of each query's set of target ids, (len(queries),) uint32.

    Args:
        targets: Of all queries, 0 for an item outside the catalog.
        queries: The rows wanted.
        item_ids: Id of each index, n_items + 1.
    """
    rows = [targets.item_index[targets.offsets[query] : targets.offsets[query + 1]] for query in queries]
    # By id, as a sorted set: indices and order differ between runs of other catalogs.
    names = ["\n".join(sorted({item_ids[item] for item in row.tolist()})) for row in rows]
    return np.array([crc32(name.encode()) for name in names], dtype=np.uint32)


def common_users(first: JudgedUsers, second: JudgedUsers) -> tuple[IndexArray, IndexArray]:
    """Returns the rows of the users that both runs asked the same question, in the order of `first`."""
    row_of = {user_id: row for row, user_id in enumerate(second.user_ids)}
    pairs = [
        (row, row_of[user_id])
        for row, user_id in enumerate(first.user_ids)
        # Other targets are another question, and the difference would be the split's.
        if user_id in row_of and first.targets[row] == second.targets[row_of[user_id]]
    ]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def corrected(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    """Returns the tests with their p-values corrected for being read together."""
    p_values = holm([test.p_value for test in tests])
    return tuple(
        PairedTest(**{**asdict(test), "p_value": p}) for test, p in zip(tests, p_values, strict=True)
    )


def _factor(n_comparisons: int) -> float:
    """Returns how many standard errors a true difference must have to be found with probability `POWER`."""
    normal = NormalDist()
    # Bonferroni's level is the first and strictest step of Holm's.
    return normal.inv_cdf(1 - SIGNIFICANCE / (2 * n_comparisons)) + normal.inv_cdf(POWER)
