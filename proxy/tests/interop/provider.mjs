// The authorization server of the token tests: npm oidc-provider on loopback, with tokens of every kind the gate takes.
//
// It owns clients, resources, the login without a person (`login_hint` names them) and the exchange of a person's token
// for an agent's. Its keys lie in a folder, so that a second instance can take over with some of them and others; it
// signs with the first of each algorithm. It never listens beyond loopback and keeps nothing but the keys.
//
// usage: node provider.mjs '{"port":0,"folder":DIR,"keys":[{"kid":"a","alg":"ES256"}],"scopes":["read"],"resources":{URI:"ES256","URI":"opaque"}}'
// It ends with its standard input. stdout: {"ready":"http://127.0.0.1:PORT"}, then one line {"event":...} for each refusal.
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { errors, Provider } from 'oidc-provider';

const plan = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** The private key of this id: from its file, or made there. */
async function key({ kid, alg }) {
  const file = join(plan.folder, `${kid}.jwk`);
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  const options = { extractable: true, ...(alg === 'EdDSA' ? { crv: 'Ed25519' } : {}) };
  const { privateKey } = await generateKeyPair(alg, options);
  const jwk = { ...(await exportJWK(privateKey)), alg, kid, use: 'sig' };
  await writeFile(file, JSON.stringify(jwk), { mode: 0o600 });
  return jwk;
}

const server = createServer();
await new Promise((listening) => server.listen(plan.port, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const keys = await Promise.all(plan.keys.map(key));
const scope = plan.scopes.join(' ');
const ttl = 300;
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const machine = { client_secret: 'machine-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope };

/** How tokens for this resource are made. */
function resourceServer(resource) {
  const kind = plan.resources[resource];
  if (kind === undefined) throw new errors.InvalidTarget();
  const common = { scope, audience: resource, accessTokenTTL: ttl };
  return kind === 'opaque'
    ? { ...common, accessTokenFormat: 'opaque' }
    : { ...common, accessTokenFormat: 'jwt', jwt: { sign: { alg: kind } } };
}

const provider = new Provider(issuer, {
  jwks: { keys },
  cookies: { keys: [crypto.randomUUID()] },
  clients: [
    { client_id: 'agent-1', ...machine },
    { client_id: 'agent-dpop', ...machine, dpop_bound_access_tokens: true },
    {
      application_type: 'native',
      client_id: 'assistant-1',
      client_secret: 'machine-secret',
      grant_types: ['authorization_code', 'client_credentials', exchange],
      redirect_uris: ['http://127.0.0.1/callback'],
      scope: `openid offline_access ${scope}`,
    },
    { client_id: 'gateway', client_secret: 'gateway-secret', grant_types: [exchange], redirect_uris: [], response_types: [], scope },
    {
      application_type: 'native',
      client_id: 'desktop',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://127.0.0.1/callback'],
      scope: `openid offline_access ${scope}`,
      token_endpoint_auth_method: 'none',
    },
  ],
  // The signature of ID tokens, which nobody reads here, must be one of the keys there are.
  clientDefaults: { id_token_signed_response_alg: keys[0].alg },
  enabledJWA: { idTokenSigningAlgValues: [keys[0].alg] },
  scopes: ['openid', 'offline_access', ...plan.scopes],
  claims: { openid: ['sub'] },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  extraTokenClaims: async (ctx, token) => token.extra,
  rotateRefreshToken: true,
  pkce: { required: () => true },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async (ctx, client) => client.clientId === 'gateway' },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (ctx, client, oneOf) => oneOf,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (ctx, resource) => resourceServer(resource),
    },
  },
  ttl: { AccessToken: ttl, ClientCredentials: ttl, Grant: 3600, IdToken: ttl, Interaction: 600, RefreshToken: 3600, Session: 3600 },
});

// RFC 8693: the client that exchanges a person's token acts for that person. The answer is the person's token with the
// client in `act`, beside whoever acted before; or, when asked for in `form`, the client's own with the person in a claim.
const publicKeys = createLocalJWKSet({ keys: keys.map(({ d, p, q, dp, dq, qi, ...open }) => open) });
provider.registerGrantType(
  exchange,
  async (ctx) => {
    const { client, params } = ctx.oidc;
    const { payload } = await jwtVerify(params.subject_token, publicKeys, { issuer });
    const common = { client, scope: params.scope ?? scope };
    const accountId = payload.sub;
    // A token that is looked up, not read, is active for as long as its grant is there.
    const grant = new provider.Grant({ accountId, clientId: client.clientId });
    grant.addResourceScope(params.resource, scope);
    const grantId = await grant.save();
    const token =
      params.form === 'human_claim'
        ? new provider.ClientCredentials(common)
        : new provider.AccessToken({ ...common, accountId, grantId, gty: 'token_exchange' });
    token.resourceServer = new provider.ResourceServer(params.resource, resourceServer(params.resource));
    token.extra =
      params.form === 'human_claim'
        ? { initiator: accountId }
        : { act: { sub: client.clientId, ...(payload.act ? { act: payload.act } : {}) } };
    const issued = await token.save();
    ctx.body = {
      access_token: issued,
      expires_in: token.expiration,
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      scope: token.scope,
      token_type: 'Bearer',
    };
  },
  ['form', 'resource', 'scope', 'subject_token', 'subject_token_type'],
);

// Login and consent in one step: there is no person to ask.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const accountId = params.login_hint;
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, params.scope);
  const outcome = { login: { accountId }, consent: { grantId: await grant.save() } };
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, outcome));
});
for (const event of ['authorization.error', 'grant.error', 'introspection.error', 'revocation.error']) {
  provider.on(event, (ctx, error) => say({ event, error: error.error, detail: error.error_detail ?? error.error_description }));
}
provider.on('server_error', (ctx, error) => say({ event: 'failed', error: String(error.stack) }));
server.on('request', provider.callback());
process.stdin.resume().on('end', () => process.exit());
say({ ready: issuer });
