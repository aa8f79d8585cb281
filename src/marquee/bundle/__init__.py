"""The bundle, handed from training to serving: written whole, verified byte by byte, signed, pointed at."""

from typing import TYPE_CHECKING

from marquee.core.faces import lazy

if TYPE_CHECKING:
    from marquee.bundle.bundle import Bundle
    from marquee.bundle.contents import BundleContents
    from marquee.bundle.manifest import Manifest
    from marquee.bundle.publishing import publish
    from marquee.bundle.releases import activate, resolve

__all__ = ["Bundle", "BundleContents", "Manifest", "activate", "publish", "resolve"]

__getattr__ = lazy(
    __name__,
    {
        "Bundle": "bundle",
        "BundleContents": "contents",
        "Manifest": "manifest",
        "activate": "releases",
        "publish": "publishing",
        "resolve": "releases",
    },
)
