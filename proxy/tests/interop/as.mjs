// The authorization server of the interop test: npm oidc-provider on a free loopback port.
//
// It owns its keys (made at start), the login without a person and the tokens: JWT, ES256, with `groups` and
// `roles`, for any loopback URL named as RFC 8707 resource. It never listens beyond loopback and keeps nothing.
// The login takes `login_hint` of the authorization request as the person. A client's first login is granted no more
// than `first_scopes`, as by a person who consents step by step; a later one is granted what it asks.
//
// usage: node as.mjs '{"scopes":["read","write"],"first_scopes":["read"],"people":{"alice":{"groups":["staff"],"roles":[]}}}'
// It ends with its standard input. stdout: {"ready":"http://127.0.0.1:PORT"}, then one line {"event":...} for each thing a test may count.
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import { errors, Provider } from 'oidc-provider';

const { scopes, first_scopes: firstScopes, people } = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// Everything in memory. A registration's `scope` is dropped: the SDKs write there what the first challenge
// asked, and the provider would hold them to it, so that no step-up could ever succeed.
const store = new Map();
class Memory {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  find(id) { return this.findBy((key) => key === this.key(id)); }
  findBy(test) { return [...store].find(([key, payload]) => test(key, payload))?.[1]; }
  findByUid(uid) { return this.findBy((key, payload) => key.startsWith(`${this.model}:`) && payload.uid === uid); }
  findByUserCode() { return undefined; }
  consume(id) { this.find(id).consumed = Math.floor(Date.now() / 1000); }
  destroy(id) { store.delete(this.key(id)); }
  revokeByGrantId(grantId) { for (const [key, payload] of store) if (payload.grantId === grantId) store.delete(key); }
  upsert(id, payload) {
    const { scope, ...kept } = payload;
    store.set(this.key(id), this.model === 'Client' ? kept : payload);
  }
}

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const { privateKey } = await generateKeyPair('ES256', { extractable: true });

const provider = new Provider(issuer, {
  adapter: Memory,
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'ES256', kid: 'es-1', use: 'sig' }] },
  cookies: { keys: [crypto.randomUUID()] },
  scopes: ['openid', 'offline_access', ...scopes],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
  claims: { openid: ['sub'] },
  findAccount: async (ctx, id) => (people[id] ? { accountId: id, claims: async () => ({ sub: id }) } : undefined),
  extraTokenClaims: async (ctx, token) => people[token.accountId] ?? {},
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  pkce: { required: () => true },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (ctx, client, oneOf) => oneOf,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (ctx, resource) => {
        if (new URL(resource).hostname !== '127.0.0.1') throw new errors.InvalidTarget();
        return { scope: scopes.join(' '), audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } } };
      },
    },
  },
  ttl: { AccessToken: 300, Grant: 3600, IdToken: 300, Interaction: 600, RefreshToken: 3600, Session: 3600 },
});

// Login and consent in one step: there is no person to ask. What is not granted is refused by name, or the provider would ask again.
const known = new Set();
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  const accountId = session?.accountId ?? params.login_hint;
  const asked = params.scope?.split(' ') ?? [];
  const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant({ accountId, clientId: params.client_id });
  const granted = known.has(params.client_id) ? scopes : firstScopes;
  known.add(params.client_id);
  grant.addOIDCScope(asked.join(' '));
  for (const resource of [params.resource ?? []].flat()) {
    grant.addResourceScope(resource, asked.filter((scope) => granted.includes(scope)).join(' '));
    grant.rejectResourceScope(resource, asked.filter((scope) => !granted.includes(scope)).join(' '));
  }
  const outcome = { login: { accountId }, consent: { grantId: await grant.save() } };
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, outcome));
});
provider.on('registration_create.success', (ctx, client) => say({ event: 'registered', client_id: client.clientId }));
provider.on('grant.success', (ctx) => say({ event: 'granted', grant_type: ctx.oidc.params.grant_type, client_id: ctx.oidc.client.clientId }));
provider.on('grant.error', (ctx, error) => say({ event: 'grant_refused', error: error.error, detail: error.error_detail }));
provider.on('authorization.error', (ctx, error) => say({ event: 'authorization_refused', error: error.error, detail: error.error_detail ?? error.error_description }));
provider.on('server_error', (ctx, error) => say({ event: 'failed', error: String(error.stack) }));
server.on('request', provider.callback());
process.stdin.resume().on('end', () => process.exit());
say({ ready: issuer });
