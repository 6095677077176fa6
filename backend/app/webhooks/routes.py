"""`/webhooks`: for programs that want to be told; `webhooks:read` and `webhooks:write`."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response, status

from app.auth.dependencies import Idempotent, require
from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.core.errors import (
    Forbidden,
    NotFound,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from app.core.idempotency import seal_answer
from app.core.pagination import Page, Paging, sorted_by
from app.core.preconditions import Precondition, etag
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.webhooks.dependencies import (
    Deliveries,
    DeliveriesReader,
    Webhooks,
    WebhooksReader,
)
from app.webhooks.errors import TooManyWebhooks, WebhookIsOff
from app.webhooks.schemas import (
    DeliveryOut,
    DeliveryState,
    WebhookCreate,
    WebhookOut,
    WebhookPatch,
    WebhookWithSecret,
)

router = ApiRouter(prefix="/webhooks", tags=["webhooks"])
deliveries = ApiRouter(prefix="/deliveries", tags=["webhooks"])

Writer = Annotated[Principal, Depends(require(Permission.WEBHOOKS_WRITE))]
Reading = Depends(require(Permission.WEBHOOKS_READ))


@router.get(
    "",
    operation_id="webhooks_list",
    summary="List webhooks",
    dependencies=[Reading],
    responses=problems(Unauthenticated, Forbidden, ValidationFailed),
)
async def list_webhooks(
    webhooks: WebhooksReader,
    page: Paging,
    sort: Annotated[str, sorted_by("created_at")] = "created_at",
) -> Page[WebhookOut]:
    return await webhooks.list_webhooks(page, sort=sort)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    operation_id="webhooks_create",
    summary="Be told of events",
    description=(
        "Each event is posted at least once, signed as Standard Webhooks says. What is not answered"
        " 2xx within 15 s is sent again for three days, then the webhook is switched off."
    ),
    responses=problems(Unauthenticated, Forbidden, TooManyWebhooks, ValidationFailed),
    dependencies=[Idempotent],
)
async def create_webhook(
    webhook: WebhookCreate,
    principal: Writer,
    webhooks: Webhooks,
    request: Request,
    response: Response,
) -> WebhookWithSecret:
    created = await webhooks.add(webhook, principal)
    seal_answer(request)
    response.headers["Location"] = f"{request.scope['path']}/{created.id}"
    response.headers["ETag"] = etag(created.version)
    return created


@router.get(
    "/{webhook_id}",
    operation_id="webhooks_get",
    summary="Show a webhook",
    dependencies=[Reading],
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
)
async def get_webhook(webhook_id: UUID, webhooks: WebhooksReader, response: Response) -> WebhookOut:
    webhook = await webhooks.show(webhook_id)
    response.headers["ETag"] = etag(webhook.version)
    return webhook


@router.patch(
    "/{webhook_id}",
    operation_id="webhooks_update",
    summary="Change a webhook, or switch it on again",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def update_webhook(
    webhook_id: UUID,
    patch: WebhookPatch,
    principal: Writer,
    webhooks: Webhooks,
    seen: Precondition,
    response: Response,
) -> WebhookOut:
    changed = await webhooks.change(webhook_id, patch, seen, principal)
    response.headers["ETag"] = etag(changed.version)
    return changed


@router.delete(
    "/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="webhooks_delete",
    summary="Delete a webhook and its deliveries",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
)
async def delete_webhook(
    webhook_id: UUID, principal: Writer, webhooks: Webhooks, seen: Precondition
) -> None:
    await webhooks.remove(webhook_id, seen, principal)


@router.post(
    "/{webhook_id}/rotate",
    operation_id="webhooks_rotate",
    summary="Replace the secret",
    description="For 24 hours the secret before signs as well.",
    responses=problems(Unauthenticated, Forbidden, NotFound, VersionMismatch, ValidationFailed),
    dependencies=[Idempotent],
)
async def rotate_secret(
    webhook_id: UUID,
    principal: Writer,
    webhooks: Webhooks,
    seen: Precondition,
    request: Request,
    response: Response,
) -> WebhookWithSecret:
    rotated = await webhooks.rotate(webhook_id, seen, principal)
    seal_answer(request)
    response.headers["ETag"] = etag(rotated.version)
    return rotated


@router.post(
    "/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="webhooks_test",
    summary="Send a test event, once",
    responses=problems(Unauthenticated, Forbidden, NotFound, WebhookIsOff, ValidationFailed),
    dependencies=[Idempotent],
)
async def test_webhook(webhook_id: UUID, principal: Writer, deliveries: Deliveries) -> DeliveryOut:
    return await deliveries.test(webhook_id, principal)


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="webhooks_deliveries_list",
    summary="What was sent, and what was answered",
    description="Goes back 30 days.",
    dependencies=[Reading],
    responses=problems(Unauthenticated, Forbidden, NotFound, ValidationFailed),
)
async def list_deliveries(
    webhook_id: UUID,
    deliveries: DeliveriesReader,
    page: Paging,
    state: Annotated[DeliveryState | None, Query()] = None,
    sort: Annotated[str, sorted_by("created_at")] = "-created_at",
) -> Page[DeliveryOut]:
    return await deliveries.list_deliveries(webhook_id, page, sort=sort, state=state)


@deliveries.post(
    "/{delivery_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="webhooks_deliveries_replay",
    summary="Deliver an event again",
    description="A new delivery with the same `webhook-id`.",
    responses=problems(Unauthenticated, Forbidden, NotFound, WebhookIsOff, ValidationFailed),
    dependencies=[Idempotent],
)
async def replay_delivery(
    delivery_id: UUID, principal: Writer, deliveries: Deliveries
) -> DeliveryOut:
    return await deliveries.replay(delivery_id, principal)
