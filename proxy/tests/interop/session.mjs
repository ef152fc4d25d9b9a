// A client that is told what to do, line by line: npm @modelcontextprotocol/client with one legacy session.
//
// The session, its header, its errors and its streams are the SDK's own. Ours is the `fetch` beneath: it carries the token
// of the moment, may send a request to another replica, and may show a session that was stolen from somebody.
//
// usage: node session.mjs, then lines of JSON on its standard input; it ends with that input.
//   {"n":1,"do":"connect","url":URL}   -> {"n":1,"done":{"session":ID}}
//   {"n":2,"do":"set","token":T,"place":"HOST:PORT","stolen":ID}   (each may be absent) -> {"n":2,"done":{}}
//   {"n":3,"do":"call","tool":T,"arguments":{}}   -> {"n":3,"progress":1} ... {"n":3,"done":{"text":"..."}}
// and {"n":3,"failed":{"class","code","status","message"}} for whatever fails.
import { createInterface } from 'node:readline';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const held = {};
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function steered(url, init = {}) {
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${held.token}`);
  if (held.stolen && headers.has('mcp-session-id')) headers.set('mcp-session-id', held.stolen);
  const target = new URL(url);
  if (held.place) target.host = held.place;
  return fetch(target, { ...init, headers });
}

let client;

const deeds = {
  async connect({ url }) {
    const transport = new StreamableHTTPClientTransport(new URL(url), { fetch: steered });
    client = new Client({ name: 'sessions', version: '0' });
    await client.connect(transport);
    return { session: transport.sessionId };
  },
  async set({ token, place, stolen }) {
    if (token) held.token = token;
    if (place) held.place = place;
    if (stolen) held.stolen = stolen;
    return {};
  },
  async call({ n, tool, arguments: given }) {
    const onprogress = ({ progress }) => say({ n, progress });
    const answer = await client.callTool({ name: tool, arguments: given }, { onprogress, timeout: 60_000 });
    return { text: answer.content.map((part) => part.text).join('') };
  },
};

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const deed = JSON.parse(line);
    deeds[deed.do](deed).then(
      (done) => say({ n: deed.n, done }),
      (error) => say({
        n: deed.n,
        failed: { class: error.constructor.name, code: error.code ?? null, status: error.status ?? null, message: error.message },
      }),
    );
  })
  .on('close', () => process.exit());
say({ ready: true });
