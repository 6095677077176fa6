"""Public holidays, by country or part of one, from the `holidays` library."""

from datetime import date
from functools import lru_cache

import holidays


def is_known(calendar: str) -> bool:
    """Whether there are holidays for this ISO 3166 code: a country (`FR`) or a part (`DE-BY`)."""
    country, _, part = calendar.partition("-")
    parts = _countries().get(country)
    return parts is not None and (not part or part in parts)


def between(calendar: str, first: date, last: date) -> frozenset[date]:
    """The public holidays from `first` through `last`. A calendar that is not known has none."""
    if not is_known(calendar):
        return frozenset()
    years = range(first.year, last.year + 1)
    return frozenset(
        day for year in years for day in _in_year(calendar, year) if first <= day <= last
    )


@lru_cache(maxsize=2048)
def _in_year(calendar: str, year: int) -> tuple[date, ...]:
    country, _, part = calendar.partition("-")
    return tuple(holidays.country_holidays(country, subdiv=part or None, years=year))


@lru_cache(maxsize=1)
def _countries() -> dict[str, list[str]]:
    return holidays.list_supported_countries(include_aliases=False)
