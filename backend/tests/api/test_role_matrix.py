"""Every operation against every role: each can exactly what the catalogue says."""

import re
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from app.auth.permissions import BUILT_IN_ROLES, Permission
from tests.business import PASSWORD, Business, Caller, grant

PUBLIC: Final = "anybody"
SIGNED_IN: Final = "anybody with an account"

# What each operation asks for. A new one fails the test until it has its line here.
NEEDED: dict[str, Permission | str] = {
    "system_root": PUBLIC,
    "system_health": PUBLIC,
    "system_ready": PUBLIC,
    "auth_signup": PUBLIC,
    "auth_login": PUBLIC,
    "auth_token": PUBLIC,
    "auth_refresh": PUBLIC,
    "auth_logout": SIGNED_IN,
    "auth_logout_all": SIGNED_IN,
    "auth_sessions_list": SIGNED_IN,
    "auth_sessions_end": SIGNED_IN,
    "auth_me": SIGNED_IN,
    "auth_me_update": SIGNED_IN,
    "auth_me_password": SIGNED_IN,
    "auth_me_export": SIGNED_IN,
    "auth_me_erase": SIGNED_IN,
    "auth_verify_email": PUBLIC,
    "auth_verify_email_resend": SIGNED_IN,
    "auth_password_forgot": PUBLIC,
    "auth_password_reset": PUBLIC,
    "notifications_get": SIGNED_IN,
    "notifications_put": SIGNED_IN,
    # Whose they are, the token says.
    "notifications_unsubscribe": PUBLIC,
    "auth_mfa_get": SIGNED_IN,
    "auth_mfa_totp_start": SIGNED_IN,
    "auth_mfa_totp_confirm": SIGNED_IN,
    "auth_mfa_recovery_codes_renew": SIGNED_IN,
    "auth_mfa_disable": SIGNED_IN,
    "services_list": PUBLIC,
    "services_get": PUBLIC,
    "services_create": Permission.SERVICES_WRITE,
    "services_update": Permission.SERVICES_WRITE,
    "services_delete": Permission.SERVICES_WRITE,
    "service_providers_get": PUBLIC,
    "service_providers_put": Permission.SERVICES_WRITE,
    "locations_list": PUBLIC,
    "locations_get": PUBLIC,
    "locations_create": Permission.LOCATIONS_WRITE,
    "locations_update": Permission.LOCATIONS_WRITE,
    "locations_delete": Permission.LOCATIONS_WRITE,
    "resources_list": PUBLIC,
    "resources_get": PUBLIC,
    "resources_create": Permission.RESOURCES_WRITE,
    "resources_update": Permission.RESOURCES_WRITE,
    "resources_delete": Permission.RESOURCES_WRITE,
    "providers_list": PUBLIC,
    "providers_get": PUBLIC,
    "providers_create": Permission.PROVIDERS_WRITE,
    "providers_update": Permission.PROVIDERS_WRITE,
    "providers_delete": Permission.PROVIDERS_WRITE,
    "schedules_get": PUBLIC,
    # Which provider's is an object's question: test_schedules.py, _overrides.py, _time_off.py.
    "schedules_put": SIGNED_IN,
    "overrides_list": PUBLIC,
    "overrides_put": SIGNED_IN,
    "overrides_delete": SIGNED_IN,
    "time_off_list": SIGNED_IN,
    "time_off_create": SIGNED_IN,
    "time_off_delete": SIGNED_IN,
    "availability_get": PUBLIC,
    "availability_days": PUBLIC,
    "availability_next": PUBLIC,
    "availability_explain": PUBLIC,
    # Visitors, where the service admits guests: tests/api/test_holds.py, test_guest_bookings.py.
    "holds_create": PUBLIC,
    "bookings_create": PUBLIC,
    # Whose it is, a secret says.
    "holds_extend": PUBLIC,
    "holds_end": PUBLIC,
    "manage_get": PUBLIC,
    "manage_cancel": PUBLIC,
    "manage_reschedule": PUBLIC,
    "calendar_feeds_create": SIGNED_IN,
    "calendar_feeds_list": SIGNED_IN,
    "calendar_feeds_revoke": SIGNED_IN,
    "calendar_feeds_get": PUBLIC,
    "waitlist_join": Permission.BOOKINGS_CREATE,
    "waitlist_list": SIGNED_IN,
    "waitlist_withdraw": SIGNED_IN,
    "waitlist_accept": Permission.BOOKINGS_CREATE,
    "booking_series_create": Permission.BOOKINGS_CREATE,
    "booking_series_get": SIGNED_IN,
    "booking_series_cancel": SIGNED_IN,
    "bookings_list": SIGNED_IN,
    "bookings_get": SIGNED_IN,
    "bookings_calendar": SIGNED_IN,
    "bookings_history": SIGNED_IN,
    # Whose booking it is, and who may do what with it: tests/api/test_booking_actions.py.
    "bookings_confirm": SIGNED_IN,
    "bookings_decline": SIGNED_IN,
    "bookings_cancel": SIGNED_IN,
    "bookings_reschedule": SIGNED_IN,
    "bookings_reassign": SIGNED_IN,
    "bookings_check_in": SIGNED_IN,
    "bookings_complete": SIGNED_IN,
    "bookings_no_show": SIGNED_IN,
    "admin_permissions_list": Permission.ROLES_READ,
    "admin_roles_list": Permission.ROLES_READ,
    "admin_roles_get": Permission.ROLES_READ,
    "admin_roles_create": Permission.ROLES_WRITE,
    "admin_roles_update": Permission.ROLES_WRITE,
    "admin_roles_delete": Permission.ROLES_WRITE,
    "admin_users_list": Permission.USERS_READ,
    "admin_users_get": Permission.USERS_READ,
    "admin_users_create": Permission.USERS_WRITE,
    "admin_users_update": Permission.USERS_WRITE,
    "admin_users_roles_put": Permission.USERS_WRITE,
    "admin_users_delete": Permission.USERS_WRITE,
    "admin_exports_bookings": Permission.BOOKINGS_READ_ALL,
    "admin_reports_bookings": Permission.REPORTS_READ,
    "admin_reports_utilisation": Permission.REPORTS_READ,
    "admin_reports_no_shows": Permission.REPORTS_READ,
    "admin_audit_log": Permission.AUDIT_READ,
    "admin_jobs_list": Permission.JOBS_READ,
    "admin_jobs_retry": Permission.JOBS_MANAGE,
    "admin_jobs_discard": Permission.JOBS_MANAGE,
    "events_list": Permission.EVENTS_READ,
    "webhooks_list": Permission.WEBHOOKS_READ,
    "webhooks_get": Permission.WEBHOOKS_READ,
    "webhooks_deliveries_list": Permission.WEBHOOKS_READ,
    "webhooks_create": Permission.WEBHOOKS_WRITE,
    "webhooks_update": Permission.WEBHOOKS_WRITE,
    "webhooks_delete": Permission.WEBHOOKS_WRITE,
    "webhooks_rotate": Permission.WEBHOOKS_WRITE,
    "webhooks_test": Permission.WEBHOOKS_WRITE,
    "webhooks_deliveries_replay": Permission.WEBHOOKS_WRITE,
}
# These end sessions, so they come last, each with a new one.
ENDING = ("auth_logout", "auth_logout_all")


