// Tasks with npm @modelcontextprotocol/sdk (the v1 line): created, asked for, fetched, listed and cancelled.
// usage: node tasks-v1.mjs PLAN (JSON; see features.mjs), prints one JSON line of findings, without ids and times
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema, CreateTaskResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { CLIENT, options } from './features.mjs';

const plan = JSON.parse(process.argv[2]);
const transport = new StreamableHTTPClientTransport(new URL(plan.url), options(plan));
const client = new Client(CLIENT, { capabilities: { tasks: { list: {}, cancel: {} } } });
await client.connect(transport);
const found = { negotiated: transport.protocolVersion, capabilities: client.getServerCapabilities().tasks };
const ids = [];
const steady = (value) => JSON.parse(JSON.stringify(value, (key, inner) => {
  if (key === 'createdAt' || key === 'lastUpdatedAt') return 'a time';
  return ids.includes(inner) ? `task ${ids.indexOf(inner)}` : inner;
}));
const attempt = async (name, deed) => {
  try {
    found[name] = steady((await deed()) ?? null);
  } catch (error) {
    found[name] = { failed: { class: error.constructor.name, code: error.code ?? null } };
  }
};
const tasks = client.experimental.tasks;
const create = async (name) => {
  const params = { name, arguments: { word: 'hello' } };
  const created = await client.request({ method: 'tools/call', params }, CreateTaskResultSchema, { task: { ttl: 60000, pollInterval: 50 } });
  ids.push(created.task.taskId);
  return created;
};

await attempt('tools', async () => (await client.listTools()).tools);
await attempt('created', () => create('task_echo'));
// It may be there already.
await attempt('state', async () => ({ ...(await tasks.getTask(ids[0])), status: null }));
await attempt('result', () => tasks.getTaskResult(ids[0], CallToolResultSchema));
await attempt('completed', () => tasks.getTask(ids[0]));
await attempt('endless', () => create('task_endless'));
await attempt('listed', () => tasks.listTasks());
await attempt('cancelled', () => tasks.cancelTask(ids[1]));
await attempt('cancelled_twice', () => tasks.cancelTask(ids[1]));
await attempt('state_after', () => tasks.getTask(ids[1]));
await attempt('unknown', () => tasks.getTask('nobody-knows'));
await attempt('streamed', async () => {
  const kinds = [];
  let last;
  for await (const message of tasks.callToolStream({ name: 'task_echo', arguments: { word: 'again' } }, CallToolResultSchema)) {
    if (message.task) ids.push(message.task.taskId);
    if (kinds.at(-1) !== message.type) kinds.push(message.type);
    last = message;
  }
  return { begins: kinds[0], ends: kinds.at(-1), result: last.result };
});
await client.close();
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit());
