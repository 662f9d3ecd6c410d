"""Cron schedules: the five fields, `@` names, `@every` with a duration, and when they strike next.

Day of month and day of week are alternatives when both are restricted, as in every cron. Times are computed in the schedule's time zone.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta, tzinfo

from lakh.machinery import gonumbers
from lakh.machinery.cel_times import parse_duration

_NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_MONTHS = {
    name: n
    for n, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
MAX_DAYS = 366 * 5
"""How far ahead a next time is looked for; 29 February is at most eight years away, but nobody schedules only that."""


class CronError(ValueError):
    """The schedule cannot be understood."""


class Cron:
    """A parsed schedule."""

    def __init__(self, text: str) -> None:
        self.every: int | None = None
        """Seconds between two times, for `@every`."""
        if text.startswith(_EVERY):
            duration = parse_duration(text.removeprefix(_EVERY))
            if duration is None:
                raise CronError(f"failed to parse duration {text}")
            self.every = max(int(duration) // 10**9, 1)
            return
        fields = _NAMES.get(text.strip(), text).split()
        if len(fields) != 5:
            raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{text}]")
        self.minutes = _parse(fields[0], 0, 59)
        self.hours = _parse(fields[1], 0, 23)
        self.days = _parse(fields[2], 1, 31)
        self.months = _parse(fields[3], 1, 12, _MONTHS)
        self.weekdays = {day % 7 for day in _parse(fields[4], 0, 7, _DAYS)}
        self._any_day = _is_any(fields[2])
        self._any_weekday = _is_any(fields[4])

    def _on_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        of_month = day.day in self.days
        of_week = day.isoweekday() % 7 in self.weekdays
        if self._any_day or self._any_weekday:
            return of_month and of_week
        return of_month or of_week

    def next_after(self, moment: float, zone: tzinfo) -> float | None:
        """The first time after `moment`, in seconds since the epoch."""
        if self.every is not None:
            return math.floor(moment) + self.every
        start = datetime.fromtimestamp(moment, zone)
        day = start.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        for offset in range(MAX_DAYS):
            date = day + timedelta(days=offset)
            if not self._on_day(date):
                continue
            for hour in sorted(self.hours):
                if offset == 0 and hour < start.hour:
                    continue
                for minute in sorted(self.minutes):
                    when = date.replace(hour=hour, minute=minute, tzinfo=zone).timestamp()
                    if when > moment:
                        return when
        return None


def _is_any(field: str) -> bool:
    """Whether a field of days restricts nothing; every other day (`*/2`) is a restriction."""
    return any(part in ("*", "?", "*/1", "?/1") for part in field.split(","))


def _parse(text: str, low: int, high: int, names: dict[str, int] | None = None) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        body, slash, step_text = part.partition("/")
        if slash and (not gonumbers.is_uint(step_text) or int(step_text) == 0):
            raise CronError(f"invalid step: {part}")
        step = int(step_text) if slash else 1
        if body in ("*", "?"):
            first, last = low, high
        else:
            left, dash, right = body.partition("-")
            first = _number(left, names)
            last = _number(right, names) if dash else (high if slash else first)
        if not low <= first <= last <= high:
            raise CronError(f"out of range: {part}")
        found.update(range(first, last + 1, step))
    return found


def _number(text: str, names: dict[str, int] | None) -> int:
    if gonumbers.is_uint(text):
        return int(text)
    if names is not None and text.lower() in names:
        return names[text.lower()]
    raise CronError(f"failed to parse int from {text}")
