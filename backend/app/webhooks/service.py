"""Webhooks: who is told of what, and proves by what that it was us."""

from uuid import UUID

from pydantic import HttpUrl
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.principal import Principal
from app.config import Settings
from app.core.clock import Clock
from app.core.errors import NotFound, ValidationFailed
from app.core.events import record, record_change
from app.core.ids import new_id
from app.core.pagination import Page, PageRequest
from app.core.preconditions import IfMatch
from app.core.schemas import patched
from app.webhooks import repository
from app.webhooks.errors import TooManyWebhooks
from app.webhooks.models import Webhook
from app.webhooks.rules import OVERLAP
from app.webhooks.schemas import (
    WebhookCreate,
    WebhookOut,
    WebhookPatch,
    WebhookWithSecret,
)
from app.webhooks.signing import WebhookSecrets
from app.webhooks.targets import is_allowed, is_public, literal

MOST_WEBHOOKS = 50
"""Each event is matched against all of them. Requests that race may get a few more."""


class WebhookService:
    def __init__(self, session: AsyncSession, clock: Clock, settings: Settings) -> None:
        self._session = session
        self._clock = clock
        self._networks = settings.webhook_networks
        self._secrets = WebhookSecrets(settings)

    async def add(self, new: WebhookCreate, principal: Principal) -> WebhookWithSecret:
        """Create a webhook, whose secret can be read in this answer only.

        Raises:
            ValidationFailed: nothing may be sent to this URL.
            TooManyWebhooks.
        """
        self._check_target(new.url)
        if await repository.count(self._session) >= MOST_WEBHOOKS:
            raise TooManyWebhooks
        webhook_id, secret = new_id(), self._secrets.new()
        webhook = Webhook(
            id=webhook_id,
            url=new.url,
            events=new.events,
            is_active=new.is_active,
            secret=self._secrets.seal(secret, webhook_id),
        )
        self._session.add(webhook)
        await self._session.flush()
        await record(
            self._session,
            "webhook.created",
            subject_id=webhook.id,
            actor=principal.actor,
            after=_said(webhook),
        )
        return _with_secret(webhook, secret)

    async def change(
        self, webhook_id: UUID, patch: WebhookPatch, seen: IfMatch, principal: Principal
    ) -> WebhookOut:
        """Change the named fields. What is pending goes where it was meant to, at the new URL.

        Raises:
            NotFound, VersionMismatch.
            ValidationFailed: nothing may be sent to this URL.
        """
        webhook = await self._webhook(webhook_id)
        seen.check(webhook.version)
        fields = patched(patch)
        before = _said(webhook)
        if "url" in fields:
            self._check_target(fields["url"])
            webhook.url, webhook.rests_until = fields["url"], None
        webhook.events = fields.get("events", webhook.events)
        if "is_active" in fields:
            webhook.is_active, webhook.disabled_reason = fields["is_active"], None
        await self._session.flush()
        await record_change(
            self._session,
            "webhook.changed",
            subject_id=webhook.id,
            actor=principal.actor,
            before=before,
            after=_said(webhook),
        )
        return WebhookOut.model_validate(webhook)

    async def rotate(
        self, webhook_id: UUID, seen: IfMatch, principal: Principal
    ) -> WebhookWithSecret:
        """Give it another secret; for a day the one before signs as well.

        Raises:
            NotFound, VersionMismatch.
        """
        webhook = await self._webhook(webhook_id)
        seen.check(webhook.version)
        secret = self._secrets.new()
        webhook.previous_secret = webhook.secret
        webhook.previous_secret_until = self._clock() + OVERLAP
        webhook.secret = self._secrets.seal(secret, webhook.id)
        await self._session.flush()
        await record(
            self._session,
            "webhook.secret_rotated",
            subject_id=webhook.id,
            actor=principal.actor,
        )
        return _with_secret(webhook, secret)

    async def remove(self, webhook_id: UUID, seen: IfMatch, principal: Principal) -> None:
        """Delete a webhook, its deliveries with it. Raises NotFound, VersionMismatch."""
        webhook = await self._webhook(webhook_id)
        seen.check(webhook.version)
        await self._session.delete(webhook)
        await self._session.flush()
        await record(
            self._session,
            "webhook.deleted",
            subject_id=webhook_id,
            actor=principal.actor,
            before=_said(webhook),
        )

    async def show(self, webhook_id: UUID) -> WebhookOut:
        return WebhookOut.model_validate(await self._webhook(webhook_id))

    async def list_webhooks(self, page: PageRequest, *, sort: str) -> Page[WebhookOut]:
        return await repository.WEBHOOKS.page(
            self._session,
            repository.webhooks(),
            page,
            sort=sort,
            build=lambda row: WebhookOut.model_validate(row[0]),
        )

    async def _webhook(self, webhook_id: UUID) -> Webhook:
        webhook = await repository.webhook(self._session, webhook_id)
        if webhook is None:
            raise NotFound
        return webhook

    def _check_target(self, target: str) -> None:
        """Refuse what can be seen to be unsafe; each address is judged again when it is sent to."""
        url = HttpUrl(target)
        if url.scheme != "https" and not self._networks:
            raise ValidationFailed.at("#/url", "https is needed")
        address = literal(url.host or "")
        if address and not is_public(address) and not is_allowed(address, self._networks):
            raise ValidationFailed.at("#/url", "not a public address")


def _said(webhook: Webhook) -> dict[str, object]:
    """What the log says of it: not the URL, which may be a secret in itself."""
    return {"events": webhook.events, "is_active": webhook.is_active}


def _with_secret(webhook: Webhook, secret: str) -> WebhookWithSecret:
    out = WebhookOut.model_validate(webhook)
    return WebhookWithSecret(**out.model_dump(), secret=secret)
