"""Times as Kubernetes writes them: RFC 3339 in UTC, with seconds (`Time`) or microseconds (`MicroTime`), and ages as kubectl prints them.

Everything here is text in, text out; `now` and `now_micro` read the clock. The text of the current second is kept, so that a burst of
writes formats it once.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

_match = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
).fullmatch

# What is written, and needs no second look: a day that every year has, in UTC.
_DAY = r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
_SECOND = r"^(?:[1-9][0-9]{3}|0[0-9]{3}(?<!000[01]))-" + _DAY + r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
TIME_PATTERN = _SECOND + r"Z\Z"
MICRO_TIME_PATTERN = _SECOND + r"\.[0-9]{6}Z\Z"

_second: tuple[int, str] = (-1, "")

_LAYOUT = "2006-01-02T15:04:05"
_ZERO_YEAR = "0001-01-01T00:00:00"


class TimeError(ValueError):
    """A text is not a time. The message is what Go's decoder says."""


def _no_time(text: str) -> TimeError:
    layout = f"{_LAYOUT}Z07:00"
    if _match(text):
        return TimeError(f'parsing time "{text}": day out of range')
    return TimeError(
        f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "{layout.split("-")[0]}"'
    )


# The elements of both layouts up to their fraction: what stands before a number, the number in the layout, how many digits it has at
# least and at most, and the range that is named when it is outside.
_ELEMENTS = (
    ("", "2006", 4, 4, "", 0, 9999),
    ("-", "01", 2, 2, "month", 1, 12),
    ("-", "02", 2, 2, "", 0, 99),
    ("T", "15", 1, 2, "hour", 0, 23),
    (":", "04", 2, 2, "minute", 0, 59),
    (":", "05", 2, 2, "second", 0, 59),
)
_digits = re.compile("[0-9]*").match
_fraction = re.compile(r"[.,][0-9]+").match
_zone = re.compile(r"[+-]([0-9]{2}):([0-9]{2})").match


def decode(text: str, micro: bool = False) -> str | None:
    """A `Time` or `MicroTime` of a client as it is written back; None for the zero time. Raises `TimeError` as Go's `time.Parse`."""
    layout = f"{_LAYOUT}{'.000000' if micro else ''}Z07:00"

    def wrong(rest: str, element: str) -> TimeError:
        return TimeError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{element}"')

    def outside(what: str) -> TimeError:
        return TimeError(f'parsing time "{text}": {what} out of range')

    rest = text
    numbers = []
    for before, element, least, most, named, low, high in _ELEMENTS:
        if before:
            if not rest.startswith(before):
                raise wrong(rest, before)
            rest = rest[1:]
        found = _digits(rest[:most])
        assert found is not None
        if len(found[0]) < least:
            raise wrong(rest, element)
        rest = rest[len(found[0]) :]
        numbers.append(int(found[0]))
        if not low <= numbers[-1] <= high:
            raise outside(named)
    digits = ""
    if micro:
        if len(rest) < 7 or rest[0] not in ".," or not (rest[1:7].isascii() and rest[1:7].isdigit()):
            raise wrong(rest, ".000000")
        digits, rest = rest[1:7], rest[7:]
    elif (fraction := _fraction(rest)) is not None:
        digits, rest = fraction[0][1:], rest[fraction.end() :]
    offset = timedelta()
    if rest.startswith("Z"):
        rest = rest[1:]
    else:
        zone = _zone(rest)
        if zone is None:
            raise wrong(rest, "Z07:00")
        hours, minutes = int(zone[1]), int(zone[2])
        if hours > 24:
            raise outside("time zone offset hour")
        if minutes > 60:
            raise outside("time zone offset minute")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if rest[0] == "-" else 1)
        rest = rest[zone.end() :]
    if rest:
        raise TimeError(f'parsing time "{text}": extra text: "{rest}"')
    try:
        moment = datetime(*numbers, int(digits[:6].ljust(6, "0"))) - offset  # type: ignore[arg-type,call-arg]
    except (ValueError, OverflowError):
        raise outside("day") from None
    second = f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}"
    if second == _ZERO_YEAR and not moment.microsecond:
        return None
    return f"{second}.{moment.microsecond:06d}Z" if micro else f"{second}Z"


def of_seconds(epoch_seconds: float) -> str:
    """A time as `Time` is written: `2026-01-02T15:04:05Z`."""
    global _second
    second = int(epoch_seconds // 1)
    kept, text = _second
    if kept == second:
        return text
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    _second = (second, text)
    return text


def micro_of_seconds(epoch_seconds: float) -> str:
    """A time as `MicroTime` is written: `2026-01-02T15:04:05.000000Z`."""
    micros = int(epoch_seconds * 1_000_000 // 1)
    return f"{of_seconds(micros // 1_000_000)[:-1]}.{micros % 1_000_000:06d}Z"


def now() -> str:
    """The current time, in seconds."""
    return of_seconds(time.time())


def now_micro() -> str:
    """The current time, in microseconds."""
    micros = time.time_ns() // 1000
    return f"{of_seconds(micros // 1_000_000)[:-1]}.{micros % 1_000_000:06d}Z"


def _datetime(text: str) -> datetime:
    match = _match(text)
    if match is None:
        raise _no_time(text)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        if zone in "Zz":
            offset = UTC
        else:
            hours, minutes = int(zone[1:3]), int(zone[4:6])
            if minutes > 59:
                raise _no_time(text)
            delta = timedelta(hours=hours, minutes=minutes)
            offset = timezone(-delta if zone[0] == "-" else delta)
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micros, offset
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, TimeError):
            raise
        raise _no_time(text) from None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse(text: str) -> float:
    """Seconds since the epoch. Takes any offset and fraction; raises `TimeError`."""
    return (_datetime(text) - _EPOCH).total_seconds()


def canonical(text: str) -> str:
    """A `Time` as it is written back: in UTC, whole seconds."""
    if len(text) == 20 and text[-1] == "Z" and _match(text):
        _datetime(text)
        return text
    moment = _datetime(text)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%SZ}"


def canonical_micro(text: str) -> str:
    """A `MicroTime` as it is written back: in UTC, six decimals."""
    moment = _datetime(text)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S.%fZ}"


def human_duration(seconds: float) -> str:
    """A duration with two or three significant figures, as kubectl prints ages: `5m`, `2d3h`, `400d`."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes, hours = total // 60, total // 3600
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def age(text: str | None, now_seconds: float) -> str:
    """The age column of a `creationTimestamp`; `<unknown>` when there is none."""
    if not text:
        return "<unknown>"
    try:
        return human_duration(now_seconds - parse(text))
    except TimeError:
        return "<unknown>"
