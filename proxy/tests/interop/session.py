"""A client that is told what to do, line by line: PyPI mcp with one legacy session; the same orders as session.mjs.

The session, its header, its errors and its streams are the SDK's own. Ours is the transport beneath: it carries the
token of the moment, may send a request to another replica, and may show a session that was stolen from somebody.
"""

import asyncio
import json
import logging
import os
import sys
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

held: dict[str, str] = {}


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


class Steered(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["authorization"] = f"Bearer {held['token']}"
        if "stolen" in held and "mcp-session-id" in request.headers:
            request.headers["mcp-session-id"] = held["stolen"]
        if "place" in held:
            host, _, port = held["place"].partition(":")
            request.url = request.url.copy_with(host=host, port=int(port))
            request.headers["host"] = held["place"]
        response = await super().handle_async_request(request)
        if "mcp-session-id" in response.headers:
            held.setdefault("session", response.headers["mcp-session-id"])
        return response


class Deeds:
    client: Client

    async def connect(self, deed: dict[str, Any], connected: asyncio.Event, ended: asyncio.Event) -> None:
        """Keeps the connection in its own task, as the SDK's scopes demand."""
        try:
            async with httpx2.AsyncClient(transport=Steered(), timeout=60) as http:
                transport = streamable_http_client(deed["url"], http_client=http, terminate_on_close=False)
                async with Client(transport, mode="legacy") as self.client:
                    say({"n": deed["n"], "done": {"session": held.get("session")}})
                    connected.set()
                    await ended.wait()
        except BaseException as error:
            say({"n": deed["n"], "failed": told(error)})

    async def call(self, deed: dict[str, Any]) -> None:
        async def progress(progress: float, total: float | None, message: str | None) -> None:
            say({"n": deed["n"], "progress": progress})

        try:
            answer = await self.client.call_tool(deed["tool"], deed["arguments"], progress_callback=progress)
            text = "".join(part.text for part in answer.content if part.type == "text")
            say({"n": deed["n"], "done": {"text": text}})
        except Exception as error:
            say({"n": deed["n"], "failed": told(error)})


def told(error: BaseException) -> dict[str, Any]:
    code = error.code if isinstance(error, MCPError) else None
    return {"class": type(error).__name__, "code": code, "status": None, "message": str(error)}


async def main() -> None:
    deeds, connected, ended = Deeds(), asyncio.Event(), asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        deed = json.loads(line)
        match deed["do"]:
            case "connect":
                tasks.add(asyncio.create_task(deeds.connect(deed, connected, ended)))
            case "set":
                held.update({name: deed[name] for name in ("token", "place", "stolen") if deed.get(name)})
                say({"n": deed["n"], "done": {}})
            case "call":
                tasks.add(asyncio.create_task(deeds.call(deed)))
    os._exit(0)


logging.disable(logging.CRITICAL)
asyncio.run(main())
