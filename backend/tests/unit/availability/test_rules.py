"""The engine by example: odd days, edges, and each reason."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from app.availability.rules import (
    Interval,
    Reason,
    SlotRules,
    WorkingHours,
    free_slots,
    fresh_until,
    judge,
    merge_providers,
)
from app.availability.wall_clock import (
    LAST_DAY,
    day_start,
    local_date,
    local_days,
    offset_spans,
)
from app.schedules.rules import normalise

HOUR = 60
CLOSED: tuple[Interval, ...] = ()
ALL_DAY: tuple[Interval, ...] = ((0, 24 * HOUR),)
NINE_TO_NOON: tuple[Interval, ...] = ((9 * HOUR, 12 * HOUR),)
HOURLY = SlotRules(duration=60, interval=60)
MONDAY = date(2026, 11, 23)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def minute(text: str) -> int:
    """`2026-11-23T09:00+01:00` as an instant."""
    return int(seconds(text)) // 60


def always(zone: str, *day: Interval) -> WorkingHours:
    return WorkingHours(zone, (day,) * 7)


PARIS = always("Europe/Paris", *NINE_TO_NOON)
LONG_AGO = 0.0


def slots_on(
    day: date,
    hours: WorkingHours,
    rules: SlotRules = HOURLY,
    *,
    busy: tuple[Interval, ...] = (),
    time_off: tuple[Interval, ...] = (),
    now: float = LONG_AGO,
) -> list[str]:
    """The free starts of a local day, as its clocks and their offset show them."""
    ((_, start, end),) = local_days(hours.zone, day, day)
    slots = free_slots(rules, hours, busy, time_off, now, start, end)
    zone = ZoneInfo(hours.zone)
    return [f"{datetime.fromtimestamp(slot * 60, zone):%H:%M%z}" for slot in slots]


def paris(clock: str) -> int:
    return minute(f"{MONDAY}T{clock}+01:00")


class TestDaysOnWhichClocksChange:
    def test_hours_in_a_gap_begin_when_it_ends(self) -> None:
        hours = always("Europe/Paris", (2 * HOUR, 5 * HOUR))
        assert slots_on(date(2026, 3, 29), hours) == ["03:00+0200", "04:00+0200"]

    def test_hours_that_lie_in_a_gap_vanish(self) -> None:
        hours = always("Europe/Paris", (2 * HOUR, 3 * HOUR))
        assert slots_on(date(2026, 3, 29), hours) == []

    def test_a_grid_counts_elapsed_minutes_across_a_gap(self) -> None:
        hours = always("Europe/Paris", (1 * HOUR, 5 * HOUR))
        rules = SlotRules(duration=40, interval=40)
        assert slots_on(date(2026, 3, 29), hours, rules) == [
            "01:00+0100",
            "01:40+0100",
            "03:20+0200",
            "04:00+0200",
        ]

    def test_hours_across_a_fold_last_an_hour_longer(self) -> None:
        hours = always("America/New_York", (30, 3 * HOUR))
        assert slots_on(date(2026, 11, 1), hours) == ["00:30-0400", "01:30-0400", "01:30-0500"]

    def test_hours_in_a_fold_are_those_of_its_first_pass(self) -> None:
        hours = always("America/New_York", (1 * HOUR, 1 * HOUR + 30))
        rules = SlotRules(duration=15, interval=15)
        assert slots_on(date(2026, 11, 1), hours, rules) == ["01:00-0400", "01:15-0400"]

    def test_intervals_that_meet_in_a_fold_share_it_out(self) -> None:
        early, late = (0, 90), (90, 3 * HOUR)
        rules = SlotRules(duration=30, interval=30)
        whole = slots_on(date(2026, 11, 1), always("America/New_York", early, late), rules)
        first = slots_on(date(2026, 11, 1), always("America/New_York", early), rules)
        second = slots_on(date(2026, 11, 1), always("America/New_York", late), rules)
        assert first == ["00:00-0400", "00:30-0400", "01:00-0400"]
        assert whole == first + second

    def test_lord_howe_puts_clocks_back_by_half_an_hour(self) -> None:
        hours = always("Australia/Lord_Howe", (1 * HOUR, 3 * HOUR))
        rules = SlotRules(duration=30, interval=30)
        assert slots_on(date(2026, 4, 5), hours, rules) == [
            "01:00+1100",
            "01:30+1100",
            "01:30+1030",
            "02:00+1030",
            "02:30+1030",
        ]

    def test_lord_howe_puts_clocks_forward_by_half_an_hour(self) -> None:
        hours = always("Australia/Lord_Howe", (2 * HOUR, 3 * HOUR))
        rules = SlotRules(duration=30, interval=30)
        assert slots_on(date(2026, 10, 4), hours, rules) == ["02:30+1100"]

    def test_apia_skipped_a_whole_day(self) -> None:
        hours = always("Pacific/Apia", *ALL_DAY)
        skipped = date(2011, 12, 30)
        midnight = minute("2011-12-31T00:00+14:00")
        assert local_days("Pacific/Apia", skipped, skipped) == [(skipped, midnight, midnight)]
        assert slots_on(skipped, hours) == []
        assert len(slots_on(date(2011, 12, 29), hours)) == 24
        assert local_date("Pacific/Apia", midnight - 1) == date(2011, 12, 29)
        assert local_date("Pacific/Apia", midnight) == date(2011, 12, 31)

    def test_work_goes_on_across_the_skipped_day(self) -> None:
        hours = always("Pacific/Apia", *ALL_DAY)
        rules = SlotRules(duration=120, interval=60)
        assert slots_on(date(2011, 12, 29), hours, rules)[-1] == "23:00-1000"

    def test_sao_paulo_skipped_midnight(self) -> None:
        day = date(2018, 11, 4)
        hours = always("America/Sao_Paulo", (0, 3 * HOUR))
        assert day_start("America/Sao_Paulo", day) == minute("2018-11-04T01:00-02:00")
        assert slots_on(day, hours) == ["01:00-0200", "02:00-0200"]

    def test_sao_paulo_repeated_the_hour_before_midnight(self) -> None:
        hours = always("America/Sao_Paulo", (22 * HOUR, 24 * HOUR))
        assert slots_on(date(2018, 2, 17), hours) == ["22:00-0200", "23:00-0200", "23:00-0300"]

    def test_a_day_that_has_begun_is_not_left_again(self) -> None:
        # At 00:01 on the 7th, St. John's went back to 23:01 on the 6th.
        midnight = minute("2010-11-07T00:00-02:30")
        assert day_start("America/St_Johns", date(2010, 11, 7)) == midnight
        assert local_date("America/St_Johns", midnight - 1) == date(2010, 11, 6)
        again = minute("2010-11-06T23:30-03:30")
        assert local_date("America/St_Johns", again) == date(2010, 11, 7)

    def test_kathmandu_is_three_quarters_of_an_hour_off(self) -> None:
        assert slots_on(MONDAY, always("Asia/Kathmandu", *NINE_TO_NOON)) == [
            "09:00+0545",
            "10:00+0545",
            "11:00+0545",
        ]

    def test_offsets_change_within_a_day(self) -> None:
        ((_, start, end),) = local_days("Europe/Paris", date(2026, 3, 29), date(2026, 3, 29))
        change = minute("2026-03-29T01:00Z")
        assert end - start == 23 * HOUR
        assert offset_spans("Europe/Paris", start, end) == [(start, change, 60), (change, end, 120)]
        assert offset_spans("Europe/Paris", change, end) == [(change, end, 120)]
        assert offset_spans("Europe/Paris", start, change) == [(start, change, 60)]
        assert offset_spans("Europe/Paris", start, start) == []
        yesterday = change - 24 * HOUR  # the daily look finds a change that it falls on
        assert offset_spans("Europe/Paris", yesterday, end) == [
            (yesterday, change, 60),
            (change, end, 120),
        ]


class TestWorkingTime:
    def test_a_slot_must_end_by_closing_time(self) -> None:
        rules = SlotRules(duration=90, interval=30)
        assert slots_on(MONDAY, PARIS, rules) == [
            "09:00+0100",
            "09:30+0100",
            "10:00+0100",
            "10:30+0100",
        ]

    def test_a_slot_may_run_past_midnight_into_the_next_days_hours(self) -> None:
        night = WorkingHours(
            "Europe/Paris",
            (((22 * HOUR, 24 * HOUR),), ((0, 1 * HOUR),), *(CLOSED,) * 5),
        )
        rules = SlotRules(duration=90, interval=60)
        assert slots_on(MONDAY, night, rules) == ["22:00+0100", "23:00+0100"]
        assert slots_on(MONDAY + timedelta(days=1), night, rules) == []

    def test_a_slot_may_not_run_past_midnight_into_a_closed_day(self) -> None:
        night = always("Europe/Paris", (22 * HOUR, 24 * HOUR), (24 * HOUR, 24 * HOUR))
        rules = SlotRules(duration=90, interval=60)
        assert slots_on(MONDAY, night, rules) == ["22:00+0100"]

    def test_each_interval_has_its_own_grid(self) -> None:
        hours = always("Europe/Paris", (540, 610), (610, 700))
        assert slots_on(MONDAY, hours) == ["09:00+0100", "10:00+0100", "10:10+0100"]

    def test_a_range_that_cuts_an_interval_leaves_its_grid(self) -> None:
        start, end = paris("09:01"), paris("11:00")
        assert free_slots(HOURLY, PARIS, (), (), LONG_AGO, start, end) == [paris("10:00")]
        assert free_slots(HOURLY, PARIS, (), (), LONG_AGO, start, end + 1) == [
            paris("10:00"),
            paris("11:00"),
        ]

    def test_an_override_replaces_its_day(self) -> None:
        hours = replace(PARIS, overrides={MONDAY: ((14 * HOUR, 15 * HOUR),)})
        assert slots_on(MONDAY, hours) == ["14:00+0100"]
        assert len(slots_on(MONDAY + timedelta(days=1), hours)) == 3

    def test_an_empty_override_closes_its_day(self) -> None:
        assert slots_on(MONDAY, replace(PARIS, overrides={MONDAY: CLOSED})) == []

    def test_a_holiday_closes_its_day_unless_an_override_opens_it(self) -> None:
        hours = replace(PARIS, holidays=frozenset({MONDAY}))
        assert slots_on(MONDAY, hours) == []
        opened = replace(hours, overrides={MONDAY: ((9 * HOUR, 10 * HOUR),)})
        assert slots_on(MONDAY, opened) == ["09:00+0100"]


class TestBusyTime:
    RULES = SlotRules(duration=30, interval=15, buffer_before=10, buffer_after=20)

    @pytest.mark.parametrize(
        ("busy", "gone"),
        [
            (("10:20", "10:21"), ["09:45", "10:00", "10:15", "10:30"]),
            (("08:00", "08:50"), []),
            (("08:00", "08:51"), ["09:00"]),
            (("12:20", "13:00"), []),
            (("12:19", "13:00"), ["11:30"]),
        ],
    )
    def test_buffers_keep_their_distance_and_may_leave_working_hours(
        self, busy: tuple[str, str], gone: list[str]
    ) -> None:
        blocked = ((paris(busy[0]), paris(busy[1])),)
        free = slots_on(MONDAY, PARIS, self.RULES)
        left = slots_on(MONDAY, PARIS, self.RULES, busy=blocked)
        assert [slot for slot in free if slot not in left] == [f"{clock}+0100" for clock in gone]
        assert slots_on(MONDAY, PARIS, self.RULES, time_off=blocked) == left

    def test_back_to_back_bookings_touch(self) -> None:
        busy = ((paris("09:00"), paris("10:00")), (paris("11:00"), paris("12:00")))
        assert slots_on(MONDAY, PARIS, busy=busy) == ["10:00+0100"]

    def test_a_late_end_does_not_move_the_grid(self) -> None:
        busy = ((paris("09:00"), paris("10:05")),)
        assert slots_on(MONDAY, PARIS, busy=busy) == ["11:00+0100"]

    def test_a_long_block_hides_those_that_follow_inside_it(self) -> None:
        long, short = (paris("08:00"), paris("11:00")), (paris("09:00"), paris("09:10"))
        assert slots_on(MONDAY, PARIS, busy=(long, short)) == ["11:00+0100"]
        assert slots_on(MONDAY, PARIS, busy=(short,), time_off=(long,)) == ["11:00+0100"]

    def test_a_block_behind_the_last_slot_of_one_interval_spares_the_next(self) -> None:
        # The first grid would continue at 10:30, past the block; the second begins before it.
        hours = always("Europe/Paris", (540, 610), (610, 700))
        rules = SlotRules(duration=5, interval=90)
        busy = ((paris("09:00"), paris("09:10")), (paris("10:20"), paris("10:35")))
        assert slots_on(MONDAY, hours, rules, busy=busy) == ["10:10+0100"]


class TestNoticeAndWindow:
    def test_a_started_minute_counts_in_full(self) -> None:
        rules = replace(HOURLY, min_notice=30)
        at_half = seconds(f"{MONDAY}T09:30:00+01:00")
        assert slots_on(MONDAY, PARIS, rules, now=at_half) == ["10:00+0100", "11:00+0100"]
        assert slots_on(MONDAY, PARIS, rules, now=at_half + 0.001) == ["11:00+0100"]

    def test_a_slot_may_begin_now(self) -> None:
        assert slots_on(MONDAY, PARIS, now=seconds(f"{MONDAY}T11:00+01:00")) == ["11:00+0100"]

    def test_a_window_ends_at_midnight_in_the_providers_zone(self) -> None:
        hours = always("America/New_York", *ALL_DAY)
        start, end = minute("2026-11-20T00:00Z"), minute("2026-11-30T00:00Z")
        now = seconds("2026-11-24T04:59:59Z")  # one second before New York's midnight

        def last_slot(now: float, window_days: int | None) -> int:
            rules = replace(HOURLY, window_days=window_days)
            return free_slots(rules, hours, (), (), now, start, end)[-1]

        assert last_slot(now - HOUR * 60, 0) == minute("2026-11-23T23:00-05:00")
        assert last_slot(now, 1) == minute("2026-11-24T23:00-05:00")
        assert last_slot(now + 1, 1) == minute("2026-11-25T23:00-05:00")
        assert last_slot(now, None) == end - HOUR

    def test_nothing_is_offered_beyond_the_supported_years(self) -> None:
        hours = always("Pacific/Apia", *ALL_DAY)
        for window_days in (None, 10**9):
            rules = replace(HOURLY, window_days=window_days)
            assert len(slots_on(LAST_DAY, hours, rules)) == 24
            assert slots_on(LAST_DAY + timedelta(days=1), hours, rules) == []
            assert judge(rules, hours, (), (), LONG_AGO, 10**15) is Reason.BEYOND_WINDOW


class TestReasons:
    RULES = SlotRules(
        duration=60, interval=30, buffer_before=15, buffer_after=15, min_notice=60, window_days=3
    )
    HOURS = replace(PARIS, holidays=frozenset({MONDAY + timedelta(days=1)}))
    NOW = seconds(f"{MONDAY}T08:30:01+01:00")

    @pytest.mark.parametrize(
        ("start", "reason"),
        [
            ("2026-11-23T08:30+01:00", Reason.PAST),
            ("2026-11-23T08:31+01:00", Reason.MIN_NOTICE),
            ("2026-11-23T09:30+01:00", Reason.MIN_NOTICE),
            ("2026-11-23T10:00+01:00", None),
            ("2026-11-23T10:31+01:00", Reason.NOT_ALIGNED),
            ("2026-11-23T11:30+01:00", Reason.OUTSIDE_WORKING_HOURS),
            ("2026-11-24T10:00+01:00", Reason.HOLIDAY),
            ("2026-11-26T11:00+01:00", None),
            ("2026-11-26T23:59+01:00", Reason.OUTSIDE_WORKING_HOURS),
            ("2026-11-27T00:00+01:00", Reason.BEYOND_WINDOW),
        ],
    )
    def test_the_first_that_holds_is_given(self, start: str, reason: Reason | None) -> None:
        assert judge(self.RULES, self.HOURS, (), (), self.NOW, minute(start)) is reason

    @pytest.mark.parametrize(
        ("start", "end", "as_busy", "as_time_off"),
        [
            ("09:44", "09:45", None, None),
            ("09:45", "09:46", Reason.BUFFER, Reason.TIME_OFF),
            ("09:59", "10:00", Reason.BUFFER, Reason.TIME_OFF),
            ("10:00", "10:01", Reason.BUSY, Reason.TIME_OFF),
            ("10:59", "11:00", Reason.BUSY, Reason.TIME_OFF),
            ("11:00", "11:01", Reason.BUFFER, Reason.TIME_OFF),
            ("11:14", "11:15", Reason.BUFFER, Reason.TIME_OFF),
            ("11:15", "11:16", None, None),
        ],
    )
    def test_what_is_taken(
        self, start: str, end: str, as_busy: Reason | None, as_time_off: Reason | None
    ) -> None:
        blocked = [(paris(start), paris(end))]
        ten = paris("10:00")
        assert judge(self.RULES, self.HOURS, blocked, [], self.NOW, ten) is as_busy
        assert judge(self.RULES, self.HOURS, [], blocked, self.NOW, ten) is as_time_off
        assert judge(self.RULES, self.HOURS, blocked, blocked, self.NOW, ten) is as_time_off

    def test_an_override_ends_a_holiday(self) -> None:
        tuesday = MONDAY + timedelta(days=1)
        hours = replace(self.HOURS, overrides={tuesday: NINE_TO_NOON})
        noon = minute(f"{tuesday}T12:00+01:00")
        assert judge(self.RULES, hours, (), (), self.NOW, noon) is Reason.OUTSIDE_WORKING_HOURS
        assert judge(self.RULES, hours, (), (), self.NOW, noon - 60) is None


class TestFreshness:
    NOW = seconds(f"{MONDAY}T08:00+01:00")
    ZONES = ("Europe/Paris", "Asia/Kathmandu")
    END = minute("2026-12-24T00:00Z")

    def test_notice_withholds_the_earliest_slot(self) -> None:
        rules = replace(HOURLY, min_notice=30)
        slots = [paris("09:00"), paris("10:00")]
        moment = fresh_until(rules, self.ZONES, self.NOW, self.END, slots)
        assert moment == paris("08:30")
        assert len(slots_on(MONDAY, PARIS, rules, now=moment * 60)) == 3
        assert len(slots_on(MONDAY, PARIS, rules, now=moment * 60 + 1)) == 2

    def test_a_window_opens_with_the_first_midnight_among_the_zones(self) -> None:
        rules = replace(HOURLY, window_days=2)
        assert fresh_until(rules, self.ZONES, self.NOW, self.END, []) == minute(
            "2026-11-24T00:00+05:45"
        )

    def test_a_window_that_covers_the_range_opens_nothing(self) -> None:
        rules = replace(HOURLY, window_days=2)
        closes = minute("2026-11-26T00:00+01:00")
        assert fresh_until(rules, ["Europe/Paris"], self.NOW, closes, []) is None
        assert fresh_until(rules, ["Europe/Paris"], self.NOW, closes + 1, []) == minute(
            "2026-11-24T00:00+01:00"
        )

    def test_nothing_to_offer_and_no_window_stays_so(self) -> None:
        assert fresh_until(HOURLY, self.ZONES, self.NOW, self.END, []) is None


def test_providers_merge_into_one_entry_per_start() -> None:
    assert merge_providers([[10, 20], [], [20, 30], [10]]) == [
        (10, (0, 3)),
        (20, (0, 2)),
        (30, (2,)),
    ]


def test_normalise_merges_what_overlaps_or_touches() -> None:
    assert normalise([(600, 660), (540, 600), (700, 800), (710, 720), (900, 900)]) == (
        (540, 660),
        (700, 800),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0},
        {"interval": 0},
        {"buffer_before": -1},
        {"buffer_after": -1},
        {"min_notice": -1},
        {"window_days": -1},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        SlotRules(**{"duration": 30, "interval": 30} | wrong)


def test_days_outside_the_supported_years_are_refused() -> None:
    with pytest.raises(ValueError, match="1970 to 2200"):
        day_start("Europe/Paris", date(1969, 1, 1))
    with pytest.raises(ValueError, match="1970 to 2200"):
        local_days("Europe/Paris", LAST_DAY, date(2300, 1, 1))
    with pytest.raises(ValueError, match="1970 to 2200"):
        offset_spans("Europe/Paris", 0, 10**12)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        day_start("Europe/Atlantis", MONDAY)
