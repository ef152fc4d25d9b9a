// Every feature with npm @modelcontextprotocol/client (the v2 line; the older era by default, both with mode `auto`).
// usage: node features-v2.mjs PLAN (JSON; see features.mjs), prints one JSON line of findings
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { ANSWERS, CAPABILITIES, CLIENT, options, tour } from './features.mjs';

const plan = JSON.parse(process.argv[2]);
const negotiation = plan.mode === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {};
let client;
await tour(plan, {
  connect: async (heard) => {
    client = new Client(CLIENT, { capabilities: CAPABILITIES, ...negotiation });
    for (const [method, answer] of Object.entries(ANSWERS)) client.setRequestHandler(method, answer);
    for (const method of ['notifications/message', 'notifications/resources/updated', 'notifications/tools/list_changed']) {
      client.setNotificationHandler(method, ({ params }) => heard(method, params));
    }
    await client.connect(new StreamableHTTPClientTransport(new URL(plan.url), options(plan)));
    return client;
  },
  call: (params, more) => client.callTool(params, more),
  negotiated: () => client.getNegotiatedProtocolVersion(),
});
