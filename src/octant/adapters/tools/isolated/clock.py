"""Clock: date and time of a place. The instant is handed in; only the rules of zones are read.

Law: a zone is a name of the IANA database, checked by letter before it becomes a path; its file is
read before the process is confined. Without that database on the machine there is UTC only.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

EVENTS: frozenset[str] = frozenset()

_NAME = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
_UTC = "UTC"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def prepare(arguments: dict[str, Any], context: dict[str, Any]) -> datetime:
    """The instant in the zone asked for. Raises ValueError for a zone that is not known."""
    moment = _EPOCH + timedelta(microseconds=context["now_unix_ns"] // 1_000)
    return moment.astimezone(_zone(arguments.get("timezone", _UTC)))


def run(arguments: dict[str, Any], state: datetime) -> dict[str, Any]:
    """Date, time, weekday, zone and its distance to UTC."""
    return {
        "date": f"{state:%Y-%m-%d}",
        "time": f"{state:%H:%M:%S}",
        "weekday": f"{state:%A}",
        "timezone": arguments.get("timezone", _UTC),
        "utc_offset": state.isoformat()[-6:],
    }


def _zone(name: str) -> tzinfo:
    if name == _UTC:
        return UTC
    if _NAME.fullmatch(name) is None:
        raise ValueError("the time zone is not a name such as Europe/Berlin")
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"the time zone {name} is not known here; use a name such as Europe/Berlin, or UTC"
        ) from None