def operations(app: FastAPI) -> dict[str, tuple[str, str]]:
    """Every operation's method and path, by its id."""
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }


async def call(
    client: httpx.AsyncClient, method: str, path: str, token: str | None
) -> httpx.Response:
    """The operation, on objects that are not there: whoever may do it is told 404 or 422."""
    url = re.sub(r"\{\w+\}", lambda _: str(uuid4()), path)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}
    return await client.request(method, url, headers=headers, **body)


def test_every_operation_has_its_line(app: FastAPI) -> None:
    found = operations(app)
    assert len(found) >= 45
    assert set(found) == set(NEEDED)


async def test_without_a_token_only_what_is_public_answers(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    for name, (method, path) in operations(app).items():
        answer = await call(client, method, path, None)
        if NEEDED[name] == PUBLIC:
            assert answer.status_code not in {401, 403, 500}, name
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), name


@pytest.mark.parametrize("role", BUILT_IN_ROLES)
async def test_each_role_can_exactly_what_the_catalogue_says(
    app: FastAPI, business: Business, client: httpx.AsyncClient, role: str
) -> None:
    caller: Caller = await business.customer()
    if role != "customer":
        await grant(app, caller, role)
    granted = BUILT_IN_ROLES["customer"][1] | BUILT_IN_ROLES[role][1]
    found = operations(app)
    for name in [*(found.keys() - set(ENDING)), *ENDING]:
        method, path = found[name]
        if name in ENDING:
            caller = await business.log_in(caller.user["email"], PASSWORD)
        answer = await call(client, method, path, caller.token)
        needed = NEEDED[name]
        allowed = needed in {PUBLIC, SIGNED_IN} or needed in granted
        assert (answer.status_code == 403) is not allowed, (name, answer.text)
        assert answer.status_code not in {401, 500}, (name, answer.text)
