"""Client of the interop test: PyPI mcp, either era (mode `auto` or `legacy`).

usage: python client.py PLAN (JSON; the same plan and tour as login.mjs), prints one JSON line of findings. Discovery,
registration, PKCE, token requests and refresh are the SDK's own; only the login without a browser and the storage are ours.
"""

import asyncio
import json
import logging
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.exceptions import MCPError

REDIRECT = "http://127.0.0.1:1/callback"


class Storage:
    """The OAuth session, in memory."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Login:
    """Follows the authorization server's redirects as a browser with cookies would, up to the client's own address."""

    def __init__(self, login: str) -> None:
        self.login = login
        self.pkce: str | None = None
        self.answer: dict[str, list[str]] = {}

    async def redirect(self, url: str) -> None:
        self.pkce = parse_qs(urlsplit(url).query)["code_challenge_method"][0]
        async with httpx2.AsyncClient() as browser:
            following = httpx2.URL(url).copy_merge_params({"login_hint": self.login})
            for _ in range(12):
                response = await browser.get(following)
                if "location" not in response.headers:
                    raise RuntimeError(f"the login ended with {response.status_code}: {response.text}")
                following = following.join(response.headers["location"])
                if str(following).startswith(REDIRECT):
                    self.answer = parse_qs(urlsplit(str(following)).query)
                    return
        raise RuntimeError("the login did not come to an end")

    async def callback(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**{name: self.answer[name][0] for name in ("code", "state", "iss")})


class Noting(httpx2.AsyncHTTPTransport):
    """Notes method, place, the grant type asked and the status of each request, never a token."""

    def __init__(self, trace: list[dict[str, Any]]) -> None:
        super().__init__()
        self.trace = trace

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        step = {"method": request.method, "path": request.url.path, "status": response.status_code}
        if "x-www-form-urlencoded" in request.headers.get("content-type", ""):
            step["grant_type"] = parse_qs(request.content.decode())["grant_type"][0]
        if "www-authenticate" in response.headers:
            step["challenge"] = response.headers["www-authenticate"]
        step["bearer"] = "authorization" in request.headers
        self.trace.append(step)
        return response


def plain(result: Any) -> Any:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def told(error: MCPError) -> dict[str, Any]:
    """What the SDK raised, in plain fields; it carries no HTTP status."""
    return {"class": type(error).__name__, "code": error.code, "status": None, "message": error.message}


async def tour(plan: dict[str, Any]) -> dict[str, Any]:
    storage, login, trace = Storage(), Login(plan["login"]), []
    metadata = OAuthClientMetadata(
        client_name="PyPI mcp",
        redirect_uris=[REDIRECT],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(plan["url"], metadata, storage, login.redirect, login.callback)
    found: dict[str, Any] = {"client": "PyPI mcp"}
    async with httpx2.AsyncClient(auth=auth, transport=Noting(trace), timeout=30) as http:
        async with Client(streamable_http_client(plan["url"], http_client=http), mode=plan["mode"]) as client:

            async def call(which: str) -> Any:
                try:
                    return plain(await client.call_tool(plan[which]["tool"], plan[which]["arguments"]))
                except MCPError as error:
                    return told(error)

            found["pkce"] = login.pkce
            found["negotiated"] = client.protocol_version
            found["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
            found["call"] = await call("call")
            found["refused"] = await call("refused")
            found["step_up"] = await call("step_up")
            # This SDK refreshes by its own clock and answers a 401 with a new login: let its token have expired.
            before, mark = storage.tokens, len(trace)
            auth.context.token_expiry_time = 1.0
            found["call_after_refresh"] = await call("call")
            found["refreshed"] = storage.tokens.access_token != before.access_token and any(
                step.get("grant_type") == "refresh_token" and step["status"] == 200 for step in trace[mark:]
            )
    return found | {"trace": trace}


logging.disable(logging.CRITICAL)
print(json.dumps(asyncio.run(tour(json.loads(sys.argv[1])))))
