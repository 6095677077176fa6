"""What people read: all of it in every language, with times as they write them."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

from app.core.words import CATALOGUES, LANGUAGES, _catalogue, words_for

APP = Path(__file__).parents[3] / "app"
MESSAGES = {
    str(message)
    for _, _, message, _, _ in extract_from_dir(
        APP, [("**.py", "python")], keywords={"say": None, "later": None}
    )
}
_NAMES = re.compile(r"\{\w*\}")


@pytest.mark.parametrize("language", [tag for tag in LANGUAGES if tag != "en"])
def test_everything_is_said_in_every_language(language: str) -> None:
    translated = _catalogue(language)
    assert len(MESSAGES) > 50
    assert set(translated) == MESSAGES
    for message, said in translated.items():
        assert sorted(_NAMES.findall(said)) == sorted(_NAMES.findall(message)), message


def test_there_is_a_catalogue_for_each_language_but_the_first() -> None:
    assert {path.stem for path in CATALOGUES.glob("*.po")} | {"en"} == set(LANGUAGES)


@pytest.mark.parametrize(
    ("wished", "tag"),
    [
        (("fr-CA", "de"), "fr-CA"),
        (("pt-BR", "de-AT"), "de-AT"),
        ((None, "es"), "es"),
        (("fr-Latn-CH-x-private", None), "fr-CH"),
        (("de-xx", None), "de"),
        (("en-GB",), "en-GB"),
        (("zh-Hant", None), "en"),
        ((), "en"),
    ],
)
def test_the_first_language_that_is_spoken_is_used(
    wished: tuple[str | None, ...], tag: str
) -> None:
    assert words_for(*wished).tag in {tag, tag.replace("fr-CH", "fr")}


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    say = words_for("fr")
    said = say("The reason given: {reason}", reason="{project} {0.__class__}")
    assert said == "Motif indiqué : {project} {0.__class__}"


def test_a_time_is_told_with_its_zone_and_offset_on_either_side_of_a_change() -> None:
    say = words_for("en-GB")
    before = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    after = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert say.time(before, "Europe/Paris") == "01:30"
    assert say.time(after, "Europe/Paris") == "03:30"
    assert say.zone(before, "Europe/Paris") == (
        "Central European Standard Time, GMT+01:00 (Europe/Paris)"
    )
    assert say.zone(after, "Europe/Paris") == (
        "Central European Summer Time, GMT+02:00 (Europe/Paris)"
    )
    assert say.zone(before, "UTC") == "Coordinated Universal Time, GMT+00:00 (UTC)"


@pytest.mark.parametrize(
    ("minutes", "said"), [(15, "15 minutes"), (60, "1 hour"), (90, "90 minutes"), (2880, "2 days")]
)
def test_a_duration_is_whole_in_its_unit(minutes: int, said: str) -> None:
    assert words_for("en").duration(minutes) == said
