"""What clients send and get about accounts."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, EmailStr, Field, SecretStr

from app.core.schemas import Input, Line, Output, Version, example

EmailAddress = Annotated[
    EmailStr,
    AfterValidator(str.lower),
    Field(max_length=254, examples=["ada@example.com"]),
]
Password = Annotated[SecretStr, Field(max_length=4096, examples=["correct horse battery"])]


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


class AccessToken(Output):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the scheme, no secret
    expires_in: int = Field(description="Seconds.", examples=[900])


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
    version: Version
    created_at: datetime
    updated_at: datetime
