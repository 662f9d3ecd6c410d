"""Takes new connections, a few in each turn of the loop.

A thousand clients that connect at once, or all kubelets after a restart, cost a millisecond each for their TLS handshake. The event loop's own
server takes all that wait in one turn, so everybody else would wait for a second; here they queue in the kernel, and requests of those who are
connected come between.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl

from lakh.machinery.tls import Make, TlsTransport, shaken

log = logging.getLogger(__name__)

BACKLOG = 4096
# Each is two pieces of work for the loop, of about half a millisecond: the hello is answered, then the client's certificate looked at.
ACCEPTS_A_TURN = 2
# After these nothing is accepted for a while: other connections have to end first.
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
EXHAUSTED_SECONDS = 1.0
TLS_HANDSHAKE_TIMEOUT_SECONDS = 20.0


class Listener:
    """Listening sockets, and the handshakes under way. `make` makes the protocol of a connection, told what TLS has agreed on."""

    def __init__(self, make: Make[asyncio.Protocol], ssl_context: ssl.SSLContext | None) -> None:
        self._make = make
        self._ssl = ssl_context
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Listener on {self.port}, {len(self._handshakes)} handshakes>"

    @property
    def port(self) -> int:
        """The port that it listens on; 0 when it does not."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else 0

    async def start(self, host: str, port: int) -> None:
        """Listens on all addresses of `host`; port 0 is a free one, the same for all. Raises OSError."""
        found = await self._loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, address in dict.fromkeys((family, address) for family, *_, address in found):
                sock = socket.socket(family, socket.SOCK_STREAM)
                self._sockets.append(sock)
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], self.port or port, *address[2:]))
                sock.listen(BACKLOG)
        except OSError:
            self.close()
            raise
        self._resume()

    async def stop(self) -> None:
        """Accepts no more, and breaks off the handshakes under way."""
        self.close()
        for task in self._handshakes:
            task.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def close(self) -> None:
        """Accepts no more."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _resume(self) -> None:
        self._paused = None
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, _ = listening.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.error("cannot accept connections for now: %s", error)
                    for one in self._sockets:
                        self._loop.remove_reader(one)
                    self._paused = self._loop.call_later(EXHAUSTED_SECONDS, self._resume)
                return  # nobody waits any more, or who did has gone
            sock.setblocking(False)
            task = self._loop.create_task(self._connect(sock))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _connect(self, sock: socket.socket) -> None:
        context = self._ssl
        try:
            if context is None:
                await self._loop.connect_accepted_socket(lambda: self._make(None), sock)
                return
            ready: asyncio.Future[None] = self._loop.create_future()
            async with asyncio.timeout(TLS_HANDSHAKE_TIMEOUT_SECONDS):
                await shaken(
                    self._loop.connect_accepted_socket(
                        lambda: TlsTransport(self._make, context, ready), sock
                    ),
                    ready,
                )
        except OSError as error:  # TLS errors and timeouts are OSErrors, too
            log.debug("a handshake failed: %s", error)
