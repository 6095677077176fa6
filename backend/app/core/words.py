"""What people read, in their language: translated, with dates and durations as they write them.

The texts in the code are English, and are their own keys. `app/locales/<language>.po` has the
others; what one of them lacks is said in English.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_timezone_gmt, get_timezone_name
from babel.messages.pofile import read_po
from babel.units import format_unit

LANGUAGES: Final = ("en", "fr", "es", "de")
CATALOGUES: Final = Path(__file__).parent.parent / "locales"

_UNITS: Final = ((1440, "day"), (60, "hour"), (1, "minute"))


def later(message: str) -> str:
    """Marks a message that is translated where it is said, so that it is found to be translated."""
    return message


class Words:
    """One language, as it is written in one place: `say("It is over.")`."""

    def __init__(self, locale: Locale) -> None:
        self._locale = locale
        self._translated = _catalogue(locale.language)

    @property
    def tag(self) -> str:
        """The BCP 47 tag, for `lang` and Content-Language."""
        return str(self._locale).replace("_", "-")

    def __call__(self, message: str, /, **values: object) -> str:
        """The message in this language, its `{names}` filled in.

        Values are put in as they are: what is in them is neither translated nor filled in.
        """
        return self._translated.get(message, message).format(**values)

    def day(self, moment: datetime, zone: str) -> str:
        """`Tuesday, March 3, 2026`, where it is so at that moment."""
        return format_date(moment.astimezone(ZoneInfo(zone)), "full", locale=self._locale)

    def time(self, moment: datetime, zone: str) -> str:
        """`9:00 AM`, or 9:00, as the language has it."""
        return format_time(moment, "short", tzinfo=ZoneInfo(zone), locale=self._locale)

    def zone(self, moment: datetime, zone: str) -> str:
        """`Central European Standard Time, GMT+01:00 (Europe/Paris)`."""
        local = moment.astimezone(ZoneInfo(zone))
        gmt = get_timezone_gmt(local, "long", locale=self._locale)
        offset = gmt.replace("-", "\N{MINUS SIGN}")  # at which no line is broken
        name = get_timezone_name(local, "long", locale=self._locale)
        # What CLDR has no name for is called by its offset.
        known = offset if name.startswith(gmt[:3]) else f"{name}, {offset}"
        return f"{known} ({zone})"

    def duration(self, minutes: int) -> str:
        """`1 day`, `90 minutes`: in the largest unit that it is a whole number of."""
        size, unit = next((s, u) for s, u in _UNITS if minutes % s == 0)
        return format_unit(minutes // size, f"duration-{unit}", locale=self._locale)


def words_for(*wished: str | None) -> Words:
    """The first of these locales whose language is spoken here, else English.

    Several are for a person's own and the business's; what is no locale at all is passed by.
    """
    for tag in wished:
        locale = _locale(tag) if tag else None
        if locale is not None:
            return Words(locale)
    return Words(Locale("en"))


def speaks(tag: str) -> bool:
    """Whether there are words for this BCP 47 tag."""
    return _locale(tag) is not None


@cache
def _locale(tag: str) -> Locale | None:
    """The locale that Babel knows and that is nearest to the tag; None: another language."""
    parts = tag.split("-")
    if parts[0] not in LANGUAGES:
        return None
    for length in range(len(parts), 0, -1):
        try:
            return Locale.parse("_".join(parts[:length]))
        except (UnknownLocaleError, ValueError):
            continue
    return None


@cache
def _catalogue(language: str) -> Mapping[str, str]:
    path = CATALOGUES / f"{language}.po"
    if not path.exists():
        return MappingProxyType({})
    with path.open("rb") as file:
        entries = read_po(file, locale=language, abort_invalid=True)
    return MappingProxyType(
        {str(entry.id): str(entry.string) for entry in entries if entry.id and entry.string}
    )
