// Every feature with npm @modelcontextprotocol/sdk (the v1 line, which speaks the older protocol era only).
// usage: node features-v1.mjs PLAN (JSON; see features.mjs), prints one JSON line of findings
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';
import { ANSWERS, CAPABILITIES, CLIENT, options, tour } from './features.mjs';

const plan = JSON.parse(process.argv[2]);
const transport = new StreamableHTTPClientTransport(new URL(plan.url), options(plan));
let client;
await tour(plan, {
  connect: async (heard) => {
    client = new Client(CLIENT, { capabilities: CAPABILITIES });
    client.setRequestHandler(types.ElicitRequestSchema, ANSWERS['elicitation/create']);
    client.setRequestHandler(types.ListRootsRequestSchema, ANSWERS['roots/list']);
    client.setRequestHandler(types.CreateMessageRequestSchema, ANSWERS['sampling/createMessage']);
    for (const schema of [
      types.LoggingMessageNotificationSchema, types.ResourceUpdatedNotificationSchema, types.ToolListChangedNotificationSchema,
    ]) client.setNotificationHandler(schema, ({ method, params }) => heard(method, params));
    await client.connect(transport);
    return client;
  },
  call: (params, more) => client.callTool(params, undefined, more),
  negotiated: () => transport.protocolVersion,
});
