"""Accounts' jobs. Each runs outside any request, in transactions of its own."""

import hmac
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import structlog

from app.auth import link_repository as repository
from app.auth import mails, session_repository
from app.auth.link_repository import Link
from app.auth.link_service import MAIL_ACCOUNT_EXISTS, MAIL_LINK
from app.auth.link_tokens import LIFETIMES, LinkTokens
from app.auth.models import Purpose
from app.config import Settings
from app.core.cleaning import in_batches
from app.core.clock import Clock
from app.core.jobs import Handler, Routine
from app.core.letters import Letter, set_letter
from app.core.mail import Mailer
from app.core.words import words_for
from app.database import Database

log = structlog.get_logger(__name__)

_PATHS = {Purpose.VERIFY_EMAIL: "verify-email", Purpose.RESET_PASSWORD: "reset-password"}
_DRAFTS = {
    Purpose.VERIFY_EMAIL: mails.verification,
    Purpose.RESET_PASSWORD: mails.password_reset,
}

KEPT_AFTER_ITS_END = timedelta(days=30)
"""Of a session: so that its owner can ask what it was. Of a link: it says that it has expired."""


class AccountMails:
    def __init__(
        self, database: Database, mailer: Mailer, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._tokens = LinkTokens(settings)
        self._project = settings.PROJECT_NAME
        self._locale = settings.DEFAULT_LOCALE
        # Never the request's Host, which whoever sends the request can choose.
        self._frontend = str(settings.FRONTEND_HOST).rstrip("/")
        self._clock = clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {MAIL_LINK: self.mail_link, MAIL_ACCOUNT_EXISTS: self.mail_account_exists}

    async def mail_link(self, link_id: UUID) -> None:
        """Mail a link, unless it has been mailed, used, replaced or outlived.

        No connection is held while the mail server is spoken to. A crash between its yes and our
        note of it sends the mail twice, under one Message-ID: no mail is worse than two.

        Raises:
            MailNotSent, MailRefused.
        """
        async with self._database.reading() as session:
            link = await repository.link(session, link_id)
        if link is None or link.mailed_at or link.used_at or not link.is_active:
            return
        token = self._tokens.derive(link.purpose, link.id, link.salt, link.email)
        is_current = hmac.compare_digest(self._tokens.digest(token), link.digest)
        if not is_current or link.expires_at <= self._clock():
            # The address or SECRET_KEY has changed, or mail was down for too long.
            log.info("link_outdated", link_id=str(link_id), purpose=link.purpose.value)
            return
        letter = self._letter(link, token)
        await self._mailer.send(letter, to=link.email, reference=f"link.{link.id}")
        async with self._database.transaction() as session:
            await repository.note_mailed(session, link.id, self._clock())

    async def mail_account_exists(self, event_id: UUID) -> None:
        """Tell the owner of an address that somebody signed up with it.

        Raises:
            MailNotSent, MailRefused.
        """
        async with self._database.reading() as session:
            owner = await repository.subject_of(session, event_id)
        if owner is not None:
            say = words_for(owner.locale, self._locale)
            draft = mails.account_exists(say, self._project, f"{self._frontend}/login")
            letter = set_letter(draft, say, self._project)
            await self._mailer.send(letter, to=owner.email, reference=f"event.{event_id}")

    def _letter(self, link: Link, token: str) -> Letter:
        # Behind the #, so that it reaches the page and no server's log, nor a Referer.
        url = f"{self._frontend}/{_PATHS[link.purpose]}#token={token}"
        minutes = int(LIFETIMES[link.purpose].total_seconds() // 60)
        say = words_for(link.locale, self._locale)
        draft = _DRAFTS[link.purpose](say, self._project, url, minutes)
        return set_letter(draft, say, self._project)


class AccountCleaning:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def routines(self) -> Mapping[str, tuple[str, Routine]]:
        return {"auth.remove_dead": ("17 3 * * *", self.remove_dead)}

    async def remove_dead(self) -> None:
        """Forget the sessions, with their refresh tokens, and the links of a month ago."""
        before = self._clock() - KEPT_AFTER_ITS_END
        for what, remove in (
            ("sessions", session_repository.remove_dead),
            ("links", repository.remove_dead),
        ):
            await in_batches(self._database, what, remove, before)
