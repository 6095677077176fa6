"""What clients send and get about second factors."""

from pydantic import Field

from app.auth.schemas import Code, Credentials, Password
from app.core.schemas import Input, Output, example


class MfaOut(Output):
    """The state of the caller's second factor."""

    enabled: bool
    required: bool = Field(description="Without it, this account reaches /auth/* only.")
    recovery_codes_left: int


class TotpStart(Credentials):
    model_config = example(password="correct horse battery")  # noqa: S106 - an example

    password: Password


class TotpStarted(Output):
    """What the authenticator app needs, shown once; it counts when a code confirms it."""

    secret: str = Field(repr=False, description="Base32, to type in.")
    otpauth_uri: str = Field(repr=False, description="The same for a QR code.")


class TotpConfirmation(Input):
    model_config = example(code="123456")

    code: Code


class MfaProof(Credentials):
    """Both factors: what one knows and what one has."""

    model_config = example(password="correct horse battery", code="123456")  # noqa: S106

    password: Password
    code: Code


class RecoveryCodesOut(Output):
    """Shown once. Each replaces the app's code a single time."""

    recovery_codes: list[str] = Field(
        repr=False, examples=[["abcdef-ghijkl-mnopqr-stuvwx"]], min_length=10, max_length=10
    )
