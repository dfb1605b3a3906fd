"""Links of this server to outputs that are good without a token, for a while."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pygeoapi_prefect.jobs import Job
from pygeoapi_prefect.settings import ManagerSettings

SIGNATURE = "signature"
EXPIRES = "expires"

_SECONDS = re.compile("[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class LinkSigner:
    """
    Signs links, and knows those that it signed.

    A link is good for one output of one job, not of a later job of the same id. It cannot be taken back, but by
    another secret or with the job. What is answered to it may have links to files beside the output; none is good for
    longer than the link itself, or whoever has one could renew it for ever.

    Attributes:
        secret: Of all web processes and runners. Whoever knows it can read every output.
        lifetime: Seconds that a link is good for.
    """

    secret: str = field(repr=False)
    lifetime: float

    @classmethod
    def of(cls, settings: ManagerSettings) -> Self | None:
        """That of an installation; None where it signs no links."""
        secret = settings.link_secret
        return None if secret is None else cls(secret, settings.link_lifetime)

    def parameters(self, job: Job, output_id: str, *, until: int | None = None) -> dict[str, str]:
        """
        Parameters of the query of a link, beside ``outputs``.

        Args:
            job: The job.
            output_id: The output.
            until: When the link that the request was made by ends, in seconds since 1970; None: it was made by none.
        """
        expires = str(int(time.time() + self.lifetime) + 1 if until is None else until)
        return {EXPIRES: expires, SIGNATURE: self._signature(job, output_id, expires)}

    def good_until(self, job: Job, parameters: Mapping[str, Sequence[str]]) -> int | None:
        """
        When the link ends that a request was made by, in seconds since 1970; None: it is no good one.

        Args:
            job: Whose results are asked for.
            parameters: Of the request, by name, each with every value that was given.
        """
        try:
            (output_id,), (expires,), (signature,) = (parameters.get(n, ()) for n in ("outputs", EXPIRES, SIGNATURE))
        except ValueError:
            return None
        if not _SECONDS.fullmatch(expires) or int(expires) < time.time():
            return None
        # bytes: of texts only ASCII can be compared
        is_ours = hmac.compare_digest(self._signature(job, output_id, expires).encode(), signature.encode())
        return int(expires) if is_ours else None

    def _signature(self, job: Job, output_id: str, expires: str) -> str:
        signed = json.dumps([job.job_id, job.number, output_id, expires]).encode()
        return hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
