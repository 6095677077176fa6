"""Links that prove who reads an address's mail: sent, redeemed once, and ended."""

import hmac
from datetime import timedelta
from secrets import SystemRandom
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import link_repository as repository
from app.auth.errors import LinkExpired
from app.auth.link_repository import Link, NewLink
from app.auth.link_tokens import LIFETIMES, RESET_MAIL_PAUSE, LinkTokens
from app.auth.models import Purpose
from app.core.clock import Clock
from app.core.errors import ValidationFailed
from app.core.events import ANONYMOUS, record
from app.core.ids import new_id
from app.core.jobs import enqueue

MAIL_LINK = "auth.mail_link"
MAIL_ACCOUNT_EXISTS = "auth.mail_account_exists"


_random = SystemRandom()


class LinkService:
    """Has links mailed, and redeems them.

    The jobs that mail them begin at a random moment within `mail_delay_seconds`. Right after the
    answer they would hold up the next request, and longer where there is something to mail: whoever
    times the requests that follow could tell.
    """

    def __init__(
        self,
        session: AsyncSession,
        tokens: LinkTokens,
        clock: Clock,
        *,
        mail_delay_seconds: int = 0,
    ) -> None:
        self._session = session
        self._tokens = tokens
        self._clock = clock
        self._mail_delay_seconds = mail_delay_seconds

    async def send_verification(self, user_id: UUID, email: str) -> None:
        """Have a link mailed that verifies this address. Two round trips."""
        link = self._new(Purpose.VERIFY_EMAIL, email)
        await repository.issue(self._session, user_id, link)
        await self._mail(MAIL_LINK, link.id)

    async def send_reset(self, email: str) -> None:
        """Have a link mailed that sets a new password, if there is such an account.

        One that was mailed less than RESET_MAIL_PAUSE ago stays the one, and nothing is mailed. So
        strangers who ask again and again can neither flood the mailbox nor keep replacing the link
        that the owner is about to use; and as nobody is refused, the owner always has a link that
        is good for a while.

        Two round trips and one job, whatever is the case: else the job finds no link.
        """
        link = self._new(Purpose.RESET_PASSWORD, email)
        await repository.issue_to(
            self._session,
            email,
            link,
            unless_good_until=link.expires_at - RESET_MAIL_PAUSE,
            event="user.password_reset_requested",
        )
        await self._mail(MAIL_LINK, link.id)

    async def tell_owner(self, user_id: UUID) -> None:
        """Have the owner of an address told that somebody signed up with it. Two round trips."""
        event_id = await record(
            self._session, "user.signup_repeated", subject_id=user_id, actor=ANONYMOUS
        )
        await self._mail(MAIL_ACCOUNT_EXISTS, event_id)

    async def redeem(self, token: str, purpose: Purpose) -> Link:
        """Whose link this is; it stays locked until the transaction ends.

        Raises:
            LinkExpired: it was right, once.
            ValidationFailed: never sent, used or superseded, or the address has changed. Not 401,
                after which clients would log their user out; nor 404, for the path is there.
        """
        link = await repository.lock(self._session, purpose, self._tokens.digest(token))
        if link is None or link.used_at is not None or not link.is_active:
            raise _unknown_link()
        derived = self._tokens.derive(purpose, link.id, link.salt, link.email)
        if not hmac.compare_digest(derived.encode(), token.encode()):
            raise _unknown_link()
        if link.expires_at <= self._clock():
            raise LinkExpired
        return link

    async def verify_email(self, token: str) -> Link:
        """Note that the address is its owner's; returns the link to it. Three round trips.

        Raises:
            LinkExpired, ValidationFailed: see `redeem`.
        """
        link = await self.redeem(token, Purpose.VERIFY_EMAIL)
        await self.end(link.user_id, Purpose.VERIFY_EMAIL)
        if not await repository.verify_email(self._session, link.user_id, link.email):
            raise _unknown_link()
        return link

    async def end(self, user_id: UUID, purpose: Purpose) -> None:
        """Make a link useless that may still lie in a mailbox. One round trip."""
        await repository.end(self._session, user_id, purpose, self._clock())

    async def _mail(self, job: str, subject_id: UUID) -> None:
        seconds = _random.uniform(0, self._mail_delay_seconds)
        await enqueue(self._session, job, subject_id, after=timedelta(seconds=seconds))

    def _new(self, purpose: Purpose, email: str) -> NewLink:
        token_id, salt = new_id(), self._tokens.new_salt()
        token = self._tokens.derive(purpose, token_id, salt, email)
        return NewLink(
            id=token_id,
            purpose=purpose,
            salt=salt,
            digest=self._tokens.digest(token),
            expires_at=self._clock() + LIFETIMES[purpose],
        )


def _unknown_link() -> ValidationFailed:
    return ValidationFailed.at("#/token", "no link of ours, or one that was used or replaced")
