"""Settings of the trait `sentiment`."""

from dataclasses import dataclass

from marquee.data.table_config import TableConfig


@dataclass(kw_only=True)
class SentimentConfig:
    """Feedback of customers, some of it labelled.

    Attributes:
        feedback: One row per text: `user_id`, `text`, and `praises`: 1 for praise, 0 for blame, empty where
            it is not known, such as `CASE WHEN stars >= 4 THEN 1 WHEN stars <= 2 THEN 0 END`; `timestamp` for
            the series.
    """

    feedback: TableConfig
