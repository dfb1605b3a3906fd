"""Which jobs are listed: read from a request's parameters, turned into conditions of a query."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, or_, select, union_all

from pygeoapi_prefect.exceptions import InvalidParameterError
from pygeoapi_prefect.jobs.queries import held
from pygeoapi_prefect.jobs.tables import duration, jobs
from pygeoapi_prefect.schemas import JobStatus

TYPES = ("process",)
"""What jobs may be of. Source: OGC 18-062r2, ``statusInfo.yaml``, ``type``."""

# a "+" that nobody encoded arrives as a blank
_TIME = re.compile(
    "([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.]([0-9]+))?([Zz]|[+ -][0-9]{2}:[0-9]{2})"
)
_SECONDS = re.compile("[0-9]{1,9}")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """
    Which jobs are listed; without a value, all. A job is listed that fits every one.

    Attributes:
        process_ids: Of one of these processes.
        statuses: In one of these.
        created_from: Created then or later.
        created_until: Created then or earlier.
        min_seconds: Of a job that has ended, from its start to its end; of one that runs, from its start to now. Jobs
            that have not started have no duration, and fit no limit of it.
        max_seconds: As *min_seconds*.
    """

    process_ids: frozenset[str] = frozenset()
    statuses: frozenset[JobStatus] = frozenset()
    created_from: datetime | None = None
    created_until: datetime | None = None
    min_seconds: int | None = None
    max_seconds: int | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, Sequence[str]]) -> "JobFilter":
        """
        Read the parameters of a request for the list of jobs; others than those of the filter are passed over.

        Args:
            parameters: ``type``, ``processID``, ``status``, ``datetime``, ``minDuration`` and ``maxDuration``, each
                with every value that was given, which may be a list with commas.

        Raises:
            InvalidParameterError: Names the parameter and what it takes.

        Source:
            OGC 18-062r2, requirements ``job-list/type-definition`` and those that follow it.
        """
        for type_ in _listed(parameters, "type"):
            if type_ not in TYPES:
                raise InvalidParameterError(user_msg="'type' must be 'process': there are no other jobs.")
        created_from, created_until = _interval(parameters)
        min_seconds, max_seconds = _seconds(parameters, "minDuration"), _seconds(parameters, "maxDuration")
        if min_seconds is not None and max_seconds is not None and min_seconds > max_seconds:
            raise InvalidParameterError(user_msg="'minDuration' must not be greater than 'maxDuration'.")
        return cls(
            process_ids=frozenset(_listed(parameters, "processID")),
            statuses=frozenset(map(_status, _listed(parameters, "status"))),
            created_from=created_from,
            created_until=created_until,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
        )

    def conditions(self, now: datetime, *, by_union: bool) -> Iterator[ColumnElement[bool]]:
        """
        Conditions on ``ogc_jobs``, each of which an index answers.

        Args:
            now: Ends the duration of jobs that run.
            by_union: Whether an alternative is told as a union: SQLite knows nothing of the values, and would rather
                read every row than join two indexes.
        """
        if self.process_ids:
            yield jobs.c.process_id.in_(sorted(self.process_ids))
        if self.statuses:
            yield jobs.c.status.in_(sorted(self.statuses))
        if self.created_from is not None:
            yield jobs.c.created >= self.created_from
        if self.created_until is not None:
            yield jobs.c.created <= self.created_until
        if self.min_seconds is not None or self.max_seconds is not None:
            ended, runs = self._durations(now)
            if by_union:
                yield jobs.c.number.in_(
                    union_all(select(jobs.c.number).where(*ended), select(jobs.c.number).where(*runs))
                )
            else:
                yield or_(and_(*ended), and_(*runs))

    def _durations(self, now: datetime) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
        """Conditions on jobs that have ended, and on those that run."""
        seconds = duration(jobs.c.started, jobs.c.finished)
        ended: list[ColumnElement[bool]] = []
        runs = [held(), jobs.c.started.is_not(None)]
        if self.min_seconds is not None:
            ended.append(seconds >= self.min_seconds)
            runs.append(jobs.c.started <= now - timedelta(seconds=self.min_seconds))
        if self.max_seconds is not None:
            ended.append(seconds <= self.max_seconds)
            runs.append(jobs.c.started >= now - timedelta(seconds=self.max_seconds))
        return ended, runs


EVERY_JOB = JobFilter()


def _listed(parameters: Mapping[str, Sequence[str]], name: str) -> list[str]:
    values = [value for text in parameters.get(name, ()) for value in text.split(",")]
    # what is not printable, no database takes as a text
    if not all(value and value.isprintable() for value in values):
        raise InvalidParameterError(user_msg=f"'{name}' must be a value, or several with commas between them.")
    return values


def _single(parameters: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = parameters.get(name, ())
    if len(values) > 1:
        raise InvalidParameterError(user_msg=f"'{name}' must be given once.")
    return values[0] if values else None


def _status(name: str) -> JobStatus:
    try:
        return JobStatus(name)
    except ValueError as error:
        known = ", ".join(f"'{status.value}'" for status in JobStatus)
        raise InvalidParameterError(user_msg=f"'status' must be of {known}.") from error


def _seconds(parameters: Mapping[str, Sequence[str]], name: str) -> int | None:
    text = _single(parameters, name)
    if text is None:
        return None
    if not _SECONDS.fullmatch(text):
        raise InvalidParameterError(user_msg=f"'{name}' must be one whole number of seconds, 0 or more.")
    return int(text)


def _interval(parameters: Mapping[str, Sequence[str]]) -> tuple[datetime | None, datetime | None]:
    """First and last moment."""
    text = _single(parameters, "datetime")
    if text is None:
        return None, None
    begin, slash, end = text.partition("/")
    if not slash:
        return _time(text)
    has_begin, has_end = begin not in ("", ".."), end not in ("", "..")
    if not has_begin and not has_end:
        raise _no_time()
    created_from = _time(begin)[0] if has_begin else None
    created_until = _time(end)[1] if has_end else None
    if created_from is not None and created_until is not None and created_from > created_until:
        raise InvalidParameterError(user_msg="'datetime' must not end before it begins.")
    return created_from, created_until


def _time(text: str) -> tuple[datetime, datetime]:
    """
    First and last moment of a time: without a fraction it stands for its whole second, with one for the whole of its
    last digit, so that a time matches that was cut where it was read.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise _no_time()
    day, clock, fraction, zone = match.groups()
    fraction = (fraction or "")[:6]
    zone = "+00:00" if zone in "Zz" else zone.replace(" ", "+")
    try:
        first = datetime.fromisoformat(f"{day}T{clock}.{fraction:0<6}{zone}").astimezone(UTC)
        return first, first + timedelta(microseconds=10 ** (6 - len(fraction))) - _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise _no_time() from error


def _no_time() -> InvalidParameterError:
    return InvalidParameterError(
        user_msg="'datetime' must be a time as in RFC 3339, '2026-01-31T12:00:00Z', or an interval of two with '/' "
        "between them, one of which may be '..'."
    )
