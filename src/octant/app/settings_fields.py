"""How a setting is declared: a default, one line of meaning, and what chose the default.

Law: sections are frozen and refuse keys they do not know; every field goes through `setting`, so
that the reference and the commented file can be rendered from the declarations alone.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def setting(default: Any, doc: str, *, chosen_by: str = "", **bounds: Any) -> Any:
    """A field. `chosen_by` is the measurement or reason behind the default, where there is one."""
    return Field(default, description=doc, json_schema_extra={"chosen_by": chosen_by}, **bounds)
