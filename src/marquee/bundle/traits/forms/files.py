"""Forms as files of a run: plain JSON, told apart by their type; a trait that no form can score says why."""

from pathlib import Path

import msgspec

from marquee.bundle.traits.forms.segments import ClustersForm, FifthsForm
from marquee.bundle.traits.forms.uplift import UpliftForm
from marquee.bundle.traits.forms.value import ValueForm
from marquee.errors import BundleError

FORMS = "forms"
"""Folder of a run that holds them."""


class NoForm(msgspec.Struct, frozen=True, tag="none"):
    """A trait that no form can score.

    Attributes:
        name: Of the trait.
        why: In words.
    """

    name: str
    why: str


FormFile = ValueForm | FifthsForm | ClustersForm | UpliftForm | NoForm


def encode_form(form: FormFile) -> bytes:
    """Returns a form as the content of its file."""
    return msgspec.json.encode(form)


def decode_form(content: bytes, path: Path) -> FormFile:
    """Returns the form in the bytes of a file.

    Args:
        content: As `encode_form` made it.
        path: Of the file, for messages.

    Raises:
        BundleError: If it is none.
    """
    try:
        form: FormFile = msgspec.json.decode(content, type=FormFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no form that this release reads: {error}; run it again") from error
    return form
