"""Times and durations in CEL: how they are read, written and taken apart (cel-go's common/types, Go's `time`). All in nanoseconds."""

from __future__ import annotations

import re
import zoneinfo
from calendar import timegm
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from lakh.machinery.cel_values import NANOS_PER_SECOND, Duration, EvaluationError, NoSuchOverload, Timestamp

_LEAST_SECONDS, _MOST_SECONDS = -62135596800, 253402300799  # the years 1 to 9999
_UNITS = {
    "h": 3600 * NANOS_PER_SECOND,
    "m": 60 * NANOS_PER_SECOND,
    "s": NANOS_PER_SECOND,
    "ms": 10**6,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ns": 1,
}
_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"([-+]?)(0|(?:{_PART.pattern.replace('(', '(?:').replace('(?:?:', '(?:')})+)\Z")
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))\Z", re.ASCII
)
# strfmt, which reads what schemas declare to be a date-time, is more lenient than Go's RFC 3339.
_LENIENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))\Z", re.ASCII
)


def parse_duration(text: str) -> Duration | None:
    """A duration as Go writes it (`1h2.5s`), or None."""
    found = _DURATION.match(text)
    if found is None:
        return None
    nanos = 0
    for whole, fraction, unit in _PART.findall(found.group(2)):
        if not whole and not fraction:
            return None
        size = _UNITS[unit]
        nanos += int(whole or "0") * size
        if fraction:
            nanos += int(fraction) * size // 10 ** len(fraction)
    if nanos > 2**63 - 1:
        return None
    return Duration(-nanos if found.group(1) == "-" else nanos)


def parse_timestamp(text: str, *, lenient: bool = False) -> Timestamp | None:
    """A time in RFC 3339, or None."""
    found = (_LENIENT if lenient else _RFC3339).match(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    try:
        seconds = timegm(datetime(year, month, day, hour, minute, second).timetuple())
    except ValueError:
        return None
    fraction, sign, hours, minutes = found.groups()[6:]
    east = 0
    if sign:
        if int(hours) > 24 or int(minutes) > 59:
            return None
        east = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
        seconds -= east
    at = Timestamp(seconds * NANOS_PER_SECOND + int(((fraction or "") + "0" * 9)[:9]))
    if east:
        at.east = east
    return at


def of_nanos(nanos: int) -> Timestamp:
    """A point in time; raises EvaluationError when it is outside the years 1 to 9999."""
    if not _LEAST_SECONDS <= nanos // NANOS_PER_SECOND <= _MOST_SECONDS:
        raise EvaluationError("timestamp overflow")
    return nanos if type(nanos) is Timestamp else Timestamp(nanos)


def duration_of(nanos: int) -> Duration:
    """A span; raises EvaluationError when 64 bits cannot hold it."""
    if not -(2**63) <= nanos < 2**63:
        raise EvaluationError("duration overflow")
    return Duration(nanos)


def _fraction(nanos: int) -> str:
    return f".{nanos:09d}".rstrip("0") if nanos else ""


def timestamp_text(at: Timestamp) -> str:
    """As Go's RFC3339Nano, in the zone that it was written in."""
    seconds, nanos = divmod(int(at), NANOS_PER_SECOND)
    when = datetime(1970, 1, 1) + timedelta(seconds=seconds + at.east)
    hours, minutes = divmod(abs(at.east) // 60, 60)
    zone = f"{'-' if at.east < 0 else '+'}{hours:02d}:{minutes:02d}" if at.east else "Z"
    return f"{when.isoformat(timespec='seconds')}{_fraction(nanos)}{zone}"


def duration_text(span: Duration) -> str:
    """In seconds."""
    seconds, nanos = divmod(abs(int(span)), NANOS_PER_SECOND)
    return f"{'-' if span < 0 else ''}{seconds}{_fraction(nanos)}s"


def _zone(name: str) -> tzinfo:
    if ":" not in name:
        try:
            return UTC if name in ("", "UTC") else zoneinfo.ZoneInfo(name)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            raise EvaluationError(f"unknown time zone {name}") from None
    hours, _, minutes = name.partition(":")
    try:
        hour, minute = int(hours), int(minutes)
    except ValueError:
        raise EvaluationError(f'strconv.Atoi: parsing "{name}": invalid syntax') from None
    if not 0 <= minute <= 59:
        raise EvaluationError(f"timezone offset minutes out of range [0, 59]: {name}")
    offset = hour * 60 - minute if name.startswith("-") else hour * 60 + minute
    try:
        return timezone(timedelta(minutes=offset))
    except ValueError:
        raise EvaluationError(f"timezone offset out of range: {name}") from None


_OF_TIME: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}
_OF_DURATION = {
    "getHours": 3600 * NANOS_PER_SECOND,
    "getMinutes": 60 * NANOS_PER_SECOND,
    "getSeconds": NANOS_PER_SECOND,
}


def _getter(name: str) -> Callable[..., int]:
    of_time, unit = _OF_TIME[name], _OF_DURATION.get(name)

    def get(value: Any, zone: str = "") -> int:
        kind = type(value)
        if kind is Timestamp and type(zone) is str:
            seconds, nanos = divmod(int(value), NANOS_PER_SECOND)
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=nanos // 1000)
            return of_time(at if not zone else at.astimezone(_zone(zone)))
        if kind is Duration:
            if name == "getMilliseconds":
                return _toward_zero(int(value), 10**6)
            if unit is not None:
                return _toward_zero(int(value), unit)
        raise NoSuchOverload

    return get


def _toward_zero(value: int, unit: int) -> int:
    return value // unit if value >= 0 else -(-value // unit)


GETTERS: dict[str, Callable[..., int]] = {name: _getter(name) for name in _OF_TIME}
