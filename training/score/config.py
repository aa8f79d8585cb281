"""The settings of scoring, of both uses, and which of the two is meant."""

from dataclasses import dataclass, field
from typing import Any  # filters are plain YAML

from marquee.errors import ConfigError
from training.distributed.config import ClusterConfig

_OF_BUNDLES = (
    "to",
    "users",
    "leave_out",
    "k",
    "surface",
    "surfaces",
    "kind",
    "filters",
    "exact",
    "at",
    "buckets",
    "against",
    "trusted_keys",
)
_OF_TRAITS = ("path", "traits", "out")


@dataclass(kw_only=True)
class ScoreConfig:
    """Users to score by a bundle, or rows to score by a run of customers: `bundle` or `run` says which.

    Attributes:
        bundle: Folder of a bundle, or of a channel whose current release is taken.
        to: Folder of scores to write; a folder that is half-written is completed.
        users: Table of users, `.parquet`, `.jsonl`, or `.csv` of ids alone: `user_id`, `history` (item ids,
            or events of `item_id`, `kind` and `value`), and attributes; empty for all that the bundle knows.
        leave_out: File of ids, one per line, that are not scored: who was erased, or did not agree.
        k: Items for each user; 0 for as many as the surface has, or 10.
        surface: Where the items are to be shown.
        surfaces: File that declares it, as the service has it; empty for a surface that declares nothing.
        kind: `content` or `ad`; empty for the surface's, or both.
        filters: What the items' attributes must be, beside those of the surface.
        exclude_seen: Whether what a user had is left out; none for as the surface has it.
        exact: Whether all items are compared, whatever index the bundle has.
        at: Moment that availability and features go by, seconds since 1970 UTC; 0 for now.
        buckets: Into how many parts users are dealt; 0 for about 50,000 users in each, or as `against` has.
        against: Earlier folder of scores: what differs is written and counted.
        trusted_keys: File of public keys, one of which must have signed the bundle.
        cluster: Who does the work.
        run: Folder of a run of customers, or `latest` beside it.
        path: The new table, with the columns of the run's table; the outcome may be missing.
        traits: Names of traits, or of one sentiment; empty for all probabilities that the run has fitted.
        out: File to write, `.csv` or `.parquet`; empty for `<path>.scores.csv`.
    """

    bundle: str = ""
    to: str = ""
    users: str = ""
    leave_out: str = ""
    k: int = 0
    surface: str = ""
    surfaces: str = ""
    kind: str = ""
    # Of no type: the keys of a typed one could not be given on the command line.
    filters: Any = None
    exclude_seen: bool | None = None
    exact: bool = False
    at: int = 0
    buckets: int = 0
    against: str = ""
    trusted_keys: str = ""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    run: str = ""
    path: str = ""
    traits: str = ""
    out: str = ""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError unless the settings are those of one use, and whole."""
        if bool(self.bundle) == bool(self.run):
            raise ConfigError(
                "score needs bundle=… and to=… for the best items of users, or run=… and path=… for the "
                f"traits of new rows, got bundle={self.bundle!r} and run={self.run!r}; give one of them"
            )
        used, others, needed = ("bundle", _OF_TRAITS, "to") if self.bundle else ("run", _OF_BUNDLES, "path")
        strange = [name for name in others if getattr(self, name)]
        if strange:
            raise ConfigError(
                f"{strange[0]} has no meaning beside {used}=…, got {getattr(self, strange[0])!r}; leave it "
                f"out, or name a {'run' if self.bundle else 'bundle'} in place of the {used}"
            )
        if not getattr(self, needed):
            raise ConfigError(f"{needed} must be given beside {used}=…, got ''; add {needed}=…")
        for name in ("k", "at", "buckets"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not isinstance(self.filters, dict | None):
            raise ConfigError(
                f"filters must be conditions by attribute, such as {{category:{{any_of:[shoes]}}}}, got "
                f"{self.filters!r}"
            )
        if self.surfaces and not self.surface:
            raise ConfigError(f"surface must name one of {self.surfaces}, got ''; add surface=…")
