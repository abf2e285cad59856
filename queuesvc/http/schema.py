"""What all documents on the wire are made of, strictly: the base of requests and of answers, and kinds of fields.

In a request `null` for an optional field is the same as leaving it out, unless null
is itself a value of that field.
"""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from queuesvc.domain import model as domain
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import Limits, check_name, check_text
from queuesvc.http.request import DURATION_SECONDS_MOST, application_headers

NAME_SCHEMA: Final = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,254}$"}
TEXT_SCHEMA: Final = {"type": "string", "maxLength": 255, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"}
BINDING_ID_SCHEMA: Final = {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}
HEADERS_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z0-9-]+$"},
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_LIMITED: Final = "x-limited"


def limited(keyword: str, limit: str) -> dict[str, Any]:
    """A part of a schema: this keyword has a limit of the broker's as its value, a field of `Limits`."""
    return {_LIMITED: {keyword: limit}}


def with_limits(schema: Any, limits: Limits) -> Any:
    """The same schema, or document of schemas, with the values of these limits."""
    if isinstance(schema, list):
        return [with_limits(item, limits) for item in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: with_limits(item, limits) for name, item in schema.items() if name != _LIMITED}
    for keyword, limit in schema.get(_LIMITED, {}).items():
        whole[keyword] = getattr(limits, limit)
        if keyword == "maximum" and "default" in whole:
            whole["default"] = min(whole["default"], whole[keyword])
    return whole


def _name(value: str, info: ValidationInfo) -> str:
    return check_name(value, info.field_name or "")


def _text(value: str, info: ValidationInfo) -> str:
    return check_text(value, info.field_name or "")


def _delay(value: float, info: ValidationInfo) -> float:
    most = _limits(info).delay_seconds
    if value > most:
        raise invalid(info.field_name or "", f"must be at most {most:g}")
    return value


def _headers(value: object, info: ValidationInfo) -> domain.Headers | None:
    return None if value is None else application_headers(value, _limits(info))


def _limits(info: ValidationInfo) -> Limits:
    return info.context if isinstance(info.context, Limits) else Limits()


Name = Annotated[str, AfterValidator(_name), WithJsonSchema(NAME_SCHEMA)]
Text = Annotated[str, AfterValidator(_text), WithJsonSchema(TEXT_SCHEMA)]
Seconds = Annotated[float, Field(ge=0, le=DURATION_SECONDS_MOST)]
SomeSeconds = Annotated[float, Field(ge=0.001, le=DURATION_SECONDS_MOST)]
DelaySeconds = Annotated[
    float,
    Field(ge=0),
    AfterValidator(_delay),
    WithJsonSchema({"type": "number", "minimum": 0, **limited("maximum", "delay_seconds")}),
]
Headers = Annotated[
    domain.Headers | None,
    PlainValidator(_headers),
    WithJsonSchema({**HEADERS_SCHEMA, **limited("maxProperties", "header_count")}),
]


def may_be_null(annotation: Any) -> bool:
    """Whether null is a value of a field so annotated."""
    return get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation)


def optional_may_be_null(schema: dict[str, Any]) -> None:
    """Say in the schema that `null` is the same as leaving an optional field out."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        kinds = field.get("anyOf")
        if name in required or (kinds and {"type": "null"} in kinds):
            continue
        about = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
        schema["properties"][name] = {**about, "anyOf": [field, {"type": "null"}]}


class Strict(BaseModel):
    """A JSON object of a request: nothing unknown, nothing converted."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=optional_may_be_null,
        defer_build=True,  # at its first use: a broker starts sooner without them all
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, value: Any) -> Any:
        if type(value) is not dict:
            return value
        fields = cls.model_fields
        return {
            name: item
            for name, item in value.items()
            if item is not None or name not in fields or may_be_null(fields[name].annotation)
        }


class Shown(BaseModel):
    """A JSON object of an answer. Such models describe answers; they do not make them."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", defer_build=True)
