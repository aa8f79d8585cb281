"""The declaration of segments."""

from dataclasses import dataclass, field

from marquee.errors import ConfigError


@dataclass(kw_only=True)
class SegmentConfig:
    """Groups of customers.

    Attributes:
        by: `rfm`, fifths of recency, frequency and money of the transactions, or `clusters`.
        columns: What clusters are made of; empty for all columns that may be used.
        vectors: Parquet file with `user_id` and `vector`, which clusters are made of in place of columns.
        k: Number of clusters; 0 for the largest whose seeds agree.
        max_k: Largest number that is tried.
        min_size: No segment has fewer members.
        value: Column that is what a customer brings; empty for the revenue of the transactions.
    """

    by: str = "rfm"
    columns: list[str] = field(default_factory=list)
    vectors: str = ""
    k: int = 0
    max_k: int = 8
    min_size: int = 100
    value: str = ""

    def __post_init__(self) -> None:
        if self.by not in ("rfm", "clusters"):
            raise ConfigError(f"by must be rfm or clusters, got {self.by!r}")
        if self.by == "rfm" and (self.columns or self.vectors or self.k):
            raise ConfigError(
                f"columns, vectors and k are for clusters, got by={self.by!r} with one of them; set by: "
                "clusters, or leave them out"
            )
        if self.k == 1 or self.k < 0 or self.max_k < 2 or self.min_size < 1:
            raise ConfigError(
                f"k must be 0, or 2 and more, max_k 2 and min_size 1 or more, got {self.k}, {self.max_k} and "
                f"{self.min_size}"
            )
