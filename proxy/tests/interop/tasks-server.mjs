// Upstream of the legacy era whose tools run as tasks: npm @modelcontextprotocol/sdk (v1) on a free loopback port.
//
// Prints {"ready":"http://127.0.0.1:PORT"} and ends with its standard input. It has what the SDK offers to applications, and
// checks no token: that is the gate's work.
import { randomUUID } from 'node:crypto';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { InMemoryTaskStore, InMemoryTaskMessageQueue } from '@modelcontextprotocol/sdk/experimental/tasks/stores/in-memory.js';
import express from 'express';
import * as z from 'zod/v4';

const taskStore = new InMemoryTaskStore();
const taskMessageQueue = new InMemoryTaskMessageQueue();

/** A server with one tool that comes to an end and one that does not. */
function made() {
  const server = new McpServer({ name: 'tasks', version: '0' }, {
    capabilities: { tasks: { requests: { tools: { call: {} } }, list: {}, cancel: {} } }, taskStore, taskMessageQueue,
  });
  const handler = (end) => ({
    createTask: async (given, { taskStore, taskRequestedTtl }) => {
      const task = await taskStore.createTask({ ttl: taskRequestedTtl, pollInterval: 50 });
      end(given, task.taskId, taskStore);
      return { task };
    },
    getTask: async (given, { taskId, taskStore }) => taskStore.getTask(taskId),
    getTaskResult: async (given, { taskId, taskStore }) => taskStore.getTaskResult(taskId),
  });
  const of = (description) => ({ description, inputSchema: { word: z.string() }, execution: { taskSupport: 'required' } });
  server.experimental.tasks.registerToolTask('task_echo', of('Says a word a little later.'), handler(
    ({ word }, id, store) => setTimeout(
      () => store.storeTaskResult(id, 'completed', { content: [{ type: 'text', text: `later: ${word}` }] }), 100,
    ),
  ));
  server.experimental.tasks.registerToolTask('task_endless', of('Never comes to an end.'), handler(() => {}));
  return server;
}

const sessions = new Map();
const app = express().use(express.json());
app.all('/mcp', async (request, response) => {
  let transport = sessions.get(request.headers['mcp-session-id']);
  if (!transport && request.method === 'POST' && request.body?.method === 'initialize') {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID, onsessioninitialized: (id) => { sessions.set(id, transport); },
    });
    await made().connect(transport);
  }
  if (!transport) return response.status(request.headers['mcp-session-id'] ? 404 : 400).end();
  return transport.handleRequest(request, response, request.body);
});
const listener = app.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ ready: `http://127.0.0.1:${listener.address().port}` }));
});
process.stdin.resume().on('end', () => process.exit());
