"""What people are mailed about bookings and accounts: who, what, once, and in which words."""

from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from icalendar import Calendar
from pydantic import HttpUrl
from pyotp import TOTP
from sqlalchemy import text

from app.config import Settings
from app.core.letters import Draft, set_letter
from app.core.mail import Mailer
from app.core.words import words_for
from app.main import create_app
from app.notifications import repository
from app.notifications.following import SEND
from tests.business import PASSWORD, Business, Caller, Hands, execute, ok, problem, serving
from tests.mailbox import Mailbox, texts

DAY = "2026-03-04"
NINE, TEN = f"{DAY}T09:00:00+01:00", f"{DAY}T10:00:00+01:00"
GUEST = {"name": "Mary Shelley", "email": "mary@example.com"}


@pytest.fixture
def settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return settings.model_copy(update=mailbox.settings)


@pytest.fixture
async def ada(business: Business) -> Caller:
    return await business.customer("Ada Lovelace")


@pytest.fixture
async def grace(business: Business) -> Caller:
    """Who gives the service, with an account."""
    return await business.customer("Grace Hopper")


@pytest.fixture
async def service(business: Business, grace: Caller) -> dict[str, Any]:
    service = await business.service(durations_minutes=[60], allow_guests=True)
    await business.provider(service, user_id=grace.user["id"], display_name="Grace Hopper")
    return service


async def rows(app: FastAPI, statement: str, **values: Any) -> list[Any]:
    async with app.state.database.reading() as session:
        return list((await session.execute(text(statement), values)).all())


async def subjects(app: FastAPI, mailbox: Mailbox, caller: Caller | str) -> list[str]:
    """What somebody is mailed about, by and by; each is told once."""
    await app.state.jobs.run_due()
    address = caller if isinstance(caller, str) else caller.user["email"]
    told = [str(m["Subject"]) for m in mailbox.to(address) if "Confirm" not in m["Subject"]]
    mailbox.mails = [m for m in mailbox.mails if m["To"] != address]
    return told


def one(mails: list[EmailMessage], about: str) -> EmailMessage:
    (mail,) = (m for m in mails if about in m["Subject"])
    return mail


