from app.auth.memory import REMEMBERED_SECONDS, ShortMemory
from tests.unit.core.test_rate_limit import Ticks


def test_an_answer_is_believed_for_a_while_from_its_question_on() -> None:
    timer = Ticks()
    memory: ShortMemory[str, str] = ShortMemory(seconds=0.9, timer=timer)
    asked_at = timer()
    timer.seconds += 0.5  # the answer was slow
    memory.keep("who", "Ada", asked_at=asked_at)
    timer.seconds += 0.375
    assert memory.get("who") == "Ada"
    timer.seconds += 0.125
    assert memory.get("who") is None


def test_an_answer_that_comes_too_late_is_not_believed_again() -> None:
    timer = Ticks()
    memory: ShortMemory[str, str] = ShortMemory(seconds=0.9, timer=timer)
    asked_at = timer()
    timer.seconds += 1
    memory.keep("who", "Ada", asked_at=asked_at)
    assert memory.get("who") is None


def test_a_later_question_replaces_what_an_earlier_one_was_answered() -> None:
    timer = Ticks()
    memory: ShortMemory[str, str] = ShortMemory(seconds=0.9, timer=timer)
    for name in ("Ada", "Grace"):
        memory.keep("who", name, asked_at=timer())
        timer.seconds += 0.5
    assert memory.get("who") == "Grace"
    memory.clear()
    assert memory.get("who") is None


def test_it_stays_within_the_second_that_was_promised() -> None:
    assert REMEMBERED_SECONDS < 1
