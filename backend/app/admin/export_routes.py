"""`/admin/exports`: files for a spreadsheet."""

from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Annotated

from fastapi import Depends, Query
from starlette.responses import StreamingResponse

from app.admin.dependencies import Exports
from app.admin.export_service import HEADER, Cells, record_export
from app.admin.report_service import MAXIMUM_DAYS, Days
from app.auth.dependencies import CurrentPrincipal, require
from app.auth.permissions import Permission
from app.core import spreadsheet
from app.core.dependencies import AppSettings
from app.core.errors import Forbidden, Unauthenticated, ValidationFailed
from app.core.problems import problems
from app.core.routing import ApiRouter, PlainRoute
from app.core.schemas import Day, Zone
from app.core.unit_of_work import Session

router = ApiRouter(
    prefix="/exports",
    route_class=PlainRoute,
    dependencies=[Depends(require(Permission.BOOKINGS_READ_ALL))],
)


async def days(
    settings: AppSettings,
    start: Annotated[Day, Query(description="The first day.")],
    end: Annotated[Day, Query(description=f"The last day; {MAXIMUM_DAYS} days at most.")],
    time_zone: Annotated[Zone | None, Query(description="Default: the business's.")] = None,
) -> Days:
    return Days(start, end, time_zone or settings.BUSINESS_TIME_ZONE)


@router.get(
    "/bookings",
    operation_id="admin_exports_bookings",
    summary="The bookings of some days, one row each",
    description="CSV, as long as it takes. It names people: the audit log tells who exported it.",
    response_class=StreamingResponse,
    responses={
        **problems(Unauthenticated, Forbidden, ValidationFailed),
        200: {"content": {spreadsheet.MEDIA_TYPE: {"schema": {"type": "string"}}}},
    },
)
async def export_bookings(
    exports: Exports,
    session: Session,
    principal: CurrentPrincipal,
    asked: Annotated[Days, Depends(days)],
) -> StreamingResponse:
    await record_export(session, "bookings", asked, principal.actor)
    rows = exports.bookings(asked)
    # Read before the answer begins: what goes wrong until here is answered as a problem.
    first: Iterator[Cells] = await anext(rows, iter(()))
    name = f"bookings-{asked.first}-{asked.last}.csv"
    return StreamingResponse(
        _text(chain([HEADER], first), rows),
        media_type=spreadsheet.MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _text(first: Iterator[Cells], rest: AsyncIterator[Iterator[Cells]]) -> AsyncIterator[str]:
    yield "".join(spreadsheet.lines(first))
    async for some in rest:
        yield "".join(spreadsheet.lines(some))
