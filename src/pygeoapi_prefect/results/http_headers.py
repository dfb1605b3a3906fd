"""Headers around stored values, whose media types and ids others chose."""

import mimetypes
import re
from urllib.parse import quote

from pygeoapi_prefect.schemas.media_types import essence

OCTETS = "application/octet-stream"

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}(?:[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|{_QUOTED}))*")
_ACTIVE = re.compile(r"text/(html|xsl)|.*/xml|.*\+xml|multipart/x-mixed-replace")
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


def safe_media_type(media_type: str) -> str:
    """*media_type*; octets where it is none. Source: RFC 9110, section 8.3.1."""
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else OCTETS


def content_type(media_type: str, *, is_text: bool) -> str:
    """``Content-Type`` of a value. Text is always UTF-8 here; types other than ``text/*`` say so themselves."""
    if is_text and media_type.lower().startswith("text/") and "charset=" not in media_type.lower():
        return f"{media_type}; charset=utf-8"
    return media_type


def protection(media_type: str) -> dict[str, str]:
    """What keeps a browser from running an output as a page of this site: processes write HTML, SVG and XML too."""
    headers = {"X-Content-Type-Options": "nosniff"}
    if _ACTIVE.fullmatch(essence(media_type)):
        headers["Content-Security-Policy"] = "sandbox"
    return headers


def disposition(output_id: str, media_type: str) -> str:
    """``Content-Disposition`` with a file name that any file system takes."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", output_id).strip(".")[:100] or "output"
    extension = mimetypes.guess_extension(essence(media_type)) or ""
    return f'inline; filename="{name if name.endswith(extension) else name + extension}"'


def content_id(output_id: str) -> str:
    """``Content-ID`` of a part: the id, escaped as in a ``cid:`` URL. Source: RFC 2392."""
    return f"<{quote(output_id, safe='')}>"


def uri(url: str) -> str:
    """*url* as a header takes it: what is no character of a URI is escaped."""
    return quote(url, safe=_URL_CHARACTERS)


def quoted(text: str) -> str:
    """*text* as the value of a header's parameter; what is no printable ASCII is escaped as in a URL."""
    return '"' + quote(text, safe="!#$&'()*+,/:;<=>?@[]^_`{|}~ -.") + '"'
