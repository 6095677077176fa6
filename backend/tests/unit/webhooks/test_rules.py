from datetime import timedelta

import pytest

from app.webhooks.rules import PAUSES, TEST, is_gone, is_taken, is_wanted, pause_after


@pytest.mark.parametrize(
    ("patterns", "is_told"),
    [
        (["*"], True),
        (["booking.*"], True),
        (["booking.created"], True),
        (["user.*", "booking.created"], True),
        (["booking.moved"], False),
        (["book.*"], False),
        ([], False),
    ],
)
def test_who_asked_for_it_is_told(patterns: list[str], *, is_told: bool) -> None:
    assert is_wanted("booking.created", patterns) is is_told


def test_only_success_is_success() -> None:
    taken = [status for status in range(100, 600) if is_taken(status)]
    assert taken == list(range(200, 300))
    assert not is_taken(None)
    assert [status for status in range(100, 600) if is_gone(status)] == [410]


def test_tries_go_on_for_three_days_with_growing_pauses() -> None:
    pauses = [pause_after(tries, "booking.created", 0.5) for tries in range(1, len(PAUSES) + 1)]
    assert sorted(pauses) == pauses == list(PAUSES)
    assert timedelta(days=2.9) < sum(PAUSES, timedelta()) < timedelta(days=3.1)
    assert pause_after(len(PAUSES) + 1, "booking.created", 0.5) is None


def test_chance_spreads_them() -> None:
    spread = [pause_after(3, "booking.created", chance) for chance in (0, 0.5, 1)]
    assert spread == [timedelta(minutes=27), timedelta(minutes=30), timedelta(minutes=33)]


def test_a_test_is_made_once() -> None:
    assert pause_after(1, TEST, 0.5) is None
