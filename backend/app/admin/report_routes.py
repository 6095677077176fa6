"""`/admin/reports`: as JSON, or as CSV for a spreadsheet."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from app.admin.dependencies import Reports
from app.admin.report_schemas import BookingsRow, NoShowsRow, Report, Row, Sum, UtilisationRow
from app.admin.report_service import MAXIMUM_DAYS, Span
from app.admin.reports import GroupBy
from app.auth.dependencies import require
from app.auth.permissions import Permission
from app.core import spreadsheet
from app.core.dependencies import AppSettings
from app.core.errors import Forbidden, NotAcceptable, Unauthenticated, ValidationFailed
from app.core.negotiation import preferred
from app.core.problems import problems
from app.core.routing import ApiRouter
from app.core.schemas import Day, Zone

router = ApiRouter(
    prefix="/reports",
    dependencies=[Depends(require(Permission.REPORTS_READ))],
)

_DESCRIPTION = (
    "With `Accept: text/csv` the same rows for a spreadsheet. Periods are those of local time in"
    " `time_zone`; weeks begin on Monday. Periods without anything are there as well; services and"
    " providers are where the report concerns them."
)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    **problems(Unauthenticated, Forbidden, NotAcceptable, ValidationFailed),
    200: {"content": {spreadsheet.MEDIA_TYPE: {"schema": {"type": "string"}}}},
}


async def span(
    settings: AppSettings,
    start: Annotated[Day, Query(description="The first day.")],
    end: Annotated[Day, Query(description=f"The last day; {MAXIMUM_DAYS} days at most.")],
    group_by: GroupBy = GroupBy.DAY,
    time_zone: Annotated[Zone | None, Query(description="Default: the business's.")] = None,
) -> Span:
    return Span(start, end, time_zone or settings.BUSINESS_TIME_ZONE, group_by)


Asked = Annotated[Span, Depends(span)]


@router.get(
    "/bookings",
    operation_id="admin_reports_bookings",
    summary="How many bookings there are, and what became of them",
    description=_DESCRIPTION,
    responses=_RESPONSES,
    response_model=Report[BookingsRow],
)
async def bookings(request: Request, reports: Reports, asked: Asked) -> Any:  # noqa: ANN401
    return _in_the_form_asked_for(request, await reports.bookings(asked), BookingsRow)


@router.get(
    "/utilisation",
    operation_id="admin_reports_utilisation",
    summary="How full the calendars are",
    description=_DESCRIPTION,
    responses=_RESPONSES,
    response_model=Report[UtilisationRow],
)
async def utilisation(request: Request, reports: Reports, asked: Asked) -> Any:  # noqa: ANN401
    return _in_the_form_asked_for(request, await reports.utilisation(asked), UtilisationRow)


@router.get(
    "/no-shows",
    operation_id="admin_reports_no_shows",
    summary="Who came, and who did not",
    description=_DESCRIPTION,
    responses=_RESPONSES,
    response_model=Report[NoShowsRow],
)
async def no_shows(request: Request, reports: Reports, asked: Asked) -> Any:  # noqa: ANN401
    return _in_the_form_asked_for(request, await reports.no_shows(asked), NoShowsRow)


def _in_the_form_asked_for(
    request: Request, report: Report[Any], row: type[Row]
) -> Report[Any] | Response:
    form = preferred(request.headers.get("accept"), ("application/json", spreadsheet.MEDIA_TYPE))
    if form != spreadsheet.MEDIA_TYPE:
        return report
    name = f"{request.scope['path'].rpartition('/')[2]}-{report.start}-{report.end}.csv"
    return StreamingResponse(
        spreadsheet.lines(chain([list(row.model_fields)], _cells(report))),
        media_type=spreadsheet.MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"},
    )


def _cells(report: Report[Any]) -> Iterator[list[object]]:
    for row in report.rows:
        yield [_cell(value) for _, value in row]


def _cell(value: object) -> object:
    """Sums in several currencies share a cell: `4500 EUR; 1200 USD`."""
    if isinstance(value, list):
        return "; ".join(f"{s.amount} {s.currency}" for s in value if isinstance(s, Sum))
    return value
