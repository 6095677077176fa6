"""Looking after the business."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.admin import repository
from app.admin.schemas import AuditEntry, PermissionOut
from app.auth.permissions import DESCRIPTIONS
from app.core.pagination import Page, PageRequest, everything


class AdminService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def permissions(self) -> Page[PermissionOut]:
        return everything(
            [PermissionOut(name=p, description=text) for p, text in DESCRIPTIONS.items()]
        )

    async def audit_log(
        self,
        page: PageRequest,
        *,
        event_type: str | None,
        subject_id: UUID | None,
        actor_id: UUID | None,
    ) -> Page[AuditEntry]:
        """The log, the newest first."""
        return await repository.AUDIT_LOG.page(
            self._session,
            repository.events(event_type=event_type, subject_id=subject_id, actor_id=actor_id),
            page,
            sort="-occurred_at",
            build=lambda row: AuditEntry.model_validate(row[0]),
        )
