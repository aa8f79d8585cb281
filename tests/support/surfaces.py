"""The surfaces of a service that declares none, over a recommender of the test's own."""

from typing import cast

from marquee.decision.recommender import Recommender
from serving.config import Settings
from serving.releases.answering import Answering
from serving.releases.channel import Channel
from serving.releases.surfaces import DEFAULT, Surface, Surfaces


def one_surface(settings: Settings, recommender: object = None) -> Surfaces:
    """Returns one surface that a recommender answers for; None for one that is not loaded yet."""
    channel = Channel("nowhere")
    if recommender is not None:
        channel.state.answering = Answering(cast(Recommender, recommender))
    surface = Surface(name=DEFAULT, bundle="nowhere", settings=settings)
    return Surfaces((surface,), DEFAULT, {DEFAULT: channel})
