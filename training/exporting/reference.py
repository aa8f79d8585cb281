"""Makes the statistics that travel in a bundle, which later logs are held against."""

from marquee.evaluation.drift.log_view import as_watched, fit_log
from marquee.evaluation.drift.reference import Reference
from training.config import TrainConfig, as_plain
from training.runs.prepare import Prepared


def reference_statistics(prepared: Prepared, config: TrainConfig) -> Reference:
    """Returns the statistics of the last part of the events, with hours of all of them.

    The last part, for it is most like the first log after the release.
    """
    split = prepared.split
    parts = (split.test, split.validation, prepared.events)
    later = next(part for part in parts if not part.is_empty())
    data = as_plain(config)["data"]
    assert isinstance(data, dict), "a config is mappings of mappings"
    catalog = prepared.dataset.catalog
    view, whole = (as_watched(events, data, catalog) for events in (later, prepared.events))
    return fit_log(view, whole.hours)
