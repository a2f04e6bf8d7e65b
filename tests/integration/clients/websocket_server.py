"""A WebSocket server by the websockets library: `python websocket_server.py PORT`.

Echoes each message with its kind, and closes as told; `GET /health` says OK.
"""

import sys
from http import HTTPStatus

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve


def health(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/health":
        return connection.respond(HTTPStatus.OK, "OK")
    if request.path.startswith("/refuse"):
        return connection.respond(HTTPStatus.FORBIDDEN, "not here")
    return None


def echo(connection: ServerConnection) -> None:
    for message in connection:
        if message == "close":
            connection.close(4321, "as you wish")
            return
        if message == "facts":
            request = connection.request
            assert request is not None
            compressed = bool(connection.protocol.extensions)
            message = f"{request.path} {connection.subprotocol} {compressed}"
        connection.send(message)


with serve(
    echo,
    "127.0.0.1",
    int(sys.argv[1]),
    process_request=health,
    subprotocols=["chat.v2", "chat.v1"],  # type: ignore[list-item]
    max_size=None,
) as server:
    server.serve_forever()
