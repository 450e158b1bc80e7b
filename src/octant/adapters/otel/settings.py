"""OtlpSettings: where traces go, how many of them, and how much may wait."""

from typing import NamedTuple


class OtlpSettings(NamedTuple):
    """`endpoint` is the full URL of the traces signal (`http://collector:4318/v1/traces`).

    `sample_ratio` of all traces are sent, chosen by trace id, so that every service with the same
    ratio keeps the same ones. `max_waiting` traces wait at most; `max_batch` share one request,
    which takes `timeout_s` at most, retries included; `flush_s` is what is left for those that
    wait when the server stops.
    """

    endpoint: str
    headers: dict[str, str]
    service_name: str
    service_version: str
    schema_url: str
    sample_ratio: float = 1.0
    max_waiting: int = 2_048
    max_batch: int = 64
    interval_s: float = 1.0
    timeout_s: float = 10.0
    flush_s: float = 3.0
