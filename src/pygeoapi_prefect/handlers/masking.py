"""Keeps the secrets of handlers out of what a job says."""

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

MASK = "***"


class SecretMask:
    """
    Replaces texts by :data:`MASK`, in strings, in exceptions and in everything that this process logs.

    A log line is masked when it is made, so that whatever handles it later gets no secret: the job's log, and Prefect,
    which everybody may read.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._make_record: Any = None

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these too, from now on."""
        # a secret may be a part of another one
        self._secrets = tuple(sorted({*self._secrets, *secrets}, key=len, reverse=True))

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def error(self, error: Exception) -> Exception:
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

    def _stand_in(self, error: Exception) -> Exception:
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
        """Mask what is logged, until :meth:`end`."""
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
        if isinstance(error, Exception) and (stand_in := self.error(error)) is not error:
            record.exc_info = type(stand_in), stand_in, None
