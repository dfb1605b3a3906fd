"""``server.manager.connection``: the ways to say where the job store is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pygeoapi_prefect.exceptions import ConfigurationError


def job_store_url(connection: Any, key: str) -> URL:
    """
    The job store's database, with the driver that the job store uses.

    Args:
        connection: A file for SQLite, a URL, or pygeoapi's mapping of host, database and user.
        key: Where it is configured, for messages. They never hold a password.

    Raises:
        ConfigurationError: It names no database that can be a job store.
    """
    if isinstance(connection, Mapping):
        return _postgresql_url(connection, key)
    if not isinstance(connection, str) or not connection.strip():
        raise ConfigurationError(
            f"{key} is missing: a file for SQLite, a postgresql:// URL, "
            "or a mapping of host, port, database, user, password"
        )
    no_file = f"{key}: the web process and the runner share the database, so it must be a file"
    if connection.strip() == ":memory:":
        raise ConfigurationError(no_file)
    if "://" not in connection:
        return URL.create("sqlite", database=str(Path(connection).absolute()))
    try:
        url = make_url(connection)
    except (ArgumentError, ValueError):
        # without its cause: what could not be parsed, such as a port, may be a part of the password
        raise ConfigurationError(
            f"{key} is not a database URL (its text is left out here: it may hold a password)"
        ) from None
    backend = url.drivername.partition("+")[0]
    if backend == "sqlite":
        if not url.database or url.database == ":memory:" or "mode=memory" in connection:
            raise ConfigurationError(no_file)
        return url.set(drivername="sqlite", database=str(Path(url.database).absolute()))
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg2")
    raise ConfigurationError(f"{key}: {backend!r} is not supported; the job store is SQLite or PostgreSQL")


def _postgresql_url(connection: Mapping[str, Any], key: str) -> URL:
    known = {"host", "port", "database", "dbname", "user", "password", "search_path"}
    for name in connection:
        if name not in known:
            raise ConfigurationError(f"{key}.{name} is not known; known keys: {', '.join(sorted(known))}")
    database = connection.get("database") or connection.get("dbname")
    for name, value in {"host": connection.get("host"), "database": database, "user": connection.get("user")}.items():
        if not value:
            raise ConfigurationError(f"{key}.{name} is missing")
    try:
        port = int(connection.get("port") or 5432)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{key}.port must be a number") from error
    search_path = connection.get("search_path") or ()
    query = {"options": f"-csearch_path={','.join(map(str, search_path))}"} if search_path else {}
    host: str | None = str(connection["host"])
    if str(host).startswith("/"):
        # the folder of a Unix socket has no place in a URL's authority
        host, query = None, query | {"host": str(host)}
    password = connection.get("password")
    return URL.create(
        "postgresql+psycopg2",
        username=str(connection["user"]),
        password=None if password is None else str(password),
        host=host,
        port=port,
        database=str(database),
        query=query,
    )
