"""Session: the connections to upstreams, shared by all of them.

Law: nothing is followed, remembered or unpacked: redirects, cookies and compression would let an
upstream send the operator's key elsewhere or more bytes than were counted. Proxies of the
environment are not used.
"""

import aiohttp

# Servers of the kind that is served by uvicorn close an idle connection after five seconds; sending
# into one that closes loses the request.
_KEEP_ALIVE_S = 4.0
_DNS_CACHE_S = 30
_READ_BUFFER_BYTES = 1 << 16


def open_session(user_agent: str) -> aiohttp.ClientSession:
    """To be closed by whoever opens it. Each upstream bounds its own connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=_DNS_CACHE_S
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": user_agent, "accept-encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=_READ_BUFFER_BYTES,
    )
