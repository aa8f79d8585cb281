"""Every process but the first: it waits to be told what to train, and trains its part.

It prepares nothing, judges nothing, and writes nothing but its own rows of sharded tables.
"""

import json
import logging
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from training.choices import SCHEMAS, config_of_text
from training.config import TrainConfig
from training.fitting.ranks.place import FOREVER, Place, leave
from training.fitting.ranks.sharing import CONFIG_FILE, SharedPart
from training.fitting.ranks.team import Order
from training.fitting.stepping import follow_fit


def follow(environment: Mapping[str, str]) -> None:
    """Trains whatever rank 0 says, until it says that nothing is left.

    Args:
        environment: Holds this process's place; see `Place.of_environment`.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    place = Place.of_environment(environment)
    assert place is not None, f"expected a place in the environment, got {sorted(environment)}"
    words = place.words(place.open_store())
    for number in count():
        words.wait([f"order/{number}"], FOREVER)
        told = words.get(f"order/{number}").decode()
        if not told:
            return
        order = Order(**json.loads(told))
        folder = Path(order.part)
        config = _config(folder)
        part = SharedPart.read(folder, config.data.kinds)
        # Only now: what can fail has not, and rank 0 need not wait for a connection that never comes.
        words.set(f"ready/{number}/{place.rank}", "")
        device = place.device(config.trainer)
        ranks = place.join(words, number, device, config.trainer.devices)
        follow_fit(part, config, order, ranks, device)
        words.set(f"left/{number}/{place.rank}", "")
        leave()


def _config(folder: Path) -> TrainConfig:
    """Returns the config that rank 0 has shared."""
    told = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    choices = {
        group: name
        for group, schemas in SCHEMAS.items()
        for name, schema in schemas.items()
        if schema.__name__ == told["classes"][group]
    }
    return config_of_text(json.dumps({"choices": choices, **told["values"]}), {})


if __name__ == "__main__":
    follow(os.environ)
