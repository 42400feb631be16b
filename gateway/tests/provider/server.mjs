// A real OpenID Connect provider (npm oidc-provider) for the gateway's tests and for trying things
// out: everything in memory, on loopback, in the clear. Never for use.
//
//   node server.mjs [--port N]     N = 0, the default, takes a free port
//
// When it listens it prints one line of JSON: the issuer, and its clients with their secrets, which
// are made up anew at each start. It ends when its standard input does, if that is a pipe.
//
// Anybody may sign in as any of PEOPLE, with any password. Resources say what a token is like:
// `urn:penstock:jwt` and `urn:penstock:opaque`, both with the audience `penstock`.
//
// For tests, with a JSON body each, besides what a provider serves anyway:
//   POST /test/configure {redirect_uris?, backchannel_logout_uri?}   changes the clients
//   POST /test/rotate    {keep?: bool}           a new signing key, with or without the old ones
//   POST /test/sign-in   {login, resource}       the code flow with PKCE, as a browser does it
//   POST /test/sign-out  {login}                 ends that browser's session at the provider
//   POST /test/revoke    {token}                 revokes a token (RFC 7009), as its client
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import Provider from 'oidc-provider';
import { Browser } from './browser.mjs';
import { Store } from './store.mjs';

const PEOPLE = {
  alice: ['engineers'],
  bob: ['visitors'],
  carol: ['engineers', 'security'],
  dana: ['admins'],
};
const RESOURCES = { 'urn:penstock:jwt': 'jwt', 'urn:penstock:opaque': 'opaque' };
const BODY_BYTES_MAX = 64 * 1024;

const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } });
const secret = () => randomBytes(24).toString('base64url');
const settings = {
  redirect_uris: [],
  backchannel_logout_uri: undefined,
  secrets: { app: secret(), console: secret(), gateway: secret() },
  cookie_key: secret(),
  keys: [newKey()],
};
const browsers = new Map();
let provider;
let handle;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = randomBytes(8).toString('hex');
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
}

function clients(issuer) {
  const { secrets, redirect_uris, backchannel_logout_uri } = settings;
  const logout = backchannel_logout_uri
    ? { backchannel_logout_uri, backchannel_logout_session_required: true } : {};
  return [
    // Gets the tokens that callers of the gateway show.
    { client_id: 'app', client_secret: secrets.app, redirect_uris: [`${issuer}/test/callback`],
      ...logout },
    // Signs people in to the console.
    { client_id: 'console', client_secret: secrets.console,
      redirect_uris: redirect_uris.length ? redirect_uris : [`${issuer}/test/callback`] },
    // Asks about opaque tokens and gets none itself.
    { client_id: 'gateway', client_secret: secrets.gateway, redirect_uris: [], response_types: [],
      grant_types: [] },
  ];
}

function configuration(issuer) {
  return {
    adapter: Store,
    clients: clients(issuer),
    jwks: { keys: settings.keys },
    cookies: { keys: [settings.cookie_key] },
    scopes: ['openid', 'offline_access', 'groups', 'infer'],
    claims: { openid: ['sub'], groups: ['groups'] },
    conformIdTokenClaims: false,
    ttl: { AccessToken: 600, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
    async findAccount(_, sub) {
      const groups = PEOPLE[sub];
      return groups && { accountId: sub, claims: async () => ({ sub, groups }) };
    },
    async extraTokenClaims(_, token) {
      return { groups: PEOPLE[token.accountId] ?? [], ...(token.sid && { sid: token.sid }) };
    },
    // The provider refuses to call special-use addresses; here everything is on loopback.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      revocation: { enabled: true },
      introspection: {
        enabled: true,
        allowedPolicy: async (_, client) => client.clientId === 'gateway',
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: async (_, resource) => ({
          scope: 'infer',
          audience: 'penstock',
          accessTokenTTL: 600,
          accessTokenFormat: RESOURCES[resource] ?? 'opaque',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  };
}

// Made anew at each change: what it has issued is in the store and stays.
function build() {
  provider = new Provider(issuer, configuration(issuer));
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('backchannel.error', (_, error) => console.error(error));
  handle = provider.callback();
}

// The code flow with PKCE (RFC 7636) as a browser goes through it; the tokens.
async function signIn({ login, resource }) {
  const browser = new Browser(issuer);
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    client_id: 'app',
    response_type: 'code',
    redirect_uri: `${issuer}/test/callback`,
    scope: 'openid groups infer',
    resource,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const back = await browser.authorize(`${issuer}/auth?${query}`, login);
  const code = back.searchParams.get('code');
  if (!code) throw new Error(`no code: ${back}`);
  const answer = await asClient('app', '/token', {
    grant_type: 'authorization_code', code, code_verifier: verifier, resource,
    redirect_uri: `${issuer}/test/callback`,
  });
  browsers.set(login, { browser, idToken: answer.id_token });
  return answer;
}

async function signOut({ login }) {
  const { browser, idToken } = browsers.get(login);
  await browser.endSession(`${issuer}/session/end?${new URLSearchParams({ id_token_hint: idToken })}`);
  return {};
}

async function asClient(id, path, parameters) {
  const credentials = Buffer.from(`${id}:${settings.secrets[id]}`).toString('base64');
  const response = await fetch(issuer + path, {
    method: 'POST',
    headers: { authorization: `Basic ${credentials}` },
    body: new URLSearchParams(parameters),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : {};
}

const TESTS = {
  '/test/configure': async ({ redirect_uris, backchannel_logout_uri }) => {
    if (redirect_uris) settings.redirect_uris = redirect_uris;
    if (backchannel_logout_uri) settings.backchannel_logout_uri = backchannel_logout_uri;
    build();
    return {};
  },
  '/test/rotate': async ({ keep = false }) => {
    settings.keys = [newKey(), ...(keep ? settings.keys : [])];
    build();
    return { kid: settings.keys[0].kid };
  },
  '/test/sign-in': signIn,
  '/test/sign-out': signOut,
  '/test/revoke': ({ token }) => asClient('app', '/token/revocation', { token }),
};

async function readBody(request) {
  let body = '';
  for await (const piece of request) {
    body += piece;
    if (body.length > BODY_BYTES_MAX) throw new Error('the body is too large');
  }
  return body ? JSON.parse(body) : {};
}

const server = createServer(async (request, response) => {
  const test = request.method === 'POST' && TESTS[request.url];
  if (!test) return handle(request, response);
  let [status, answer] = [200];
  try {
    answer = await test(await readBody(request));
  } catch (error) {
    [status, answer] = [500, { error: String(error) }];
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  return response.end(JSON.stringify(answer));
});
let issuer;
server.listen(Number(values.port), '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  build();
  console.log(JSON.stringify({ issuer, secrets: settings.secrets, people: PEOPLE }));
});
process.stdin.on('end', () => process.exit(0)).on('error', () => {}).resume();
