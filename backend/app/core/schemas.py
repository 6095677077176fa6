"""Types shared by the schemas of all rooms."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    StringConstraints,
)
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from app.units import zone_names

_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(_DATE.pattern + r"[Tt ][0-9]{2}:[0-9]{2}.*")


def _distinguish(schema: Any) -> None:  # noqa: ANN401 - a part of a core schema
    """Have numbers and truth values be read from nothing else.

    Pydantic's strict mode would do more: refuse 3.0 for an integer, which to JSON it is, and texts
    for dates and ids, which have no other form there.
    """
    if isinstance(schema, list | tuple):
        for part in schema:
            _distinguish(part)
    elif isinstance(schema, dict):
        kind = schema.get("type")
        if kind == "bool":
            schema["strict"] = True
        elif kind in ("int", "float"):
            inner = dict(schema)
            schema.clear()
            schema.update(no_info_before_validator_function(_number, inner))
        elif kind != "function-before" or schema["function"]["function"] != _number:
            for part in schema.values():
                _distinguish(part)


def _number(value: object) -> object:
    if isinstance(value, str | bool):
        raise ValueError("not a number")  # noqa: TRY004 - Pydantic's way to refuse
    return value


class Query(BaseModel):
    """What clients send in a URL, where everything is text: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Input(Query):
    """What clients send as JSON, which has types: `"3"` is no number, and 1 is not true."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        _distinguish(schema)
        return schema


def example(**fields: JsonValue) -> ConfigDict:
    """A `model_config` that shows how the whole is filled in; the parent's settings stay."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Output(BaseModel):
    """What clients get, built from entities and rows alike."""

    model_config = ConfigDict(from_attributes=True)


def _printable(text: str) -> str:
    """Refuse control characters: they end as headers, log lines and calendar fields."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):  # noqa: PLR2004 - C0 and DEL
        raise ValueError("control characters are not accepted")
    return text


def _printable_lines(text: str) -> str:
    _printable(text.replace("\n", "").replace("\r", "").replace("\t", ""))
    return text


def _instant_text(value: object) -> object:
    """Refuse what Pydantic takes for an instant besides: numbers, as seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and _INSTANT.fullmatch(value)):
        return value
    raise ValueError("an instant is text in RFC 3339, with an offset")


def _date_text(value: object) -> object:
    """Refuse what Pydantic takes for a date besides: numbers, and instants at midnight."""
    if isinstance(value, date) or (isinstance(value, str) and _DATE.fullmatch(value)):
        return value
    raise ValueError("a date is text: YYYY-MM-DD")


def _in_years_postgres_and_zones_know(instant: datetime) -> datetime:
    # As written first: near the years 1 and 9999 Python cannot convert it.
    if _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        in_utc = instant.astimezone(UTC)
        if _FIRST_YEAR <= in_utc.year <= _LAST_YEAR:
            return in_utc
    raise ValueError(f"an instant lies in the years {_FIRST_YEAR} to {_LAST_YEAR}, in UTC")


def _in_supported_years(day: date) -> date:
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"a date lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return day


def _zone(name: str) -> str:
    if name not in zone_names():
        raise ValueError("not an IANA time zone name")
    return name


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
    Field(json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f]*$"}),
]
Paragraphs = Annotated[
    str,
    StringConstraints(max_length=5000),
    AfterValidator(_printable_lines),
    Field(json_schema_extra={"pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"}),
]
Zone = Annotated[
    str,
    AfterValidator(_zone),
    Field(description="An IANA time zone name.", examples=["Europe/Paris"], max_length=64),
]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_instant_text),
    AfterValidator(_in_years_postgres_and_zones_know),
    Field(description="RFC 3339 with an offset.", examples=["2026-11-23T09:00:00+01:00"]),
]
Day = Annotated[
    date,
    BeforeValidator(_date_text),
    AfterValidator(_in_supported_years),
    Field(examples=["2026-11-23"]),
]
Version = Annotated[int, Field(description="Rises with each change; also the ETag.", examples=[1])]


# Default of a PATCH's fields: `patched` reads only those that were named, so null stays refused.
UNCHANGED: Any = Field(default_factory=lambda: None)


def patched(model: BaseModel) -> dict[str, Any]:
    """The fields a PATCH names. A list is replaced: what stands in it comes with its defaults."""
    named, whole = model.model_dump(exclude_unset=True), model.model_dump()
    return {
        name: whole[name] if isinstance(value, list) else value for name, value in named.items()
    }
