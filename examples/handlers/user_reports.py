"""A handler that sends a report to another service, in the name of the user who submitted the job."""

import httpx

from pygeoapi_prefect.handlers import AuthenticatedHandler

TIMEOUT_SECONDS = 10


class UserReports(AuthenticatedHandler):
    """
    Sends the statistics of the job to the service at the option ``url``, which keeps them for the user.

    The service knows whose they are by the user's own access token: the server needs no account there.
    """

    needs_access_token = True

    def handle_outputs(self, log, output, usage_report, tool_logs):
        report = {"job": self.conf["lenv"]["job_id"], "statistics": output["statistics"]}
        response = httpx.post(
            self.options["url"],
            json=report,
            headers={"Authorization": f"Bearer {self.access_token}"},
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,  # the token is for this service only
        )
        response.raise_for_status()
