"""How a setting is declared: a default, one line of meaning, and what chose the default.

Law: sections are frozen and refuse keys they do not know; every field goes through `setting`, so
that the reference and the commented file can be rendered from the declarations alone.
"""

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def setting(default: Any, doc: str, *, chosen_by: str = "", **bounds: Any) -> Any:
    """A field. `chosen_by` is the measurement or reason behind the default, where there is one."""
    return Field(default, description=doc, json_schema_extra={"chosen_by": chosen_by}, **bounds)


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The kind of table that a setting lists, where it is a list of tables."""
    kinds = get_args(annotation) if get_origin(annotation) is tuple else ()
    if kinds and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
        return kinds[0]
    return None
