"""What desktops call the formats of a clipboard, and what the host calls them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from virtagent.api.clipboard import TEXT
from virtagent.errors import NotFound

__all__ = ["choose", "media_types"]


def media_types(offered: Sequence[str], text: Collection[str]) -> list[str]:
    """The media types that there are; text, whatever it is called, is one, and the first.

    Args:
        offered: what the desktop names.
        text: the names that mean text.
    """
    found = [each for each in offered if "/" in each and each not in text]
    return [TEXT, *found] if any(each in text for each in offered) else found


def choose(type: str, offered: Collection[str], text: Sequence[str]) -> str:
    """What to ask the desktop for, to get a media type.

    Args:
        text: the names that mean text, the best first.

    Raises:
        NotFound: there is no such type.
    """
    wanted = text if type == TEXT else (type,)
    found = next((each for each in wanted if each in offered), None)
    if found is None:
        raise NotFound(f"the clipboard has no {type}" if offered else "the clipboard is empty")
    return found
