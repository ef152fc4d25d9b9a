"""Upstream for both protocol eras with the names that the conformance suite asks for: PyPI mcp on a free loopback port.

Prints {"ready":"http://127.0.0.1:PORT"} and ends with its standard input. It has what the SDK offers to applications, and
nothing that goes around the SDK. It checks no token: that is the gate's work.
"""

import asyncio
import base64
import json
import os
import socket
import sys
import threading
import warnings
from typing import Annotated, Any

import uvicorn
from mcp.server.mcpserver import (
    Audio,
    Context,
    Elicit,
    ElicitationResult,
    Image,
    ListRoots,
    MCPServer,
    Resolve,
    Sample,
    UserMessage,
)
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    Completion,
    CreateMessageResult,
    EmbeddedResource,
    ImageContent,
    ListRootsResult,
    PromptReference,
    ResourceLink,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel, Field

# Logging and sampling go out of the protocol one day; until then they are served.
warnings.simplefilter("ignore")

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
AUDIO = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
WORDS = ["paris", "park", "party", "test", "testing"]

server = MCPServer("py-features", version="0", log_level="CRITICAL")
cancelled = 0


class Weather(BaseModel):
    celsius: float
    place: str


class Person(BaseModel):
    username: str
    email: str


class Named(BaseModel):
    name: str


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


def embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


@server.tool()
def test_simple_text() -> str:
    """Gives a text."""
    return "a simple text"


@server.tool()
def test_image_content() -> Image:
    """Gives an image."""
    return Image(data=base64.b64decode(IMAGE), format="png")


@server.tool()
def test_audio_content() -> Audio:
    """Gives a sound."""
    return Audio(data=base64.b64decode(AUDIO), format="wav")


@server.tool(structured_output=False)
def test_embedded_resource() -> list[Any]:
    """Gives a resource within its result."""
    return [embedded("test://embedded-resource", "text/plain", "an embedded text")]


@server.tool(structured_output=False)
def test_resource_link() -> list[Any]:
    """Gives a link to a resource."""
    return [ResourceLink(type="resource_link", uri="test://static-text", name="static-text", mime_type="text/plain")]


@server.tool(structured_output=False)
def test_multiple_content_types() -> list[Any]:
    """Gives a text, an image and a resource."""
    return [
        TextContent(type="text", text="three kinds of content"),
        ImageContent(type="image", data=IMAGE, mime_type="image/png"),
        embedded("test://mixed-content-resource", "application/json", '{"mixed":true}'),
    ]


@server.tool()
def test_structured_content() -> Weather:
    """Gives an object with its schema."""
    return Weather(celsius=21.5, place="here")


@server.tool()
def test_error_handling() -> str:
    """Fails."""
    raise ToolError("this tool always fails")


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Sends log messages while it runs."""
    for message in ("begun", "under way", "done"):
        await ctx.info(message)
        await asyncio.sleep(0.02)
    return "logged"


server.tool(name="test_logging_tool", description="Sends log messages to those who want them.")(test_tool_with_logging)


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Tells its progress while it runs."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100)
        await asyncio.sleep(0.02)
    return "arrived"


@server.tool()
async def test_slow(ctx: Context) -> str:
    """Runs until it is cancelled, half a minute at most."""
    global cancelled
    await ctx.report_progress(0, 1)
    try:
        await asyncio.sleep(30)
    except BaseException:
        cancelled += 1
        raise
    return "nobody cancelled"


@server.tool()
def test_cancelled() -> str:
    """Tells how many calls of the slow tool were cancelled."""
    return str(cancelled)


def sampled(prompt: str) -> Sample:
    content = TextContent(type="text", text=prompt)
    return Sample([SamplingMessage(role="user", content=content)], max_tokens=100)


@server.tool()
def test_sampling(prompt: str, answer: Annotated[CreateMessageResult, Resolve(sampled)]) -> str:
    """Asks the client's model."""
    return f"the model says {answer.content.text}"


