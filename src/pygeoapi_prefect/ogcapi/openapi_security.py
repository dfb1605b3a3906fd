"""What the OpenAPI document says of tokens, and of links that are good without one."""

from collections.abc import Collection
from typing import Any

from pygeoapi_prefect.results.signed_links import EXPIRES, SIGNATURE
from pygeoapi_prefect.settings import AuthSettings

SCHEME = "token"
"""Name of the security scheme in the document."""

_CHALLENGE = "WWW-Authenticate"


def secure(document: dict[str, Any], auth: AuthSettings, restricted: Collection[str]) -> None:
    """
    Say which operations need a token, and how they refuse.

    Args:
        document: With our paths; changed.
        auth: Of the server.
        restricted: Paths of processes that only some roles may execute.
    """
    components = document["components"]
    components.setdefault("securitySchemes", {})[SCHEME] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"An access token of {auth.issuer}",
    }
    components["headers"][_CHALLENGE] = {
        "description": "What kind of token is needed, and what is wrong with the one that was sent (RFC 6750)",
        "schema": {"type": "string"},
    }
    for status, description in ((401, "There is no good token"), (403, "The user may not do this")):
        components["responses"][f"problem{status}"] = components["responses"]["problem"] | {
            "description": description,
            "headers": {_CHALLENGE: {"$ref": f"#/components/headers/{_CHALLENGE}"}},
        }
    for path, operations in document["paths"].items():
        top = path.split("/")[1]
        if top not in ("processes", "jobs"):
            continue
        for method, operation in operations.items():
            is_public = top == "processes" and method == "get" and auth.public_descriptions
            is_restricted = method == "post" and path.removesuffix("/execution") in restricted
            needed: dict[str, list[str]] = {SCHEME: []}
            is_needed = is_restricted or (auth.required and not is_public)
            operation["security"] = [needed] if is_needed else [needed, {}]
            # several tokens, none that is good, and an issuer that does not tell whether it is
            statuses = [400, 401, 503]
            # somebody else's job that may be read
            if is_restricted or method == "delete":
                statuses.append(403)
            for status in statuses:
                operation["responses"][str(status)] = {"$ref": f"#/components/responses/problem{status}"}


def sign_links(document: dict[str, Any]) -> None:
    """
    Say that outputs can be had by links that this server signs, without a token.

    Args:
        document: With our paths, and secured where there is authentication; changed.
    """
    operation = document["paths"]["/jobs/{jobId}/results"]["get"]
    operation["parameters"] += [{"$ref": f"#/components/parameters/{name}"} for name in (EXPIRES, SIGNATURE)]
    if {} not in operation.get("security", [{}]):
        operation["security"].append({})
