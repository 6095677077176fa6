"""The line through the whole system: sign up, see free times, book, be refused, cancel."""

from tests.business import Business, ok


async def test_a_booked_time_is_gone_until_it_is_cancelled(business: Business) -> None:
    service = await business.service(durations_minutes=[60], buffer_after_minutes=15)
    provider = await business.provider(service)
    ada, grace = await business.customer(), await business.customer()
    free = await business.free_times(service, "2026-03-03", "2026-03-03", time_zone="Europe/Paris")
    assert free[0] == "2026-03-03T09:00:00+01:00"

    booked = await ada.post("/bookings", {"service_id": service["id"], "start": free[0]})
    booking = ok(booked)
    assert booked.status_code == 201
    assert booked.headers["location"] == f"/api/v1/bookings/{booking['id']}"
    assert booking["provider"]["id"] == provider["id"]
    assert (booking["start"], booking["end"]) == (
        "2026-03-03T09:00:00+01:00",
        "2026-03-03T10:00:00+01:00",
    )

    refused = await grace.post("/bookings", {"service_id": service["id"], "start": free[0]})
    assert (refused.status_code, refused.json()["code"]) == (409, "slot_taken")
    left = await business.free_times(service, "2026-03-03", "2026-03-03", time_zone="Europe/Paris")
    # The quarter of an hour after the booking is its buffer, so 10:00 is gone as well.
    assert left == [start for start in free if start[11:16] not in {"09:00", "10:00"}]

    cancelled = ok(await ada.post(f"/bookings/{booking['id']}/cancel", {"reason": "ill"}))
    assert cancelled["status"] == "cancelled"
    assert cancelled["sequence"] == booking["sequence"] + 1
    assert free == await business.free_times(
        service, "2026-03-03", "2026-03-03", time_zone="Europe/Paris"
    )
    ok(await grace.post("/bookings", {"service_id": service["id"], "start": free[0]}))
