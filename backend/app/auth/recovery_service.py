"""What people do with nothing but their mailbox: prove an address, replace a password."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.link_service import LinkService
from app.auth.models import Purpose
from app.auth.principal import Principal
from app.auth.service import AccountService
from app.core.errors import InvalidTransition
from app.core.events import Actor, record


class RecoveryService:
    def __init__(self, session: AsyncSession, accounts: AccountService, links: LinkService) -> None:
        self._session = session
        self._accounts = accounts
        self._links = links

    async def verify_email(self, token: str) -> None:
        """Verify the address that the link was mailed to. Four round trips.

        Raises:
            LinkExpired, ValidationFailed: see `LinkService.redeem`.
        """
        user_id = await self._links.verify_email(token)
        await record(
            self._session, "user.email_verified", subject_id=user_id, actor=Actor("user", user_id)
        )

    async def resend_verification(self, principal: Principal) -> None:
        """Mail another link; the one before it is dead. Three round trips.

        Raises:
            InvalidTransition: the address has been verified already.
        """
        user = await self._accounts.profile(principal.user_id)
        if user.email_verified:
            raise InvalidTransition("The address has been verified already.")
        await self._links.send_verification(user.id, user.email)

    async def forget_password(self, email: str) -> None:
        """Mail a link that sets a new password, if there is such an account. Two round trips."""
        await self._links.send_reset(email)

    async def reset_password(self, token: str, password: str) -> None:
        """Set a new password and log out everywhere.

        Raises:
            LinkExpired, ValidationFailed: the link (see `LinkService.redeem`) or the password.
        """
        link = await self._links.redeem(token, Purpose.RESET_PASSWORD)
        await self._accounts.check_password(
            password, email=link.email, name=link.name, field="new_password"
        )
        # It also ends the link, with every other way in.
        await self._accounts.set_password(link.user_id, password, Actor("user", link.user_id))
