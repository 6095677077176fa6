"""What clients send and get about accounts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    SecretStr,
    StringConstraints,
)

from app.auth.permissions import CUSTOMER, Permission
from app.core.schemas import (
    UNCHANGED,
    Input,
    Line,
    Output,
    Paragraphs,
    Version,
    Zone,
    example,
)


def _bare(value: object) -> object:
    """Refuse `Ada <ada@example.com>`, out of which `EmailStr` would take the address."""
    if isinstance(value, str) and "<" in value:
        raise ValueError("an address, and nothing around it")
    return value


EmailAddress = Annotated[
    EmailStr,
    BeforeValidator(_bare),
    AfterValidator(str.lower),
    Field(max_length=254, examples=["ada@example.com"]),
]
PhoneNumber = Annotated[
    str,
    StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$"),
    Field(description="E.164.", examples=["+33123456789"]),
]
Locale = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35),
    Field(description="A BCP 47 language tag.", examples=["fr-FR"]),
]
Password = Annotated[SecretStr, Field(max_length=4096, examples=["correct horse battery"])]

Code = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=64,
        description="Of the second factor: from the authenticator app, or a recovery code.",
        examples=["123456"],
    ),
]


class Credentials(Input):
    """A password is what was typed, with the spaces around it."""

    model_config = ConfigDict(str_strip_whitespace=False)


class Signup(Credentials):
    model_config = example(
        name="Ada Lovelace",
        email="ada@example.com",
        password="correct horse battery",  # noqa: S106 - an example
    )

    name: Line = Field(examples=["Ada Lovelace"])
    email: EmailAddress
    password: Password


class Login(Credentials):
    model_config = example(
        email="ada@example.com",
        password="correct horse battery",  # noqa: S106 - an example
    )

    email: EmailAddress
    password: Password
    code: Code | None = None


class Refresh(Input):
    model_config = example(
        refresh_token="cWbA1n3lEo6x9gW0b8eGx5yZ0m2vJYdJ4oI3T7rQkPs"  # noqa: S106 - an example
    )

    refresh_token: SecretStr = Field(min_length=1, max_length=200)


class Tokens(Output):
    """An access token for requests, and a refresh token to get the next pair with."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the scheme, no secret
    expires_in: int = Field(description="Seconds.", examples=[900])
    refresh_token: str
    refresh_expires_in: int = Field(description="Seconds.", examples=[2_592_000])


@dataclass(frozen=True, slots=True)
class Device:
    """Where a login came from, as far as it can be told."""

    name: str
    address: str


class SessionOut(Output):
    """A device on which the caller is logged in."""

    id: UUID
    device: str = Field(description="The User-Agent of the login.")
    address: str
    created_at: datetime
    last_used_at: datetime = Field(description="When it was last refreshed.")
    expires_at: datetime
    is_current: bool


class ProfilePatch(Input):
    """The fields to change; a field that is not named stays as it is."""

    model_config = example(phone="+33123456789", time_zone="Europe/Paris", locale="fr-FR")

    name: Line = UNCHANGED
    phone: PhoneNumber | None = None
    time_zone: Zone | None = None
    locale: Locale | None = None


class PasswordChange(Credentials):
    model_config = example(
        current_password="correct horse battery",  # noqa: S106 - an example
        new_password="a quite different sentence",  # noqa: S106
    )

    current_password: Password
    new_password: Password


_EXAMPLE_TOKEN = "wPvYc8Yv0cW6fPzUqk0Xk3o5o5m1Tn2yqZ7bJ1sG4eA"  # noqa: S105 - an example
LinkToken = Annotated[
    SecretStr,
    Field(min_length=1, max_length=200, description="What followed `#token=` in the link."),
]


class EmailVerification(Input):
    model_config = example(token=_EXAMPLE_TOKEN)

    token: LinkToken


class PasswordForgotten(Input):
    model_config = example(email="ada@example.com")

    email: EmailAddress


class PasswordReset(Credentials):
    model_config = example(
        token=_EXAMPLE_TOKEN,
        new_password="correct horse battery",  # noqa: S106 - an example
    )

    token: LinkToken
    new_password: Password


class Accepted(Output):
    """What is said whether or not there is such an account: the mail says the rest."""

    detail: str = "If the address is right, a mail is on its way."


class Erasure(Credentials):
    """The password, once more: who finds a device unlocked must not end an account."""

    model_config = example(password="correct horse battery")  # noqa: S106 - an example

    password: Password


class UserOut(Output):
    """A person's account."""

    id: UUID
    name: str
    email: str
    phone: str | None
    time_zone: str | None
    locale: str | None
    roles: list[str]
    permissions: list[str]
    is_active: bool
    is_superuser: bool
    email_verified: bool
    mfa_enabled: bool
    version: Version
    created_at: datetime
    updated_at: datetime


class ExportedSession(Output):
    """A login, also one that has ended."""

    id: UUID
    device: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class PersonalExport(Output):
    """Everything about a person. What other parts know is in a list each, such as `bookings`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, list[dict[str, Any]]]

    exported_at: datetime
    account: UserOut
    sessions: list[ExportedSession]


RoleName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{1,49}$"), Field(examples=["receptionist"])
]
RoleNames = Annotated[
    list[str], Field(max_length=50), AfterValidator(lambda names: list(dict.fromkeys(names)))
]


class RoleCreate(Input):
    model_config = example(name="receptionist", permissions=["bookings:read_all"])

    name: RoleName
    description: Annotated[Paragraphs, Field(max_length=500)] = ""
    permissions: set[Permission] = Field(examples=[["bookings:read_all"]])


class RolePatch(Input):
    """The fields to change; a field that is not named stays as it is."""

    model_config = example(permissions=["bookings:read_all", "bookings:write_all"])

    name: RoleName = UNCHANGED
    description: Annotated[Paragraphs, Field(max_length=500)] = UNCHANGED
    permissions: set[Permission] = UNCHANGED


class RoleOut(Output):
    """A named set of permissions."""

    id: UUID
    name: str
    description: str
    permissions: list[str]
    is_builtin: bool
    version: Version
    created_at: datetime
    updated_at: datetime


class UserCreate(Credentials):
    model_config = example(
        name="Grace Hopper",
        email="grace@example.com",
        password="correct horse battery",  # noqa: S106 - an example
        roles=["provider"],
    )

    name: Line = Field(examples=["Grace Hopper"])
    email: EmailAddress
    password: Password
    roles: RoleNames = Field(default_factory=lambda: [CUSTOMER])
    is_active: bool = True


class UserPatch(Input):
    """The fields to change; a field that is not named stays as it is."""

    model_config = example(is_active=False)

    name: Line = UNCHANGED
    email: EmailAddress = UNCHANGED
    is_active: bool = UNCHANGED
    is_superuser: bool = UNCHANGED
    roles: RoleNames = UNCHANGED


class UserRoles(Input):
    model_config = example(roles=["customer", "provider"])

    roles: RoleNames