@server.tool()
def test_missing_capability(answer: Annotated[CreateMessageResult, Resolve(lambda: sampled("hello"))]) -> str:
    """Needs a client that can sample."""
    return "the client can sample"


def asked(message: str) -> Elicit[Person]:
    return Elicit(message, Person)


@server.tool()
def test_elicitation(message: str, answer: Annotated[ElicitationResult[Person], Resolve(asked)]) -> str:
    """Asks the person."""
    return f"the person says {answer.model_dump_json()}"


def asked_defaults() -> Elicit[Defaults]:
    return Elicit("Check these values.", Defaults)


@server.tool()
def test_elicitation_sep1034_defaults(answer: Annotated[ElicitationResult[Defaults], Resolve(asked_defaults)]) -> str:
    """Asks the person with a form that has defaults."""
    return f"the form {answer.model_dump_json()}"


def asked_name() -> Elicit[Named]:
    return Elicit("Who are you?", Named)


@server.tool()
def test_input_required_result_elicitation(answer: Annotated[ElicitationResult[Named], Resolve(asked_name)]) -> str:
    """Asks for a name, then greets."""
    return f"hello {answer.model_dump_json()}"


def asked_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def test_roots(roots: Annotated[ListRootsResult, Resolve(asked_roots)]) -> str:
    """Asks the client for its roots."""
    return f"the roots {[str(root.uri) for root in roots.roots]}"


server.tool(name="test_input_required_result_list_roots", description="Asks for roots.")(test_roots)


@server.tool()
async def test_trigger_resource_update(uri: str, ctx: Context) -> str:
    """Tells subscribers of a resource."""
    await ctx.notify_resource_updated(uri)
    return "told"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Tells subscribers that the tools have changed."""
    await ctx.notify_tools_changed()
    return "told"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Tells subscribers that the prompts have changed."""
    await ctx.notify_prompts_changed()
    return "told"


@server.tool()
def test_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
    limit: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Limit"})] = 0,
    dry_run: Annotated[bool, Field(json_schema_extra={"x-mcp-header": "Dry-Run"})] = False,
) -> str:
    """Has parameters that stand in headers too."""
    return f"{region} {limit} {dry_run}"


@server.prompt()
def test_simple_prompt() -> str:
    """Says one thing."""
    return "a simple prompt"


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Says what it is given."""
    return f"first {arg1}, then {arg2}"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 (the suite's own spelling)
    """Brings a resource."""
    return [
        UserMessage(content=embedded(resourceUri, "text/plain", "an embedded text")),
        UserMessage(content="look at the resource"),
    ]


@server.prompt()
def test_prompt_with_image() -> list[Any]:
    """Brings an image."""
    image = ImageContent(type="image", data=IMAGE, mime_type="image/png")
    return [UserMessage(content=image), UserMessage(content="look at the image")]


@server.resource("test://static-text", mime_type="text/plain", description="A resource to read.")
def static_text() -> str:
    return "a text that stays"


@server.resource("test://static-binary", mime_type="image/png", description="A resource to read.")
def static_binary() -> bytes:
    return base64.b64decode(IMAGE)


@server.resource("test://watched-resource", mime_type="text/plain", description="A resource to watch.")
def watched() -> str:
    return "a text that is watched"


@server.resource("test://template/{id}/data", mime_type="application/json", description="Data of any id.")
def template(id: str) -> str:  # noqa: A002 (the template's own name)
    return json.dumps({"id": id, "of": "a template"})


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> Completion | None:
    if isinstance(ref, PromptReference) and ref.name != "test_prompt_with_arguments":
        return None
    values = [word for word in WORDS if word.startswith(argument.value)]
    return Completion(values=values, total=len(values), has_more=False)


async def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(json.dumps({"ready": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    app = server.streamable_http_app()
    await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[listener])


def end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
asyncio.run(main())
