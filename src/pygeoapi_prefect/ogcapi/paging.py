"""Pages of a list: which part of it a request asks for, and the links to the parts beside it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pygeoapi.api import API, APIRequest, evaluate_limit
from pygeoapi.formats import F_HTML, F_JSON, FORMAT_TYPES

from pygeoapi_prefect.exceptions import InvalidParameterError

_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Page:
    """
    A part of a list.

    Attributes:
        url: Of the list, without a query.
        parameters: Of the request, by name, each with every value that was given.
        limit: At most so many; at least 1.
        offset: Without the first so many.
    """

    url: str
    parameters: Mapping[str, Sequence[str]]
    limit: int
    offset: int

    @classmethod
    def of(cls, api: API, request: APIRequest, path: str) -> "Page":
        """
        The page that *request* asks for, of the list at *path*. Above ``server.limits.max_items`` the limit is that.

        Raises:
            InvalidParameterError: ``limit`` or ``offset`` is no number that it takes.
        """
        parameters = parameters_of(request)
        try:
            limit = evaluate_limit(_number(parameters, "limit", least=1), api.config["server"].get("limits", {}), {})
        except ValueError as error:
            raise InvalidParameterError(user_msg=f"{error}.") from error
        return cls(f"{api.base_url}{path}", parameters, limit, _number(parameters, "offset", least=0) or 0)

    def links(self, request: APIRequest, *, number_matched: int, formats: Mapping[str, str]) -> list[dict[str, str]]:
        """
        Links to this page in each of its forms, and to the pages beside it where there are any.

        All keep every parameter of the request.

        Args:
            request: Whose answer they are in.
            number_matched: How long the list is; may be told as ``offset + limit + 1`` where it is longer.
            formats: pygeoapi's formats of the page, each with its name for people.
        """
        links = [
            {
                "href": self._href(format_, self.offset if "offset" in self.parameters else None),
                "rel": request.get_linkrel(format_),
                "type": FORMAT_TYPES[format_],
                "title": f"This document as {name}",
            }
            for format_, name in formats.items()
        ]
        own = F_HTML if request.format == F_HTML else F_JSON
        beside = {}
        if (before := min(self.offset, number_matched)) > 0:
            beside["prev"] = max(0, before - self.limit)
        if number_matched > self.offset + self.limit:
            beside["next"] = self.offset + self.limit
        titles = {"prev": "Items (prev)", "next": "Items (next)"}
        links += [
            {"href": self._href(own, offset), "rel": rel, "type": FORMAT_TYPES[own], "title": titles[rel]}
            for rel, offset in beside.items()
        ]
        return links

    def _href(self, format_: str, offset: int | None) -> str:
        kept = {name: values for name, values in self.parameters.items() if name not in ("f", "offset")}
        query = {"f": format_, **({} if offset is None else {"offset": offset}), **kept}
        return f"{self.url}?{urlencode(query, doseq=True, safe=',:/', quote_via=quote)}"


def parameters_of(request: APIRequest) -> dict[str, list[str]]:
    """Whichever of pygeoapi's fronts received it: their dictionaries have ``getlist`` in common."""
    given: Any = request.params
    return {name: list(given.getlist(name)) for name in given}


def _number(parameters: Mapping[str, Sequence[str]], name: str, *, least: int) -> int | None:
    values = parameters.get(name)
    if not values:
        return None
    if len(values) > 1 or not _NUMBER.fullmatch(values[0]) or int(values[0]) < least:
        raise InvalidParameterError(user_msg=f"'{name}' must be one whole number, {least} or more.")
    return int(values[0])
