"""How an API server reaches another one: our own HTTP client, with the front-proxy certificate."""

from __future__ import annotations

from pathlib import Path

from lakh import __version__
from lakh.client.errors import ClientError, ConnectFailed
from lakh.client.exchange import RawResponse
from lakh.client.kubeconfig import Config
from lakh.client.request import raw
from lakh.client.transport import Transport
from lakh.server.peers import AnswerLost, Dial, NotSent

MAX_CONNECTIONS = 256
"""To one peer. Writes on their way to it beyond that wait for a connection."""
CONNECT_TIMEOUT_SECONDS = 1.0


class HttpPeer:
    """The connections to one API server: a `PeerTransport`."""

    def __init__(self, config: Config) -> None:
        self._transport = Transport(
            config,
            user_agent=f"kube-apiserver/v{__version__}",
            max_connections=MAX_CONNECTIONS,
            connect_attempts=1,
            connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            http2=False,  # requests come as bytes of HTTP/1.1
        )

    async def exchange(self, method: str, payload: bytes, timeout: float) -> RawResponse:
        """See `PeerTransport`."""
        try:
            return await self._transport.exchange(raw(method, payload), timeout)
        except ConnectFailed as error:
            raise NotSent(str(error)) from error
        except ClientError as error:
            raise AnswerLost(str(error)) from error

    async def close(self) -> None:
        """See `PeerTransport`."""
        await self._transport.close()


def dialler(pki: Path) -> Dial:
    """Connects with the certificates in that directory, which must be there when the first peer is dialled."""

    def dial(url: str) -> HttpPeer:
        return HttpPeer(
            Config(
                server=url,
                ca_pem=(pki / "ca.crt").read_bytes(),
                client_certificate_pem=(pki / "front-proxy-client.crt").read_bytes(),
                client_key_pem=(pki / "front-proxy-client.key").read_bytes(),
            )
        )

    return dial
