"""The yardstick: what FastAPI alone needs for a typed answer, under the same server settings."""

from datetime import UTC, datetime
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Person(BaseModel):
    id: UUID
    name: str


class Answer(BaseModel):
    id: UUID
    reference: str
    status: str
    provider: Person
    start: datetime
    end: datetime
    duration_minutes: int
    notes: str


def create_app() -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    add_typed_endpoint(app, "/bare")
    return app


def add_typed_endpoint(app: FastAPI, path: str) -> None:
    @app.get(path)
    async def bare() -> Answer:
        person = Person(id=UUID(int=1), name="Dr. Grace Hopper")
        return Answer(
            id=UUID(int=2),
            reference="7KQ2M9XR4B",
            status="confirmed",
            provider=person,
            start=NOW,
            end=NOW,
            duration_minutes=30,
            notes="",
        )
