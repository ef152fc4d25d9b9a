// Client of the interop test: npm @modelcontextprotocol/client (the v2 line; the older era by default, both with mode `auto`).
// usage: node client-v2.mjs PLAN (JSON; see login.mjs), prints one JSON line of findings
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { tour } from './login.mjs';

const plan = JSON.parse(process.argv[2]);
const options = plan.mode === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {};
await tour('npm @modelcontextprotocol/client', plan, {
  client: () => new Client({ name: 'interop-v2', version: '0' }, options),
  transport: (authProvider, fetch) => new StreamableHTTPClientTransport(new URL(plan.url), { authProvider, fetch }),
  finish: (transport, answer) => transport.finishAuth(answer),
  isUnauthorized: (error) => error instanceof UnauthorizedError,
  negotiated: (client) => client.getNegotiatedProtocolVersion(),
});