# --- Bookings --------------------------------------------------------------------------------
async def test_customer_and_provider_are_told_of_a_booking_and_what_becomes_of_it(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    path, name = f"/bookings/{booking['id']}", booking["reference"]
    assert await subjects(app, mailbox, ada) == [f"Your booking {name} is confirmed"]
    assert await subjects(app, mailbox, grace) == [f"Booking {name} is confirmed"]
    ok(await ada.post(f"{path}/reschedule", {"start": TEN}))
    assert await subjects(app, mailbox, grace) == [f"Booking {name} has moved"]
    (mail,) = mailbox.to(ada.user["email"])
    for said in texts(mail):
        assert "10:00\N{NARROW NO-BREAK SPACE}AM" in said
        assert "Wednesday, March 4, 2026, 9:00\N{NARROW NO-BREAK SPACE}AM" in said  # before
    mailbox.mails.clear()
    ok(await grace.post(f"{path}/cancel", {"reason": "I am ill."}))
    await app.state.jobs.run_due()
    mail = one(mailbox.to(ada.user["email"]), f"Your booking {name} was cancelled")
    assert all("The reason given: I am ill." in said for said in texts(mail))
    mail = one(mailbox.to(grace.user["email"]), f"Booking {name} was cancelled")
    assert not any("I am ill." in said for said in texts(mail))


async def test_a_request_is_told_of_and_so_is_its_end(
    app: FastAPI, mailbox: Mailbox, business: Business, ada: Caller, grace: Caller, clock: Hands
) -> None:
    service = await business.service(durations_minutes=[60], approval="required")
    await business.provider(service, user_id=grace.user["id"])
    told = []
    for end in ("confirm", "decline", None):
        booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
        path, name = f"/bookings/{booking['id']}", booking["reference"]
        assert await subjects(app, mailbox, grace) == [f"New request {name}"]
        assert await subjects(app, mailbox, ada) == [f"We have received your request {name}"]
        planned = "SELECT 1 FROM notifications WHERE state = 'planned' AND booking_id = :id"
        assert not await rows(app, planned, id=UUID(booking["id"]))
        if end is None:
            clock.advance(days=2)
            await execute(app, "UPDATE pgqueuer SET execute_after = now()")
        else:
            ok(await grace.post(f"{path}/{end}"))
        told.append([s.replace(name, "") for s in await subjects(app, mailbox, ada)])
        if end == "confirm":
            ok(await ada.post(f"{path}/cancel"))
            await app.state.jobs.run_due()
        mailbox.mails.clear()
    assert told == [
        ["Your booking  is confirmed"],
        ["Your request  was declined"],
        ["Your request  has expired"],
    ]


async def test_who_gives_it_now_is_told_and_who_did_before(
    app: FastAPI,
    mailbox: Mailbox,
    business: Business,
    service: dict[str, Any],
    ada: Caller,
    grace: Caller,
) -> None:
    joan = await business.customer("Joan Clarke")
    other = await business.provider(service, user_id=joan.user["id"], display_name="Joan Clarke")
    body = {"service_id": service["id"], "start": NINE}
    first = ok(await (await business.admin()).get("/providers"))["items"]
    body["provider_id"] = next(p["id"] for p in first if p["display_name"] == "Grace Hopper")
    booking = ok(await ada.post("/bookings", body))
    await app.state.jobs.run_due()
    mailbox.mails.clear()
    admin = await business.admin()
    ok(await admin.post(f"/bookings/{booking['id']}/reassign", {"provider_id": other["id"]}))
    name = booking["reference"]
    assert await subjects(app, mailbox, grace) == [f"Booking {name} is no longer yours"]
    assert await subjects(app, mailbox, joan) == [f"Booking {name} is yours now"]
    assert await subjects(app, mailbox, ada) == [f"Somebody else takes care of your booking {name}"]


async def test_calendars_are_told_within_the_mail(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    booking = ok(
        await ada.post(
            "/bookings", {"service_id": service["id"], "start": NINE, "notes": "A secret."}
        )
    )
    path, told = f"/bookings/{booking['id']}", []
    for action in (None, {"start": TEN}, {}):
        if action is not None:
            await ada.post(f"{path}/{'reschedule' if action else 'cancel'}", action)
        await app.state.jobs.run_due()
        for caller in (ada, grace):
            mail = mailbox.to(caller.user["email"])[-1]
            (alternatives, file) = mail.iter_parts()
            kinds = [part.get_content_type() for part in alternatives.iter_parts()]
            assert kinds == ["text/plain", "text/html", "text/calendar"]
            part = list(alternatives.iter_parts())[-1]
            calendar = Calendar.from_ical(part.get_content())
            (event,) = calendar.walk("VEVENT")
            assert file.get_filename() == "invite.ics"
            assert Calendar.from_ical(file.get_content()) == calendar
            assert part["Content-Type"].params["method"] == calendar["method"]
            assert event["attendee"] == f"mailto:{caller.user['email']}"
            assert "secret" not in str(calendar.to_ical())
            told.append((calendar["method"], event["uid"], event["sequence"], event.start.hour))
    uid = f"{booking['id']}@oneslot"
    assert told[::2] == told[1::2]
    assert told[::2] == [
        ("REQUEST", uid, 0, 9),
        ("REQUEST", uid, 1, 10),
        ("CANCEL", uid, 2, 10),
    ]


async def test_a_series_is_one_mail_and_so_is_its_end(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    wish = {"service_id": service["id"], "start": NINE, "rrule": "FREQ=WEEKLY;COUNT=5"}
    series = ok(await ada.post("/booking-series", wish))
    assert await subjects(app, mailbox, grace) == ["New series of bookings"]
    mail = one(mailbox.to(ada.user["email"]), "Your series of bookings")
    for said in texts(mail):
        assert said.count("9:00\N{NARROW NO-BREAK SPACE}AM") == 5
    mailbox.mails.clear()
    one_off = series["bookings"][0]
    ok(await ada.post(f"/bookings/{one_off['id']}/cancel"))
    assert await subjects(app, mailbox, ada) == [
        f"Your booking {one_off['reference']} was cancelled"
    ]
    ok(await ada.post(f"/booking-series/{series['id']}/cancel", {"scope": "all"}))
    await app.state.jobs.run_due()
    mail = one(mailbox.to(ada.user["email"]), "Bookings of your series were cancelled")
    assert texts(mail)[0].count("9:00\N{NARROW NO-BREAK SPACE}AM") == 4


async def test_only_what_is_still_true_is_said(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller
) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    path = f"/bookings/{booking['id']}"
    ok(await ada.post(f"{path}/reschedule", {"start": TEN}))
    name = booking["reference"]
    assert await subjects(app, mailbox, ada) == [f"Your booking {name} has moved"]
    ok(await ada.post(f"{path}/reschedule", {"start": NINE}))
    ok(await ada.post(f"{path}/cancel"))
    assert await subjects(app, mailbox, ada) == [f"Your booking {name} was cancelled"]


async def test_what_is_sent_again_is_the_same_mail_and_what_was_sent_is_not(
    app: FastAPI,
    mailbox: Mailbox,
    service: dict[str, Any],
    ada: Caller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    mailbox.mails.clear()

    async def die(*_: object, **__: object) -> None:
        """The mail is theirs, and we are gone before we have noted it."""
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(repository, "settle", die)
        await app.state.jobs.run_due()
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()
    first, second = mailbox.to(ada.user["email"])[-2:]
    assert first["Message-ID"] == second["Message-ID"]
    (sent,) = await rows(
        app, "SELECT id FROM notifications WHERE state = 'sent' AND audience = 'customer'"
    )
    assert first["Message-ID"] == f"<notification.{sent.id}@example.com>"
    mailbox.mails.clear()
    await app.state.jobs._handlers[SEND](sent.id)
    assert mailbox.mails == []


async def test_what_was_rolled_back_is_not_mailed(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller
) -> None:
    await app.state.jobs.run_due()
    mailbox.mails.clear()
    body = {"service_id": service["id"], "start": NINE}
    ok(await ada.post("/bookings", body))
    problem(await ada.post("/bookings", body), 409, "slot_taken")
    await app.state.jobs.run_due()
    assert len(mailbox.to(ada.user["email"])) == 1


async def test_the_settings_say_what_nobody_else_has_said(
    settings: Settings, clock: Hands, mailbox: Mailbox
) -> None:
    ours = {"DEFAULT_LOCALE": "fr", "REMINDER_MINUTES": (30,)}
    ours["BACKEND_HOST"] = HttpUrl("https://api.example.org")
    app = create_app(settings.model_copy(update=ours), clock=clock)
    async with serving(app) as client:
        business = Business(client)
        service = await business.service(allow_guests=True)
        await business.provider(service)
        body = {"service_id": service["id"], "start": NINE, "guest": GUEST}
        ok(await client.post("/api/v1/bookings", json=body))
        await app.state.jobs.run_due()
        (mail,) = mailbox.to(GUEST["email"])
        assert "Votre réservation" in mail["Subject"]
        clock.advance(hours=47, minutes=29, seconds=30)
        await remind(app)
        mail = mailbox.to(GUEST["email"])[-1]
        assert "Rappel" in mail["Subject"]
        assert mail["List-Unsubscribe"].startswith("<https://api.example.org/api/v1/unsubscribe/")
        assert len(mailbox.to(GUEST["email"])) == 2


# --- Words -----------------------------------------------------------------------------------
async def test_people_are_written_to_in_their_language_and_time(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller
) -> None:
    told = []
    for locale, zone in (
        ("fr-FR", "Europe/London"),
        ("de", "Asia/Tokyo"),
        ("es-MX", "Europe/Paris"),
        ("xx", None),
    ):
        ok(await ada.patch("/auth/me", {"locale": locale, "time_zone": zone}))
        booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
        await app.state.jobs.run_due()
        mail = one(mailbox.to(ada.user["email"]), booking["reference"])
        plain, html = (said.replace("\N{EN DASH}", "to") for said in texts(mail))
        subject = str(mail["Subject"]).replace(booking["reference"], "…")
        facts = dict(line.split(": ", 1) for line in plain.splitlines() if ": " in line)
        assert f'<html lang="{mail["Content-Language"]}">' in html
        told.append((mail["Content-Language"], subject, list(facts.values())[2:5]))
        ok(await ada.post(f"/bookings/{booking['id']}/cancel"))
        await app.state.jobs.run_due()
        mailbox.mails.clear()
    assert told == [
        (
            "fr-FR",
            "Votre réservation … est confirmée",
            [
                "mercredi 4 mars 2026",
                "08:00 to 09:00",
                "heure moyenne de Greenwich, UTC+00:00 (Europe/London)",
            ],
        ),
        (
            "de",
            "Ihre Buchung … ist bestätigt",
            [
                "Mittwoch, 4. März 2026",
                "17:00 to 18:00",
                "Japanische Normalzeit, GMT+09:00 (Asia/Tokyo)",
            ],
        ),
        (
            "es-MX",
            "Su reserva … está confirmada",
            [
                "miércoles, 4 de marzo de 2026",
                "9:00\N{NARROW NO-BREAK SPACE}a.m. to 10:00\N{NARROW NO-BREAK SPACE}a.m.",
                "hora estándar de Europa central, GMT+01:00 (Europe/Paris)",
            ],
        ),
        (
            "en",
            "Your booking … is confirmed",
            [
                "Wednesday, March 4, 2026",
                "9:00\N{NARROW NO-BREAK SPACE}AM to 10:00\N{NARROW NO-BREAK SPACE}AM",
                "Central European Standard Time, GMT+01:00 (Europe/Paris)",
            ],
        ),
    ]


async def test_whatever_people_are_called_it_is_one_mail_to_one_address(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    name = "Ada\r\nBcc: all@example.com\r\n\r\n<b>🎉 Łöve</b> =1+1"
    await execute(
        app,
        "UPDATE users SET name = :name WHERE email = :email",
        name=name,
        email=ada.user["email"],
    )
    await execute(app, "UPDATE services SET name = :name", name=name)
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    await app.state.jobs.run_due()
    mail = one(mailbox.to(grace.user["email"]), "is confirmed")
    assert mail["Bcc"] is None
    assert mail.get_all("To") == [grace.user["email"]]
    assert mail["X-RcptTo"] in (None, grace.user["email"])
    plain, html = texts(mail)
    assert "Customer: Ada Bcc: all@example.com <b>🎉 Łöve</b> =1+1" in plain
    assert "&lt;b&gt;🎉 Łöve&lt;/b&gt;" in html
    assert "<b>" not in html
    await app.state.jobs.run_due()
    assert not mailbox.to("all@example.com")


def test_a_subject_is_one_line_whatever_is_in_it(settings: Settings, clock: Hands) -> None:
    draft = Draft(subject="Hello\r\nBcc: all@example.com\u2028🎉")
    letter = set_letter(draft, words_for("en"), "Oneslot")
    message = Mailer(settings, clock).compose(letter, to="ada@example.com", reference="x")
    assert message["Subject"] == "Hello Bcc: all@example.com 🎉"
    assert message["Bcc"] is None


# --- Security --------------------------------------------------------------------------------
async def test_a_login_from_another_device_is_told_and_one_from_the_same_is_not(
    app: FastAPI, client: httpx.AsyncClient, mailbox: Mailbox, ada: Caller
) -> None:
    async def log_in(device: str) -> None:
        body = {"email": ada.user["email"], "password": PASSWORD}
        ok(await client.post("/api/v1/auth/login", json=body, headers={"User-Agent": device}))

    await log_in("Firefox/140.0")
    await log_in("Firefox/141.0.1")
    told = await subjects(app, mailbox, ada)
    assert told == ["New login at Oneslot"]
    await log_in("Robot <b>bold</b>")
    await app.state.jobs.run_due()
    (mail,) = mailbox.to(ada.user["email"])
    assert "Device: Robot <b>bold</b>" in texts(mail)[0]
    assert "<b>" not in texts(mail)[1]


async def test_the_first_login_is_no_news(app: FastAPI, mailbox: Mailbox, ada: Caller) -> None:
    assert await subjects(app, mailbox, ada) == []


async def test_a_changed_password_is_told(app: FastAPI, mailbox: Mailbox, ada: Caller) -> None:
    body = {"current_password": PASSWORD, "new_password": "a quite different sentence"}
    assert (await ada.post("/auth/me/password", body)).status_code == 204
    assert await subjects(app, mailbox, ada) == ["Your password at Oneslot was changed"]


async def test_a_second_factor_is_told_when_it_goes(
    app: FastAPI, mailbox: Mailbox, ada: Caller, clock: Hands
) -> None:
    started = ok(await ada.post("/auth/mfa/totp", {"password": PASSWORD}))
    code = TOTP(started["secret"]).at(int(clock().timestamp()))
    codes = ok(await ada.post("/auth/mfa/totp/confirm", {"code": code}))
    assert await subjects(app, mailbox, ada) == ["Two-factor authentication is on at Oneslot"]
    proof = {"password": PASSWORD, "code": codes["recovery_codes"][0]}
    assert (await ada.request("DELETE", "/auth/mfa", json=proof)).status_code == 204
    assert await subjects(app, mailbox, ada) == ["Two-factor authentication is off at Oneslot"]


async def test_a_changed_address_is_told_to_the_old_one(
    app: FastAPI, mailbox: Mailbox, business: Business, ada: Caller
) -> None:
    admin = await business.admin()
    path, old = f"/admin/users/{ada.user['id']}", ada.user["email"]
    ok(await admin.patch(path, {"email": "new@example.com"}))
    assert await subjects(app, mailbox, old) == ["Your address at Oneslot was changed"]
    assert await subjects(app, mailbox, "new@example.com") == []


# --- Reminders -------------------------------------------------------------------------------
async def remind(app: FastAPI) -> None:
    """What happens once a minute, and the jobs that come of it."""
    _, routine = app.state.jobs._routines["notifications.remind"]
    await app.state.jobs.run_due()
    await routine()
    await execute(app, "UPDATE pgqueuer SET execute_after = now()")
    await app.state.jobs.run_due()


async def reminded(app: FastAPI, mailbox: Mailbox, address: str) -> int:
    await remind(app)
    mails = [m for m in mailbox.to(address) if "Reminder" in m["Subject"]]
    mailbox.mails.clear()
    return len(mails)


async def test_a_booking_is_reminded_of_at_its_times_and_once(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller, clock: Hands
) -> None:
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    address, told = ada.user["email"], []
    for hours in (0, 23, 2, 0, 22, 1, 3):  # Monday at eight, UTC, to Wednesday at eleven
        clock.advance(hours=hours)
        told.append(await reminded(app, mailbox, address))
    assert told == [0, 0, 1, 0, 1, 0, 0]


async def test_reminders_move_with_the_booking_and_back_and_end_with_it(
    app: FastAPI,
    business: Business,
    mailbox: Mailbox,
    service: dict[str, Any],
    ada: Caller,
    clock: Hands,
) -> None:
    booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    path, address = f"/bookings/{booking['id']}", ada.user["email"]
    await app.state.jobs.run_due()
    friday = "2026-03-06T09:00:00+01:00"
    ok(await ada.post(f"{path}/reschedule", {"start": friday}))
    clock.advance(hours=25)  # a day before it would have been
    ada = await business.log_in(address, PASSWORD)
    assert await reminded(app, mailbox, address) == 0
    ok(await ada.post(f"{path}/reschedule", {"start": NINE}))
    assert await reminded(app, mailbox, address) == 0  # that is past: an hour before is left
    clock.advance(hours=22)
    ada = await business.log_in(address, PASSWORD)
    assert await reminded(app, mailbox, address) == 1
    ok(await ada.post(f"{path}/reschedule", {"start": friday}))
    ok(await ada.post(f"{path}/cancel"))
    clock.advance(hours=40)
    assert await reminded(app, mailbox, address) == 0


async def test_a_service_has_reminders_of_its_own_or_none_and_none_comes_too_late(
    app: FastAPI, business: Business, ada: Caller
) -> None:
    today = "2026-03-02T11:00:00+01:00"
    for rules, start, planned in (([600], NINE, [600]), ([], NINE, []), (None, today, [60])):
        service = await business.service(reminder_minutes=rules)
        await business.provider(service)
        booking = ok(await ada.post("/bookings", {"service_id": service["id"], "start": start}))
        await app.state.jobs.run_due()
        plans = await rows(
            app,
            "SELECT minutes_before FROM notifications WHERE kind = 'reminder' AND booking_id = :id",
            id=UUID(booking["id"]),
        )
        assert [plan.minutes_before for plan in plans] == planned


# --- Who wants none --------------------------------------------------------------------------
async def test_one_click_ends_the_reminders_of_a_guest_and_of_an_account(
    app: FastAPI,
    client: httpx.AsyncClient,
    business: Business,
    mailbox: Mailbox,
    service: dict[str, Any],
    ada: Caller,
    clock: Hands,
) -> None:
    ok(
        await client.post(
            "/api/v1/bookings", json={"service_id": service["id"], "start": NINE, "guest": GUEST}
        )
    )
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": TEN}))
    await app.state.jobs.run_due()
    clock.advance(hours=26)
    await remind(app)
    for address in (GUEST["email"], ada.user["email"]):
        mail = one(mailbox.to(address), "Reminder")
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        url = mail["List-Unsubscribe"].strip("<>")
        assert url.startswith("http://localhost:5173/api/v1/unsubscribe/")
        path = url.removeprefix("http://localhost:5173")
        form = {"List-Unsubscribe": "One-Click"}
        forged = path[:-5] + ("A" if path[-5] != "A" else "B") + path[-4:]
        for wrong in (forged, path[:-1], path + "A", path + "%C3%A9"):
            problem(await client.post(wrong, data=form), 404, "not_found")
        assert (await client.get(path)).status_code == 405
        for _ in range(2):
            assert (await client.post(path, data=form)).status_code == 204
    mailbox.mails.clear()
    for _ in range(2):  # an hour before the one, and the other
        clock.advance(hours=10, minutes=45)
        await remind(app)
        assert mailbox.mails == []
        clock.advance(minutes=15)
    ada = await business.log_in(ada.user["email"], PASSWORD)
    assert ok(await ada.get("/auth/me/notifications"))["reminders"] is False
    assert GUEST["email"] not in str(await rows(app, "SELECT * FROM unreminded_addresses"))


async def test_people_choose_what_they_are_mailed_about(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller, grace: Caller
) -> None:
    path = "/auth/me/notifications"
    shown = await ada.get(path)
    all_of_it = {"bookings": True, "appointments": True, "reminders": True}
    assert ok(shown) == all_of_it | {"version": 0}
    assert shown.headers["etag"] == '"0"'
    changed = await ada.put(path, all_of_it | {"bookings": False}, headers={"If-Match": '"0"'})
    assert ok(changed) == all_of_it | {"bookings": False, "version": 1}
    problem(await ada.put(path, all_of_it, headers={"If-Match": '"0"'}), 412, "version_mismatch")
    problem(await ada.put(path, {"bookings": True}), 422, "validation_failed")
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    assert await subjects(app, mailbox, ada) == []
    assert len(await subjects(app, mailbox, grace)) == 1
    ok(await grace.put(path, all_of_it | {"appointments": False}))
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": TEN}))
    assert await subjects(app, mailbox, grace) == []


async def test_nothing_is_left_of_who_is_erased(
    app: FastAPI, mailbox: Mailbox, service: dict[str, Any], ada: Caller
) -> None:
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    await app.state.jobs.run_due()
    ok(
        await ada.put(
            "/auth/me/notifications", {"bookings": False, "appointments": True, "reminders": True}
        )
    )
    export = ok(await ada.get("/auth/me/export"))
    kinds = [told["kind"] for told in export["notifications"]]
    assert sorted(kinds) == ["booking_confirmed", "reminder", "reminder"]
    assert export["notification_preferences"][0]["bookings"] is False
    mailbox.mails.clear()
    assert (await ada.delete("/auth/me", json={"password": PASSWORD})).status_code == 204
    user = UUID(ada.user["id"])
    for table in ("notifications", "notification_preferences"):
        assert not await rows(app, f"SELECT 1 FROM {table} WHERE user_id = :id", id=user)
    await remind(app)
    assert not mailbox.to(ada.user["email"])


async def test_what_was_sent_is_known_for_a_quarter_of_a_year(
    app: FastAPI, service: dict[str, Any], ada: Caller, clock: Hands
) -> None:
    ok(await ada.post("/bookings", {"service_id": service["id"], "start": NINE}))
    await app.state.jobs.run_due()
    kept = "SELECT state, count(*) AS number FROM notifications GROUP BY state"
    before = await rows(app, kept)
    _, forget = app.state.jobs._routines["notifications.forget"]
    await execute(app, "UPDATE notifications SET created_at = '2026-03-02T08:00Z'")
    clock.advance(days=89)
    await forget()
    assert await rows(app, kept) == before
    clock.advance(days=2)
    await forget()
    assert [tuple(row) for row in await rows(app, kept)] == [("planned", 2)]
