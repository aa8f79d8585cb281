"""An event log that tells what happened in a small simulated market."""

import polars as pl

from marquee.core.identity.uuids import uuid7
from marquee.store.log.event_log import Decision, Event, EventLog, Place
from marquee.world import World


def tell_world(log: EventLog, world: World) -> int:
    """Writes the answers and events of a world into a log; returns the second after the last one."""
    exposures = world.events.filter(pl.col("kind") == "exposure")
    ids: dict[str, str] = {}
    decisions = []
    for (request_id,), shown in exposures.group_by("request_id", maintain_order=True):
        at = int(shown["timestamp"][0])
        ids[str(request_id)] = uuid7(at * 1000, len(ids).to_bytes(10))
        decisions.append(
            Decision(
                decision_id=ids[str(request_id)],
                time_ms=at * 1000,
                user_id=shown["user_id"][0],
                surface=shown["surface"][0],
                policy=shown["policy"][0],
                places=tuple(
                    Place(item, 0.0, propensity)
                    for item, propensity in shown.select("item_id", "propensity").iter_rows()
                ),
            )
        )
    log.append_decisions(decisions)
    told = world.events.filter(pl.col("kind") != "exposure").to_dicts()
    log.append(
        [
            Event(
                event_id=row["event_id"],
                kind=row["kind"],
                item_id=row["item_id"],
                timestamp=row["timestamp"],
                sent_timestamp=row["timestamp"],
                received=row["timestamp"],
                user_id=row["user_id"],
                decision_id=ids.get(row["request_id"]),
                value=row["value"],
            )
            for row in told
        ]
    )
    return int(world.events["timestamp"][-1]) + 1
