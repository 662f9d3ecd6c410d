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

_second: tuple[int, str] = (-1, "")


class TimeError(ValueError):
    """A text is not a time. The message is what Go's decoder says."""

    def __init__(self, text: str) -> None:
        layout = "2006-01-02T15:04:05Z07:00"
        super().__init__(
            f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "{layout.split("-")[0]}"'
            if not _match(text)
            else f'parsing time "{text}": day out of range'
        )


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
        raise TimeError(text)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        if zone in "Zz":
            offset = UTC
        else:
            hours, minutes = int(zone[1:3]), int(zone[4:6])
            if minutes > 59:
                raise TimeError(text)
            delta = timedelta(hours=hours, minutes=minutes)
            offset = timezone(-delta if zone[0] == "-" else delta)
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micros, offset
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, TimeError):
            raise
        raise TimeError(text) from None


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
