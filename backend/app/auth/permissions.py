"""The permission catalogue, and what the built-in roles are granted when they are first made.

A permission is `resource:action`. Actions on one's own things (my bookings, my calendar) need no
permission beyond the ones below: `rules.py` of each room decides about objects.
"""

from enum import StrEnum


class Permission(StrEnum):
    SERVICES_WRITE = "services:write"
    LOCATIONS_WRITE = "locations:write"
    RESOURCES_WRITE = "resources:write"
    PROVIDERS_WRITE = "providers:write"
    SCHEDULES_WRITE = "schedules:write"
    SCHEDULES_WRITE_OWN = "schedules:write_own"
    BOOKINGS_CREATE = "bookings:create"
    BOOKINGS_READ_ALL = "bookings:read_all"
    BOOKINGS_WRITE_ALL = "bookings:write_all"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    ROLES_READ = "roles:read"
    ROLES_WRITE = "roles:write"
    AUDIT_READ = "audit:read"
    REPORTS_READ = "reports:read"
    EVENTS_READ = "events:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    JOBS_READ = "jobs:read"
    JOBS_MANAGE = "jobs:manage"


DESCRIPTIONS: dict[Permission, str] = {
    Permission.SERVICES_WRITE: "Create, change and delete services, and say who gives them.",
    Permission.LOCATIONS_WRITE: "Create, change and delete locations.",
    Permission.RESOURCES_WRITE: "Create, change and delete rooms and devices.",
    Permission.PROVIDERS_WRITE: "Create, change and delete providers.",
    Permission.SCHEDULES_WRITE: "Change anyone's schedule.",
    Permission.SCHEDULES_WRITE_OWN: "Change the schedule of the provider one is.",
    Permission.BOOKINGS_CREATE: "Book for oneself.",
    Permission.BOOKINGS_READ_ALL: "See every booking.",
    Permission.BOOKINGS_WRITE_ALL: "Book for others and act on every booking.",
    Permission.USERS_READ: "See accounts.",
    Permission.USERS_WRITE: "Create, change, disable and delete accounts, and give them roles.",
    Permission.ROLES_READ: "See roles and what they grant.",
    Permission.ROLES_WRITE: "Create, change and delete roles.",
    Permission.AUDIT_READ: "Read the audit log.",
    Permission.REPORTS_READ: "See what is booked, how full calendars are, and who did not come.",
    Permission.EVENTS_READ: "Follow everything that happens, in full.",
    Permission.WEBHOOKS_READ: "See webhooks, and what was sent to them.",
    Permission.WEBHOOKS_WRITE: "Have everything that happens sent to any address.",
    Permission.JOBS_READ: "See what the job queue holds.",
    Permission.JOBS_MANAGE: "Repeat or give up jobs that failed.",
}

CUSTOMER, PROVIDER, ADMIN = "customer", "provider", "admin"

BUILT_IN_ROLES: dict[str, tuple[str, frozenset[Permission]]] = {
    CUSTOMER: ("Books for themselves.", frozenset({Permission.BOOKINGS_CREATE})),
    PROVIDER: (
        "Gives services and owns a calendar.",
        frozenset({Permission.BOOKINGS_CREATE, Permission.SCHEDULES_WRITE_OWN}),
    ),
    ADMIN: ("Runs the business.", frozenset(Permission)),
}
