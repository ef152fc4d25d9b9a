// Client of the interop test: npm @modelcontextprotocol/sdk (the v1 line, which speaks the older protocol era only).
// usage: node client-v1.mjs PLAN (JSON; see login.mjs), prints one JSON line of findings
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { tour } from './login.mjs';

const plan = JSON.parse(process.argv[2]);
await tour('npm @modelcontextprotocol/sdk', plan, {
  client: () => new Client({ name: 'interop-v1', version: '0' }),
  transport: (authProvider, fetch) => new StreamableHTTPClientTransport(new URL(plan.url), { authProvider, fetch }),
  finish: (transport, answer) => transport.finishAuth(answer.get('code')),
  isUnauthorized: (error) => error instanceof UnauthorizedError,
  negotiated: (client, transport) => transport.protocolVersion,
});
