"""Who is at the other end of a connection, as handlers may ask."""

from __future__ import annotations

import asyncio
from typing import Any


class Peer:
    """Of a connection, whichever HTTP it speaks. `user_cache` is what authentication keeps of it."""

    __slots__ = ()

    transport: asyncio.Transport
    user_cache: Any

    @property
    def remote_address(self) -> str:
        """The client's `address:port`, or "" when the socket does not know it any more."""
        peer = self.transport.get_extra_info("peername")
        if not isinstance(peer, tuple):
            return ""
        return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"

    def peer_certificate(self) -> dict[str, Any] | None:
        """The client's certificate as `ssl` describes it, if it sent one that our CA signed."""
        tls = self.transport.get_extra_info("ssl_object")
        return tls.getpeercert() or None if tls is not None else None

    def peer_certificate_der(self) -> bytes | None:
        """The same certificate, encoded."""
        tls = self.transport.get_extra_info("ssl_object")
        return tls.getpeercert(True) or None if tls is not None else None
