"""Memory of the executor: what is free, and how many KV blocks fit into it.

Law: the bytes of a block are those of the tensors that the compiled model asks for, at their real
precision, never a product of configuration values. A cache that fits is allocated once, zeroed, and
touched by the operating system page by page as blocks come into use.
"""

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov

from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.openvino.signature import CacheInput, Signature
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 1 << 20


class CachePlan(NamedTuple):
    """How large the KV cache becomes, and why not larger."""

    block_bytes: int
    block_count: int
    budget_bytes: int
    limited_by: str


def available_bytes() -> int:
    """Memory that can be taken without swapping: the machine's, or less inside a container."""
    free = _read_kib(_MEMINFO, "MemAvailable:")
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.stat"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        anonymous = int(used.read_text().split("anon ", 1)[1].split("\n", 1)[0])
        free = min(free, max(0, int(text) - anonymous))
    return free


def resident_bytes() -> int:
    """Memory of this process that is backed by pages, shared libraries included."""
    return _read_kib(_STATUS, "VmRSS:")


def require_weights_fit(weight_bytes: int) -> None:
    """Raises Failed(INSUFFICIENT_MEMORY) before the operating system would end the process."""
    free = available_bytes()
    if weight_bytes > free:
        message = (
            f"the weights take {weight_bytes // _MIB} MiB and {free // _MIB} MiB are free: "
            "free memory or prepare the model with smaller weights (int8, int4)"
        )
        raise Failed(_refusal(message, {"weight_bytes": weight_bytes, "available_bytes": free}))


def plan_cache(signature: Signature, settings: OpenVinoSettings, free_bytes: int) -> CachePlan:
    """Blocks for the smaller of the budget and the free memory.

    Raises Failed(INSUFFICIENT_MEMORY) when that holds less than `settings.min_context` tokens.
    """
    block_bytes = sum(map(_block_bytes, signature.caches))
    budget, limited_by = min((settings.kv_bytes, "kv_bytes"), (free_bytes, "available memory"))
    count = budget // block_bytes
    needed = -(-settings.min_context // signature.block_size)
    if count < needed:
        message = (
            f"{settings.min_context} tokens of KV cache take {needed * block_bytes / _MIB:.1f} MiB "
            f"and {budget / _MIB:.1f} MiB are there, limited by {limited_by}: "
            "raise the KV budget, free memory, or choose a smaller model or KV precision"
        )
        detail = {
            "block_bytes": block_bytes,
            "blocks_needed": needed,
            "kv_bytes": settings.kv_bytes,
            "available_bytes": free_bytes,
        }
        raise Failed(_refusal(message, detail))
    return CachePlan(block_bytes, count, budget, limited_by)


def allocate_cache(signature: Signature, plan: CachePlan) -> dict[str, ov.Tensor]:
    """The zeroed cache tensors by input name. Raises Failed(INSUFFICIENT_MEMORY)."""
    try:
        caches = {cache.name: _zeroed(cache, plan.block_count) for cache in signature.caches}
    except MemoryError as error:
        total = plan.block_bytes * plan.block_count
        message = f"the operating system refused {total // _MIB} MiB for the KV cache"
        raise Failed(_refusal(message, {"kv_bytes": total})) from error
    allocated = sum(tensor.byte_size for tensor in caches.values())
    if allocated != plan.block_bytes * plan.block_count:
        raise AssertionError(f"allocated {allocated} bytes for {plan}")
    return caches


def _zeroed(cache: CacheInput, blocks: int) -> ov.Tensor:
    shape = (blocks, *cache.block_shape)
    # numpy maps zero pages that cost nothing until they are written; ov.Tensor would not.
    data = np.zeros(blocks * _block_bytes(cache), dtype=np.uint8)
    return ov.Tensor(data, ov.Shape(shape), cache.kind)


def _block_bytes(cache: CacheInput) -> int:
    return prod(cache.block_shape) * cache.kind.bitwidth // 8


def _read_kib(path: Path, label: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{path} has no line {label}")


def _refusal(message: str, detail: dict[str, Any]) -> Failure:
    return Failure(
        kind=FailureKind.INSUFFICIENT_MEMORY, stage=Stage.LOAD, message=message, detail=detail
    )
