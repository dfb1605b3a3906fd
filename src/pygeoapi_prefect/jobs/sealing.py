"""What a job must keep secret, sealed from its acceptance to its end."""

import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pygeoapi_prefect.exceptions import JobSecretsLostError, SecretKeyError
from pygeoapi_prefect.jobs.records import JobSecrets
from pygeoapi_prefect.settings import ManagerSettings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

LOGGER = logging.getLogger(__name__)

KEY_VARIABLE = "PYGEOAPI_PREFECT_SECRET_KEY"
"""Environment variable: the keys, separated by blanks or commas."""

OWN_KEY_FILE = "secret.key"
"""In the data folder: the key that is made where none is given."""

_REMEDY = "Make one with `pygeoapi plugins prefect secrets new-key`; docs/how-to/secrets.md tells where to put it."


class SecretKeys:
    """
    The keys that seal secrets in the job store.

    They come from the environment, else from ``server.manager.secret_key_file``, else, where the job store is a SQLite
    file and so belongs to one host, from a file in the data folder, which is made by its first use. Each is 32 bytes in
    URL-safe base64. The first seals; any of them opens, so that a new one can be put before those that jobs still need.

    Files are read at each use, the environment when this is made. Thread-safe.

    Args:
        settings: Of the manager.
        environment: None: of this process.

    Source:
        https://github.com/fernet/spec: AES 128 in CBC mode, authenticated by HMAC with SHA-256.
    """

    def __init__(self, settings: ManagerSettings, environment: Mapping[str, str] | None = None) -> None:
        self._given = (os.environ if environment is None else environment).get(KEY_VARIABLE, "")
        self._file = settings.secret_key_file
        self._own_file = settings.data_dir / OWN_KEY_FILE if settings.is_sqlite else None

    @property
    def place(self) -> str | None:
        """Where the keys come from, for the operator; None: nobody has given any, and none can be made here."""
        if self._given.strip():
            return f"the environment variable {KEY_VARIABLE}"
        place = self._file or self._own_file
        return None if place is None else str(place)

    @property
    def file(self) -> Path | None:
        """The file that they come from, which may not exist yet; None: it is no file."""
        return None if self._given.strip() else self._file or self._own_file

    def seal(self, job_id: str, secrets: JobSecrets) -> str:
        """
        Encrypt the secrets of a job; nothing can be read of them without a key, and they open for that job only.

        Raises:
            SecretKeyError: There is no key, or it is none.
        """
        text = json.dumps({"job_id": job_id, **secrets.to_json()})
        return self._keys().encrypt(text.encode()).decode()

    def open(self, job_id: str, sealed: str | None) -> JobSecrets:
        """
        The secrets of a job.

        Args:
            job_id: The job.
            sealed: From :meth:`seal`, by way of the job store; None: it has none.

        Raises:
            SecretKeyError: There is no key, or it is none.
            JobSecretsLostError: They are not there, are another job's, or were sealed with a key not known here.
        """
        from cryptography.fernet import InvalidToken

        if sealed is None:
            raise JobSecretsLostError(f"The job store has no secrets of job {job_id!r} any more.")
        try:
            values = json.loads(self._keys().decrypt(sealed.encode()))
        except InvalidToken:
            raise JobSecretsLostError(
                f"The secrets of job {job_id!r} were sealed with another key than those of {self.place}. Give web "
                "processes and runners the same keys, and keep an old one until its jobs have ended."
            ) from None
        if values.pop("job_id") != job_id:
            raise JobSecretsLostError(f"What the job store has for job {job_id!r} was sealed for another job.")
        return JobSecrets.from_json(values)

    def check(self) -> None:
        """
        See whether there are keys, without making one.

        Raises:
            SecretKeyError: There is no key, or it is none.
        """
        if self.file != self._own_file or self._own_file is None or self._own_file.exists():
            self._keys()

    def _keys(self) -> "MultiFernet":
        from cryptography.fernet import Fernet, MultiFernet

        try:
            text = self._given if self.file is None else self._read(self.file)
            keys = [Fernet(key) for key in re.split(r"[\s,]+", text.strip()) if key]
        except OSError as error:
            raise SecretKeyError(f"The keys of secrets in {self.place} cannot be read: {error.strerror}.") from error
        except ValueError:
            # without its cause: the text is a key, or nearly one
            raise SecretKeyError(f"{self.place} holds what is no key. {_REMEDY}") from None
        if not keys:
            raise SecretKeyError(f"There is no key for secrets{f' in {self.place}' if self.place else ''}. {_REMEDY}")
        return MultiFernet(keys)

    def _read(self, path: Path) -> str:
        if path == self._own_file and not path.exists():
            _make_key_file(path)
        return path.read_text()


def new_key() -> str:
    """A random key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _make_key_file(path: Path) -> None:
    """Whole, or not at all: web processes and runners may do so at the same moment, and all go on with one key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # of mode 0600 from the start
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret-") as file:
        file.write(f"{new_key()}\n")
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            return
    LOGGER.info("key for secrets made", extra={"action": "make_key", "file": str(path)})
