"""What people do with nothing but their mailbox: prove an address, replace a password."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.link_service import LinkService
from app.auth.models import Purpose
from app.auth.principal import Principal
from app.auth.service import AccountService
from app.core.errors import InvalidTransition
from app.core.events import Actor, record
from app.core.verified_addresses import AddressListener


class RecoveryService:
    def __init__(
        self,
        session: AsyncSession,
        accounts: AccountService,
        links: LinkService,
        listeners: Sequence[AddressListener],
    ) -> None:
        self._session = session
        self._accounts = accounts
        self._links = links
        self._listeners = listeners

    async def verify_email(self, token: str) -> None:
        """Verify the address that the link was mailed to, and tell whom it concerns.

        Four round trips, and those of the listeners.

        Raises:
            LinkExpired, ValidationFailed: see `LinkService.redeem`.
        """
        link = await self._links.verify_email(token)
        await record(
            self._session,
            "user.email_verified",
            subject_id=link.user_id,
            actor=Actor("user", link.user_id),
        )
        for listener in self._listeners:
            await listener.verified(self._session, link.user_id, link.email)

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
        """Mail a link that sets a new password, if there is such an account. Two round trips.

        See `LinkService.send_reset` for when the last one is kept instead.
        """
        await self._links.send_reset(email)

    async def reset_password(self, token: str, password: str) -> str:
        """Set a new password and log out everywhere; returns the address of the account.

        Raises:
            LinkExpired, ValidationFailed: the link (see `LinkService.redeem`) or the password.
        """
        link = await self._links.redeem(token, Purpose.RESET_PASSWORD)
        await self._accounts.check_password(
            password, email=link.email, name=link.name, field="new_password"
        )
        # It also ends the link, with every other way in.
        await self._accounts.set_password(link.user_id, password, Actor("user", link.user_id))
        return link.email
