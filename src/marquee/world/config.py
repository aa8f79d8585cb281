"""How large, how long and how noisy the simulated market is."""

from dataclasses import dataclass

from marquee.errors import ConfigError

FEED_SLOTS = 8
SIDEBAR_SLOTS = 4


@dataclass(kw_only=True)
class WorldConfig:
    """A simulated market of users, content and ads.

    Attributes:
        seed: The world is a pure function of this and of the fields below.
        start: First second of the world, a midnight in UTC; the default is a Monday.
        n_days: Length of the world.
        n_users: Users; a share of `newcomer_fraction` arrives while the world runs.
        n_content: Content items; a share of `new_item_fraction` appears while the world runs.
        n_ads: Ads, spread over `n_campaigns` campaigns of `n_advertisers` advertisers.
        n_campaigns: Campaigns; each has a flight, outside of which its ads are not available.
        n_advertisers: Advertisers; each owns at least one campaign.
        latent_dim: Dimensions of taste.
        n_categories: Categories of items.
        requests_per_user: Mean number of requests of a user who is there from start to end.
        taste_strength: How much taste sways a click; 0 makes everybody alike.
        own_taste_fraction: Share of a user's taste that their attributes do not explain.
        drift_degrees: How far a taste turns over the whole world.
        newcomer_fraction: Share of the users who arrive after the start.
        new_item_fraction: Share of the content that appears after the start.
        expiring_fraction: Share of the content that is withdrawn before the end.
        policy_insight: How well the logging policy knows tastes: 0 for no more than attributes explain, 1
            for all but their drift.
        exploration: Share of uniform noise in the logging policy; the rest follows popularity and what it
            knows of tastes.
    """

    seed: int = 0
    start: int = 1_704_067_200
    n_days: int = 90
    n_users: int = 2_000
    n_content: int = 1_000
    n_ads: int = 200
    n_campaigns: int = 40
    n_advertisers: int = 20
    latent_dim: int = 8
    n_categories: int = 12
    requests_per_user: float = 14.0
    taste_strength: float = 1.0
    own_taste_fraction: float = 0.6
    drift_degrees: float = 45.0
    newcomer_fraction: float = 0.3
    new_item_fraction: float = 0.35
    expiring_fraction: float = 0.15
    policy_insight: float = 0.8
    exploration: float = 0.2

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key of an impossible size or share."""
        for key in ("n_days", "n_users", "n_campaigns", "n_advertisers"):
            _validate_range(key, getattr(self, key), 1, None)
        _validate_range("latent_dim", self.latent_dim, 2, None)  # a taste needs room to turn
        _validate_range("seed", self.seed, 0, None)
        _validate_range("start", self.start, 0, None)
        # Days and hours are counted from the start, without an offset of their own.
        if self.start % 86_400:
            raise ConfigError(f"start must be a midnight in UTC, got {self.start} (config data.world)")
        # `words.CATEGORIES` names twelve.
        _validate_range("n_categories", self.n_categories, 1, 12)
        # Fewer could not fill one feed.
        _validate_range("n_content", self.n_content, FEED_SLOTS, None)
        # Campaigns take ads in turn, and advertisers campaigns: with fewer, one would stay empty.
        _validate_range("n_ads", self.n_ads, self.n_campaigns, None)
        _validate_range("n_campaigns", self.n_campaigns, self.n_advertisers, None)
        _validate_range("taste_strength", self.taste_strength, 0, None)
        # Beyond a right angle users would come to dislike what they liked.
        _validate_range("drift_degrees", self.drift_degrees, 0, 90)
        for key in (
            "own_taste_fraction",
            "newcomer_fraction",
            "new_item_fraction",
            "expiring_fraction",
            "policy_insight",
            "exploration",
        ):
            _validate_range(key, getattr(self, key), 0, 1)
        # Without noise a propensity may come near 0, and 1
        # propensity grows without bound.
        for key in ("requests_per_user", "exploration"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{key} must be more than 0, got {getattr(self, key)} (config data.world)")


def _validate_range(key: str, value: float, low: float, high: float | None) -> None:
    """Raises ConfigError unless `low <= value <= high`; no `high` for no upper bound."""
    if value < low or (high is not None and value > high):
        expected = f"{low} or more" if high is None else f"between {low} and {high}"
        raise ConfigError(f"{key} must be {expected}, got {value} (config data.world)")
