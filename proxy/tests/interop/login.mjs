// What both TypeScript clients share: storage of the OAuth session, the login without a browser, and the tour.
//
// It never touches the protocol itself: discovery, registration, PKCE, token requests and refresh are the SDK's own.
// The tour is what every client of the test does, starting without a token; its findings go out as one JSON line.
// A plan is {"url","login","mode","refresh","call","refused","step_up"}, each call {"tool","arguments"}; without
// `refresh` the client registers for no refresh tokens.
import { randomUUID } from 'node:crypto';

export const REDIRECT = 'http://127.0.0.1:1/callback';

/** Follows the authorization server's redirects as a browser with cookies would, up to the client's own address. */
async function authorize(url) {
  const cookies = new Map();
  let next = url;
  for (let hop = 0; hop < 12; hop += 1) {
    const answer = await fetch(next, { redirect: 'manual', headers: { cookie: [...cookies].map((one) => one.join('=')).join('; ') } });
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      cookies.set(name, value);
    }
    const location = answer.headers.get('location');
    if (location === null) throw new Error(`the login ended with ${answer.status}: ${await answer.text()}`);
    next = new URL(location, next);
    if (next.href.startsWith(REDIRECT)) return next.searchParams;
  }
  throw new Error('the login did not come to an end');
}

/** An `OAuthClientProvider` of either SDK that keeps all in memory and logs `login` in when sent to the authorization server. */
export class Session {
  constructor(name, login, refresh) {
    this.login = login;
    this.clientMetadata = {
      application_type: 'native',
      client_name: name,
      grant_types: refresh ? ['authorization_code', 'refresh_token'] : ['authorization_code'],
      redirect_uris: [REDIRECT],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
    this.redirectUrl = REDIRECT;
  }

  state() { return (this.stateSent = randomUUID()); }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  codeVerifier() { return this.verifier; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  discoveryState() { return this.discovered; }
  saveDiscoveryState(discovered) { this.discovered = discovered; }

  async redirectToAuthorization(url) {
    url.searchParams.set('login_hint', this.login);
    this.method = url.searchParams.get('code_challenge_method');
    this.answer = await authorize(url);
    if (this.answer.get('state') !== this.stateSent) throw new Error('the state came back changed');
  }
}

/** A `fetch` that notes method, place, the grant type asked and the status of each request, never a token. */
export function noting(trace) {
  return async (url, init = {}) => {
    const answer = await fetch(url, init);
    const form = init.body instanceof URLSearchParams ? init.body.get('grant_type') : null;
    const step = { method: init.method ?? 'GET', path: new URL(url).pathname, status: answer.status };
    if (form) step.grant_type = form;
    if (answer.headers.has('www-authenticate')) step.challenge = answer.headers.get('www-authenticate');
    step.bearer = new Headers(init.headers).has('authorization');
    trace.push(step);
    return answer;
  };
}

/** What an SDK threw, in plain fields. */
const told = (error) => ({
  class: error.constructor.name,
  code: error.code ?? null,
  status: error.status ?? null,
  message: error.message,
});

/** Runs the tour with one SDK's own classes: `client()`, `transport(session, fetch)`, `finish(transport, answer)` and the rest. */
export async function tour(name, plan, sdk) {
  const session = new Session(name, plan.login, plan.refresh);
  const trace = [];
  const found = { client: name };
  // The SDK throws once it has sent the person to the authorization server; the application finishes and tries again.
  const authorized = async (attempt) => {
    try {
      return await attempt();
    } catch (error) {
      if (!sdk.isUnauthorized(error)) throw error;
      await sdk.finish(transport, session.answer);
      return attempt();
    }
  };
  let client;
  let transport;
  await authorized(async () => {
    transport = sdk.transport(session, noting(trace));
    client = sdk.client();
    await client.connect(transport);
  });
  found.pkce = session.method;
  found.negotiated = sdk.negotiated(client, transport);
  found.tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
  const call = ({ tool, arguments: given }) => client.callTool({ name: tool, arguments: given });
  found.call = await call(plan.call);
  found.refused = await call(plan.refused).catch(told);
  found.step_up = await authorized(() => call(plan.step_up)).catch(told);
  // A signature that no longer fits: the gate answers 401, and the SDK goes for its refresh token, or for a new login.
  const before = session.saved;
  const mark = trace.length;
  session.saved = { ...before, access_token: spoil(before.access_token) };
  found.call_after_refresh = await authorized(() => call(plan.call));
  found.refreshed = trace.slice(mark).some((step) => step.grant_type === 'refresh_token' && step.status === 200)
    && session.saved.access_token !== before.access_token;
  await client.close();
  process.stdout.write(`${JSON.stringify({ ...found, trace })}\n`);
}

/** The same token with another signature of the same length. */
function spoil(token) {
  const [head, payload, signature] = token.split('.');
  return [head, payload, [...signature].reverse().join('').replace(/.$/, 'A')].join('.');
}
