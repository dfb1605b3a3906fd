"""The request header ``Prefer``. Source: RFC 7240."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.request import parse_http_list

# what was taken is not given back (``+``): a header full of spaces would be read over and over again
_PREFERENCE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*+(?:=\s*+(\"(?:[^\"\\]|\\.)*\"|[^\s;\"]*+)\s*+)?(?:;.*)?")
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Preferences:
    """
    What a client would like, of what this server can do. Others are passed over, as the standard wants it.

    Attributes:
        respond_async: It rather has the answer of an asynchronous job than waits.
        wait: Seconds that it is going to wait; None: not said.
    """

    respond_async: bool = False
    wait: int | None = None

    @classmethod
    def parse(cls, values: Iterable[str]) -> "Preferences":
        """
        Read header fields: lists of preferences, names in any case, parameters passed over. The first of a name counts.

        Args:
            values: Of each ``Prefer`` header of the request.
        """
        preferences: dict[str, str] = {}
        for preference in parse_http_list(",".join(values)):
            if (match := _PREFERENCE.fullmatch(preference)) is not None:
                name, value = match.groups()
                preferences.setdefault(name.lower(), (value or "").strip('"'))
        wait = preferences.get("wait", "")
        return cls(
            respond_async="respond-async" in preferences,
            wait=int(wait) if _SECONDS.fullmatch(wait) else None,
        )
