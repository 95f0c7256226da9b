"""Time stamps: read from the forms in which files have them, and laid on a regular grid."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carousel.errors import DataError

__all__ = ["Clock", "find_clock"]

DAY = 86_400_000_000
"""Microseconds of a day."""
JITTER = 0.25
"""A stamp that is off the grid by at most this share of a step is moved onto it."""

Unit = Literal["time", "month", "workday", "number", "row"]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Clock:
    """A regular grid: what stands at each of its places.

    Args:
        unit: "time": a number of microseconds between places; "month": of months; "workday": Monday to Friday;
            "number": a plain number; "row": nothing is known but the order.
        start: of place 0: microseconds, months or days since 1970, or the number.
        step: from place to place, in the same unit.
        day: of the month, where `unit` is "month"; 31 is its last.
        dates: stamps are whole days.
        zone: stamps are universal time (UTC).
    """

    unit: Unit
    start: float
    step: float
    day: int = 1
    dates: bool = False
    zone: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def calendar_known(self) -> bool:
        """Whether stamps are times of a calendar."""
        return self.unit in ("time", "month", "workday")

    def exact(self, stamps: NDArray[Any]) -> NDArray[np.float64]:
        """Where stamps are on the grid, between places too."""
        if self.unit == "month":
            return np.asarray(stamps.astype("datetime64[M]").astype(np.int64) - self.start, np.float64) / self.step
        if self.unit == "workday":
            days = stamps.astype("datetime64[D]")
            first = np.datetime64(int(self.start), "D")
            return np.asarray(np.busday_count(first, days), np.float64)
        if self.unit == "time":
            return (stamps.astype("datetime64[us]").astype(np.int64) - int(self.start)) / self.step
        return (stamps.astype(np.float64) - self.start) / self.step

    def stamps(self, places: Places) -> NDArray[Any]:
        """The stamps of places: datetime64, or numbers."""
        places = np.asarray(places, np.int64)
        if self.unit == "month":
            months = (int(self.start) + places * int(self.step)).astype("datetime64[M]")
            last = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
            return (months.astype("datetime64[D]") + np.minimum(self.day, last) - 1).astype("datetime64[us]")
        if self.unit == "workday":
            days = np.busday_offset(np.datetime64(int(self.start), "D"), places, roll="forward")
            return days.astype("datetime64[us]")
        if self.unit == "time":
            return (int(self.start) + places * int(self.step)).astype("datetime64[us]")
        return self.start + places * self.step

    def text(self, places: Places) -> list[str]:
        """Stamps as a person writes them."""
        stamps = self.stamps(places)
        if self.unit == "month":
            return [str(s)[: 4 if self.step % 12 == 0 else 7 if self.day == 1 else 10] for s in stamps]
        if self.unit in ("time", "workday"):
            if self.dates:
                return [str(s)[:10] for s in stamps]
            cut = 16 if self.step % 60_000_000 == 0 and self.start % 60_000_000 == 0 else 26
            return [str(s)[:cut].replace("T", " ") + ("Z" if self.zone else "") for s in stamps]
        if self.unit == "row":
            return [str(int(s) + 1) for s in stamps]
        return [f"{s:.10g}" for s in stamps]

    def step_text(self) -> str:
        """A step in words: "1 hour", "1 month"."""
        if self.unit == "month":
            size, name = (self.step / 12, "year") if self.step % 12 == 0 else (self.step, "month")
        elif self.unit == "time":
            sizes = ((7 * DAY, "week"), (DAY, "day"), (DAY / 24, "hour"), (6e7, "minute"), (1e6, "second"))
            size, name = next(
                ((self.step / s, n) for s, n in sizes if self.step % s == 0), (self.step / 1e3, "millisecond")
            )
        else:
            return {"workday": "1 working day", "number": f"{self.step:.6g}", "row": "1 row"}[self.unit]
        return f"{size:g} {name}{'' if size == 1 else 's'}"

    def usual_seasons(self) -> list[int]:
        """Numbers of steps after which a calendar repeats, where they are whole and above 1: day, week, year."""
        if self.unit == "month":
            return [int(12 / self.step)] if 12 % self.step == 0 and self.step < 12 else []
        if self.unit == "workday":
            return [5, 261]
        if self.unit == "time":
            day = DAY / self.step
            return [round(n * day) for n in (1, 7, 365.25) if n * day > 1.5 and abs(n * day - round(n * day)) < 0.3]
        return []

    def calendar(self, places: Places, names: list[str]) -> NDArray[np.float32]:
        """(places, 2 · names) sine and cosine of where in the day, week or year a place is."""
        stamps = self.stamps(places)
        turns = {
            "hour": lambda: (stamps - stamps.astype("datetime64[D]")).astype("timedelta64[us]").astype(float) / DAY,
            "weekday": lambda: (stamps.astype("datetime64[D]").astype(np.int64) + 3) % 7 / 7,
            "month": lambda: (
                (stamps - stamps.astype("datetime64[Y]")).astype("timedelta64[us]").astype(float) / (365.25 * DAY)
            ),
        }
        columns = [f(2 * np.pi * turns[name]()) for name in names for f in (np.sin, np.cos)]
        return np.stack(columns, 1).astype(np.float32) if columns else np.zeros((len(stamps), 0), np.float32)

    def calendar_names(self, steps: int) -> list[str]:
        """Which of hour, weekday and month `steps` of data can teach: those seen at least twice round."""
        if not self.calendar_known:
            return []
        per_day = {"month": 1 / 30.4, "workday": 1.0}.get(self.unit, DAY / self.step)
        per_day = per_day / self.step if self.unit == "month" else per_day
        days = steps / per_day if self.unit != "workday" else steps * 7 / 5
        able = {"hour": per_day >= 2 and days >= 2, "weekday": per_day >= 1 and days >= 14, "month": days >= 730}
        if self.unit == "month" and self.step >= 12:
            able["month"] = False
        return [name for name, yes in able.items() if yes]


def find_clock(stamps: NDArray[Any] | None, groups: NDArray[np.int64], *, dates: bool, zone: bool, where: str) -> Clock:
    """The grid on which most stamps are: its step is the most frequent distance of neighbors in a group.

    Args:
        stamps: datetime64[us] or floats, sorted within each group; None where there are none.
        groups: (stamps,) the group of each.
        dates: the stamps are whole days.
        zone: they are universal time.
        where: the column's name, for messages.

    Raises:
        DataError: there are fewer than three different stamps, or hardly two distances are the same.
    """
    if stamps is None:
        return Clock("row", 0, 1)
    apart = np.diff(stamps.astype(np.int64) if stamps.dtype.kind == "M" else stamps)
    apart = apart[(np.diff(groups) == 0) & (apart > 0)]
    if len(apart) < 2:
        raise DataError(f"{where} has fewer than three different time stamps; a series needs more.")
    if stamps.dtype.kind != "M":
        return _number_clock(stamps, apart, where)
    days = stamps.astype("datetime64[D]")
    day = (days - stamps.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    ends = ((days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")).all()
    usual = _most_frequent(apart)
    if dates and usual >= 28 * DAY and (ends or (day == day[0]).all()):
        months = stamps.astype("datetime64[M]").astype(np.int64)
        between = np.diff(months)
        step = _most_frequent(between[(np.diff(groups) == 0) & (between > 0)])
        return Clock("month", int(months.min()), int(step), 31 if ends else int(day[0]), dates)
    if dates and usual == DAY and len(stamps) >= 10 and np.is_busday(days).all():
        return Clock("workday", int(days.min().astype(np.int64)), 1, dates=True)
    share = float((apart == usual).mean())
    if share < 0.5:
        # jittered stamps: the median, if the stamps then lie near the grid; otherwise there is no grid
        usual = int(np.median(apart))
        if np.mean(np.abs(apart / usual - np.rint(apart / usual)) <= JITTER) < 0.95:
            raise DataError(
                f"The time stamps in {where} have no regular step: the most frequent distance is that of only "
                f"{100 * share:.0f} % of the rows. Say a step, as --every 1h; the rows in a step are averaged."
            )
    return Clock("time", int(stamps.min().astype(np.int64)), int(usual), dates=dates and usual % DAY == 0, zone=zone)


def _number_clock(stamps: NDArray[np.float64], apart: NDArray[np.float64], where: str) -> Clock:
    step = float(np.median(apart))
    away = np.abs(apart / step - np.rint(apart / step))
    if np.mean(away <= JITTER) < 0.95:
        raise DataError(
            f"The numbers in {where} have no regular step: from {apart.min():.6g} to {apart.max():.6g} apart. Bring "
            "them to even steps first, or leave the column out and let the rows count."
        )
    first, last = float(stamps.min()), float(stamps.max())
    steps = max(1, round((last - first) / step))
    exact = (last - first) / steps
    if abs(exact - step) * steps < 0.5 * step:
        step = exact
    return Clock("number", first, float(f"{step:.12g}"))


def _most_frequent(values: NDArray[Any]) -> int:
    found, counts = np.unique(values, return_counts=True)
    best = int(found[counts.argmax()])
    assert math.isfinite(best)
    return best
