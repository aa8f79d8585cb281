"""The process that watches the workers: BentoML's arbiter, which nobody else can command.

BentoML has circus watch the workers, and circus takes commands at a TCP port without asking who sends them:
whoever reaches the port runs what they like as the service's user. Here the channel stays inside the process.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import bentoml._internal.utils.circus as bentoml_circus


class Supervisor(bentoml_circus.Arbiter):
    """An arbiter whose control channel is no socket, or one in a folder that only its owner may enter."""

    def __init__(self, *args: object, **options: object) -> None:  # circus's thirty, untyped
        options["endpoint"], options["pubsub_endpoint"] = _channels(has_plugins=bool(options.get("plugins")))
        super().__init__(*args, **options)


class ThreadedSupervisor(Supervisor, bentoml_circus.ThreadedArbiter):
    """The same for a service that is started in a thread of another program."""


def supervise() -> None:
    """Has BentoML watch the workers of this process by a `Supervisor`.

    To be called before the arbiter is made, so from a hook of the deployment.
    """
    circus: Any = bentoml_circus  # its classes are looked up by these names when the arbiter is made
    circus.Arbiter, circus.ThreadedArbiter = Supervisor, ThreadedSupervisor


def _channels(*, has_plugins: bool) -> tuple[str, str]:
    """Returns where commands are taken and where events are told.

    Args:
        has_plugins: Whether other processes must reach both: `bentoml serve --reload` starts one.
    """
    if not has_plugins:
        own = f"marquee-{os.getpid()}"
        return f"inproc://{own}-control", f"inproc://{own}-events"
    folder = Path(tempfile.mkdtemp(prefix="marquee-control-"))  # mode 0700
    return f"ipc://{folder / 'control'}", f"ipc://{folder / 'events'}"
