"""Keeps secrets out of what a job says."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

from pygeoapi_prefect.exceptions import PygeoapiPrefectError

MASK = "***"

MIN_CHARACTERS = 4
"""Shorter texts are not masked: they stand in many words that are no secrets."""

_MIN_LINE = 8


class SecretMask:
    """
    Replaces texts by :data:`MASK`, in strings, in exceptions and in everything that this process logs.

    A log line is masked when it is made, so that whatever handles it later gets no secret: the job's log, and Prefect,
    which everybody may read. So are the ways in which other texts commonly hold a secret: as Python and JSON write it,
    as a part of a URL, and each of its lines for itself.

    Args:
        secrets: The first ones.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self._make_record: Any = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these too, from now on."""
        written = {way for secret in secrets for way in _ways_to_write(secret) if len(way) >= MIN_CHARACTERS}
        # a secret may be a part of another one
        self._secrets = tuple(sorted({*self._secrets, *written}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """*text* without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def error[E: BaseException](self, error: E) -> E | Exception:
        """
        Mask the messages of an exception and of those that led to it, in place.

        Returns:
            The exception; another one that says the same, where its words cannot be changed.
        """
        if not self._secrets:
            return error
        seen: set[int] = set()
        waiting: list[BaseException | None] = [error]
        while waiting:
            one = waiting.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
            if not self._mask_words(one):
                return self._stand_in(error)
        return error

    def _mask_words(self, error: BaseException) -> bool:
        """Whether that was possible: some exceptions, as pydantic's, make their words anew from what they keep."""
        with suppress(Exception):
            error.args = tuple(self._value(value) for value in error.args)
            # an OSError keeps these beside its arguments
            own = {name: getattr(error, name) for name in ("strerror", "filename", "filename2") if hasattr(error, name)}
            for name, value in (own | vars(error)).items():
                if (masked := self._value(value)) is not value:
                    setattr(error, name, masked)
        words = str(error)
        return self.text(words) == words

    def _stand_in(self, error: BaseException) -> Exception:
        if isinstance(error, PygeoapiPrefectError) and self._mask_words(error):
            # with what it tells the client, and the status; only what it came of cannot be shown
            error.__cause__ = error.__context__ = None
            return error
        kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
        made: Exception = kind(self.text(str(error)))
        return made

    def _value(self, value: Any) -> Any:
        """*value* itself where there is nothing to mask."""
        masked: Any = value
        if isinstance(value, str):
            masked = self.text(value)
        elif type(value) in (list, tuple):
            masked = type(value)(self._value(one) for one in value)
        elif type(value) is dict:
            masked = {name: self._value(one) for name, one in value.items()}
        return value if masked == value else masked

    # ---------------------------------------------------------------- logs

    def begin(self) -> None:
        """Mask what is logged, until :meth:`end`. May be repeated."""
        if self._make_record is not None:
            return
        self._make_record = make = logging.getLogRecordFactory()

        def make_masked(*arguments: Any, **named: Any) -> logging.LogRecord:
            record: logging.LogRecord = make(*arguments, **named)
            if self._secrets:
                self._mask(record)
            return record

        logging.setLogRecordFactory(make_masked)

    def end(self) -> None:
        """Leave logs alone again."""
        if self._make_record is not None:
            logging.setLogRecordFactory(self._make_record)
            self._make_record = None

    def _mask(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:
            message = f"{record.msg} {record.args}"
        masked = self.text(message)
        if masked != message:
            record.msg, record.args = masked, ()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and (stand_in := self.error(error)) is not error:
            record.exc_info = type(stand_in), stand_in, None


def texts_in(value: Any, *, numbers: bool = False) -> Iterator[str]:
    """The texts in a value, at any depth; with *numbers*, numbers as texts, too."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if numbers:
            yield str(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts_in(one, numbers=numbers)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from texts_in(one, numbers=numbers)


def _ways_to_write(secret: str) -> set[str]:
    lines = [line for line in secret.splitlines() if len(line) >= _MIN_LINE and line.strip()]
    in_python = repr(secret)[1:-1]
    in_json = (json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    in_urls = (quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace"))
    return {secret, in_python, *in_json, *in_urls, *lines}
