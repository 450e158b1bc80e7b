"""Hardware: what of this machine can change the last bits of a result.

Law: facts are read from the system when asked; absent ones are empty, nothing is guessed.
"""

import os
import platform
from pathlib import Path

from octant.core.manifest import Hardware

# Kernels are chosen by these; the other flags of a processor change nothing that is computed.
_KERNEL_FEATURES = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip


def read_hardware(cpuinfo: Path = Path("/proc/cpuinfo")) -> Hardware:
    """This machine's processor and the cores that this process may use."""
    facts = _first_processor(cpuinfo)
    flags = frozenset((facts.get("flags") or facts.get("Features") or "").split())
    return Hardware(
        cpu=facts.get("model name") or platform.processor() or platform.machine(),
        features=tuple(name for name in _KERNEL_FEATURES if name in flags),
        cores=_cores(),
    )


def _cores() -> int:
    """Those that this process may use, where the system tells; else all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def _first_processor(cpuinfo: Path) -> dict[str, str]:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
