"""Every feature with PyPI mcp, in the older protocol era or in both; the same tour as the TypeScript clients'.

usage: python features_client.py PLAN (JSON), prints one JSON line of findings. A plan is {"url","token","mode"}; without a
token it calls a server itself, with one it calls through the gate. What fails stands in the findings as
{"failed":{"code"}}, so that two runs can be compared field by field.
"""

import asyncio
import json
import logging
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    ResourceTemplateReference,
    Root,
    TextContent,
)

# Logging and sampling go out of the protocol one day; until then they are used.
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

WATCHED = "test://watched-resource"
PLAIN = [
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_resource_link",
    "test_multiple_content_types",
    "test_structured_content",
    "test_error_handling",
    "no_such_tool",
    "test_roots",
    "test_elicitation_sep1034_defaults",
    "test_missing_capability",
    "test_ping",
    "test_input_required_result_elicitation",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_request_state",
]


def plain(result: Any) -> Any:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def filled(fields: dict[str, Any]) -> dict[str, Any]:
    """A value for each field of a form."""
    kinds = {"boolean": True, "integer": 7, "number": 7}
    return {
        name: field.get("default", kinds.get(field.get("type", ""), field.get("enum", ["a text"])[0]))
        for name, field in fields.items()
    }


async def elicit(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=filled(params.requested_schema["properties"]))


async def sample(context: Any, params: Any) -> CreateMessageResult:
    said = f"said to {params.messages[0].content.text}"
    return CreateMessageResult(
        role="assistant", model="m", stop_reason="endTurn", content=TextContent(type="text", text=said)
    )


async def roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri="file:///work", name="work")])


class Tour:
    """One connected client and what it found."""

    def __init__(self, client: Client, heard: list[Any], changes: list[str]) -> None:
        self.client = client
        self.heard = heard
        self.changes = changes
        self.modern = client.protocol_version == "2026-07-28"
        self.found: dict[str, Any] = {"negotiated": client.protocol_version}

    async def attempt(self, name: str, deed: Callable[[], Awaitable[Any]]) -> None:
        try:
            with anyio.fail_after(20):
                result = await deed()
            self.found[name] = plain(result) if hasattr(result, "model_dump") else result
        except MCPError as error:
            self.found[name] = {"failed": {"class": type(error).__name__, "code": error.code}}
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is a finding)
            self.found[name] = {"failed": {"class": type(error).__name__, "code": None}}

    async def run(self) -> dict[str, Any]:
        client = self.client
        for name, lister in (
            ("tools", client.list_tools),
            ("prompts", client.list_prompts),
            ("resources", client.list_resources),
            ("templates", client.list_resource_templates),
        ):
            await self.attempt(name, lister)
        for name in PLAIN:
            await self.attempt(name, lambda name=name: client.call_tool(name, {}))
        await self.attempt("test_sampling", lambda: client.call_tool("test_sampling", {"prompt": "hello"}))
        await self.attempt("test_elicitation", lambda: client.call_tool("test_elicitation", {"message": "who?"}))
        given = {"region": "Zürich west", "limit": 10, "dry_run": False}
        await self.attempt("test_headers", lambda: client.call_tool("test_headers", given))
        await self.prompts_and_resources()
        await self.attempt("progress", self.progress)
        await self.attempt("level", lambda: client.set_logging_level("info"))
        await self.attempt("logging", self.logging)
        await self.attempt("cancellation", self.cancellation)
        await self.attempt("subscription", self.subscription if self.modern else self.legacy_subscription)
        return self.found

    async def prompts_and_resources(self) -> None:
        client = self.client
        for name, arguments in (
            ("test_simple_prompt", None),
            ("test_prompt_with_arguments", {"arg1": "one", "arg2": "two"}),
            ("test_prompt_with_embedded_resource", {"resourceUri": WATCHED}),
            ("test_prompt_with_image", None),
            ("test_input_required_result_prompt", None),
            ("no_such_prompt", None),
        ):
            await self.attempt(name, lambda name=name, arguments=arguments: client.get_prompt(name, arguments))
        for uri in (
            "test://static-text",
            "test://static-binary",
            "test://template/7/data",
            "test://asks-first",
            "test://nothing",
        ):
            await self.attempt(uri, lambda uri=uri: client.read_resource(uri))
        prompt = PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        template = ResourceTemplateReference(type="ref/resource", uri="test://template/{id}/data")
        await self.attempt("completion", lambda: client.complete(prompt, {"name": "arg1", "value": "par"}))
        await self.attempt("completion_of_template", lambda: client.complete(template, {"name": "id", "value": "t"}))

    async def progress(self) -> Any:
        seen: list[Any] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            seen.append([progress, total, message])

        result = await self.client.call_tool("test_tool_with_progress", {}, progress_callback=note)
        return {"result": plain(result), "progress": seen}

    async def logging(self) -> Any:
        meta = {"io.modelcontextprotocol/logLevel": "info"} if self.modern else None
        result = await self.client.call_tool("test_tool_with_logging", {}, meta=meta)
        with anyio.move_on_after(5):
            while len(self.heard) < 3:
                await anyio.sleep(0.01)
        return {"result": plain(result), "messages": self.heard}

    async def cancellation(self) -> Any:
        begun = anyio.Event()

        async def note(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: self.client.call_tool("test_slow", {}, progress_callback=note))
            with anyio.move_on_after(5):
                await begun.wait()
            tasks.cancel_scope.cancel()
        # The session is still good.
        return {"begun": begun.is_set(), "after": plain(await self.client.call_tool("test_simple_text", {}))}

    async def subscription(self) -> Any:
        events: list[str] = []
        async with self.client.listen(tools_list_changed=True, resource_subscriptions=[WATCHED]) as subscription:
            await self.client.call_tool("test_trigger_resource_update", {"uri": "test://static-text"})
            await self.client.call_tool("test_trigger_resource_update", {"uri": WATCHED})
            await self.client.call_tool("test_trigger_tool_change", {})
            with anyio.move_on_after(5):
                async for event in subscription:
                    events.append(repr(event))
                    if len(events) == 2:
                        break
            return {"honored": repr(subscription.honored), "events": events}

    async def legacy_subscription(self) -> Any:
        # Both notifications come on the stream that the session listens on.
        wanted = {"notifications/resources/updated", "notifications/tools/list_changed"}
        await self.client.subscribe_resource(WATCHED)
        await self.client.call_tool("test_trigger_resource_update", {"uri": "test://static-text"})
        await self.client.call_tool("test_trigger_resource_update", {"uri": WATCHED})
        await self.client.call_tool("test_trigger_tool_change", {})
        with anyio.move_on_after(5):
            while not wanted <= set(self.changes):
                await anyio.sleep(0.01)
        await self.client.unsubscribe_resource(WATCHED)
        return sorted(self.changes)


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    heard: list[Any] = []
    changes: list[str] = []

    async def log(params: Any) -> None:
        heard.append(plain(params))

    async def change(message: Any) -> None:
        if getattr(message, "method", "").endswith(("updated", "list_changed")):
            changes.append(message.method)

    headers = {"authorization": f"Bearer {plan['token']}"} if plan.get("token") else {}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(plan["url"], http_client=http)
        async with Client(
            transport,
            mode=plan["mode"],
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
            logging_callback=log,
            message_handler=change,
        ) as client:
            return await Tour(client, heard, changes).run()


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
