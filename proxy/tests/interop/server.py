"""Upstream for both protocol eras: PyPI mcp on a free loopback port.

Prints {"ready":"http://127.0.0.1:PORT"} and appends each request's method, path and headers as one JSON line to
the file that $CAPTURE names, before the SDK sees the request. It ends with its standard input. It checks no token: that is the gate's work.
"""

import asyncio
import json
import os
import socket
import sys
import threading
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel

server = MCPServer("py-upstream")


class Opportunity(BaseModel):
    account_id: str
    email: str


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool(name="salesforce.opportunity.read")
def read_opportunity(account_id: str) -> Opportunity:
    """Reads an opportunity, with personal data to redact."""
    return Opportunity(account_id=account_id, email="jo@example.com")


@server.tool(name="salesforce.opportunity.write")
def write_opportunity(account_id: str) -> str:
    """Writes an opportunity; the test's policy lets nobody do it."""
    return f"wrote {account_id}"


class Recorded:
    """ASGI layer that records heads and passes everything on unchanged."""

    def __init__(self, app: Any, capture: str) -> None:
        self.app = app
        self.capture = capture

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
            head = {"method": scope["method"], "path": scope["path"], "headers": headers}
            with open(self.capture, "a", encoding="utf-8") as file:
                file.write(json.dumps(head) + "\n")
        await self.app(scope, receive, send)


async def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    app = Recorded(server.streamable_http_app(), os.environ["CAPTURE"])
    print(json.dumps({"ready": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[listener])


def end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
asyncio.run(main())
