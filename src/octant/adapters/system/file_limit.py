"""File limit: room for as many open connections as the gateway may hold.

Law: the soft limit is raised as far as the hard one allows, never lowered; what is still missing is
told, for then connections are refused by the kernel before the gateway can say why.
"""

import resource


def raise_file_limit(wanted: int) -> int:
    """The number of files this process may now have open, which may be less than `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return wanted
    granted = wanted if hard == unlimited else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return granted
