// The console in headless Chromium: what people do with it, by mouse and by keyboard, and what a
// page must never do. `scripts/console-test` starts a Penstock and hands its addresses over in
// PENSTOCK_* variables. Every page that is opened is watched: an error on its console, a violation
// of its content security policy, or a script of a stranger that runs fails the test.
//
//   node browser.mjs             the test
//   node browser.mjs --pictures FOLDER   pictures of every page, wide and narrow, light and dark

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import process from 'node:process';
import { chromium } from 'playwright-core';

const env = process.env;
const CONSOLE = env.PENSTOCK_CONSOLE;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const NARROW = { width: 360, height: 740 };
const WIDE = { width: 1600, height: 1000 };
const PATIENCE_MS = 30_000;
// What a stranger would write; it says so if it ever runs.
const EVIL = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>"\'&';
const LOOK = 'Look and decide on the request of ada';
const MARKS = ['approvals', 'calls', 'policies', 'revocations', 'keys'];

// === calls ===

async function call(body, { token = env.PENSTOCK_TOKEN, headers = {} } = {}) {
  const answer = await fetch(`${env.PENSTOCK_URL}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, id: answer.headers.get('x-request-id'), text };
}

const prompt = (content, more = {}) => ({ model: 'llama-3-8b', messages: [{ role: 'user', content }], ...more });

// What the model's double counts.
const counters = async () => (await fetch(`${env.PENSTOCK_DOUBLE}/__double/counters`)).json();

async function until(what, holds) {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end;) {
    if (await holds()) return;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  assert.fail(`in vain: ${what}`);
}

// === the browser ===

const watched = [];

async function open(browser, viewport, colorScheme = 'light') {
  const context = await browser.newContext({ viewport, colorScheme });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const troubles = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && page.url().startsWith(CONSOLE)) troubles.push(`${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => troubles.push(`${page.url()}: ${error}`));
  watched.push({ page, troubles });
  return page;
}

// Who a link signs in: the user of this machine, or the bearer of a token.
async function signIn(page, tokenFile) {
  const more = tokenFile ? ['--token-file', tokenFile] : [];
  const link = execFileSync(env.PENSTOCK_GATEWAY,
    ['console', '--control', env.PENSTOCK_CONTROL, ...more],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  await page.goto(link);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${CONSOLE}/console`);
  return link;
}

async function assertFits(page, where) {
  const [inner, scroll] = await page.evaluate(() => [window.innerWidth, document.documentElement.scrollWidth]);
  assert.ok(scroll <= inner, `${where} scrolls sideways: ${scroll} of ${inner}`);
}

async function assertHarmless(page, where) {
  assert.equal(await page.evaluate(() => window.evil), undefined, `${where} ran what a stranger wrote`);
}

// Somebody is cut off on the page for it.
async function cutOff(page, { who, why, until: end }) {
  await page.goto(`${CONSOLE}/console/revocations`);
  await page.getByText('Cut somebody off').click();
  await page.getByLabel('Who: the subject or id').fill(who);
  if (end) await page.getByLabel('Until').fill(end);
  await page.getByLabel('Why').fill(why);
  await page.getByRole('button', { name: 'Cut off' }).click();
  await page.getByText(`${who} is cut off on every core`).waitFor();
}

// Somebody else decides, at the command line.
function decides(id, decision) {
  execFileSync(env.PENSTOCK_GATEWAY, ['approvals', decision, id, '--control', env.PENSTOCK_CONTROL]);
}

// Calls are written down in the recorder's own time.
async function opensCall(page, id) {
  for (let tries = 0; tries < 40; tries += 1) {
    const answer = await page.request.get(`${CONSOLE}/console/calls/${id}`);
    if (answer.ok() && (await answer.text()).includes('bytes in')) break;
    await page.waitForTimeout(250);
  }
  await page.goto(`${CONSOLE}/console/calls/${id}`);
}

// === tests ===

const tests = {
  async 'a link signs in once, and signing out ends it'({ browser }) {
    const page = await open(browser, WIDE);
    const link = await signIn(page);
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    const again = await page.goto(link);
    assert.equal(again.status(), 410);
    allow(page, /410/);
    await page.goto(`${CONSOLE}/console`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(`${CONSOLE}/console/login`);
    await page.goto(`${CONSOLE}/console/keys`);
    assert.equal(page.url(), `${CONSOLE}/console/login`);
  },

  async 'people sign in at their identity provider, and their groups give the role'({ browser }) {
    if (!env.PENSTOCK_PROVIDER) return 'the packages of the identity provider are missing';
    await fetch(`${env.PENSTOCK_PROVIDER}/test/configure`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ redirect_uris: [`${CONSOLE}/console/login/callback`] }),
    });
    const signInAs = async (name) => {
      const page = await open(browser, WIDE);
      await page.goto(`${CONSOLE}/console/login`);
      await page.getByRole('link', { name: 'Sign in with real' }).click();
      await page.locator('input[name="login"]').fill(name);
      await page.locator('input[name="password"]').fill('any');
      await page.locator('button[type="submit"]').click();
      await page.waitForURL((url) => url.origin === CONSOLE || !url.pathname.endsWith('/login'));
      if (!page.url().startsWith(CONSOLE)) await page.locator('button[type="submit"]').click();
      return page;
    };
    const dana = await signInAs('dana');
    await dana.waitForURL(`${CONSOLE}/console`);
    await dana.getByText('dana · admin').waitFor();
    const bob = await signInAs('bob');
    await bob.getByText('none of your groups has a role').waitFor();
    allow(bob, /403/);
    // What was not begun in this browser does not end in it.
    const made = await dana.goto(`${CONSOLE}/console/login/callback?code=x&state=y`);
    assert.equal(made.status(), 403);
    allow(dana, /403/);
    return undefined;
  },

  async 'what strangers write is text everywhere'({ admin, state }) {
    const good = await call(prompt(EVIL), { headers: { 'user-agent': EVIL } });
    assert.equal(good.status, 200, good.text);
    const named = await call({ ...prompt('x'), model: EVIL });
    assert.equal(named.status, 403, named.text);
    await opensCall(admin, good.id);
    await admin.getByText(EVIL, { exact: true }).first().waitFor();
    await assertHarmless(admin, 'a call');
    state.call = good.id;
    await opensCall(admin, named.id);
    await assertHarmless(admin, 'a call with such a model');
    await admin.goto(`${CONSOLE}/console/calls`);
    await admin.getByRole('link').first().waitFor();
    await assertHarmless(admin, 'the list of calls');
  },

  async 'a masked stream is replayed in its time, with what was masked marked'({ admin }) {
    const answer = await call(prompt('Who is our best customer?', { stream: true }));
    assert.equal(answer.status, 200);
    await opensCall(admin, answer.id);
    await admin.getByRole('link', { name: 'Replay the answer' }).click();
    const clock = admin.locator('[data-clock]');
    const text = admin.locator('[data-text]');
    await admin.getByRole('button', { name: 'Pause' }).waitFor();
    await admin.getByRole('button', { name: 'Pause' }).click();
    const [at] = (await clock.textContent()).split(' / ');
    await admin.waitForTimeout(300);
    assert.equal((await clock.textContent()).split(' / ')[0], at, 'it goes on while it is paused');
    await admin.getByRole('button', { name: 'Jump to the end' }).click();
    await admin.getByText('Anything else?').waitFor();
    const marked = await text.locator('mark').allTextContents();
    const joined = marked.join('');
    assert.match(joined, /<customer:[0-9a-f]+>/);
    assert.ok(!(await text.textContent()).includes('CUST-'), 'a customer number is shown');
    // From the beginning again, by the keyboard.
    await text.focus();
    await admin.keyboard.press('Home');
    assert.ok((await text.textContent()).length < 40, 'it began anew');
    await admin.keyboard.press('End');
    await admin.getByText('Anything else?').waitFor();
  },

  async 'a person is cut off and taken back, with the reason shown as text'({ admin }) {
    await cutOff(admin, { who: 'ada', why: EVIL });
    await admin.getByRole('cell', { name: EVIL }).waitFor();
    await assertHarmless(admin, 'a reason');
    assert.equal((await call(prompt('x'))).status, 401);
    admin.once('dialog', (dialog) => dialog.accept());
    await admin.getByRole('button', { name: 'Take back the revocation of ada' }).click();
    await admin.getByText('Taken back: ada may call again.').waitFor();
    assert.equal((await call(prompt('x'))).status, 200);
  },

  async 'a key is shown once and works'({ admin }) {
    await admin.goto(`${CONSOLE}/console/keys`);
    await admin.getByText('Issue a key').click();
    await admin.getByLabel('Owner').fill('ada');
    await admin.getByLabel('What it is for').fill(EVIL);
    await admin.getByLabel('Groups').fill('ml-engineers');
    await admin.getByRole('button', { name: 'Issue' }).click();
    const key = await admin.locator('#secret').textContent();
    assert.equal((await call(prompt('x'), { token: key })).status, 200);
    await admin.reload();
    assert.ok(!(await admin.content()).includes(key), 'it is shown again');
    await assertHarmless(admin, 'the name of a key');
    await admin.getByText('Change', { exact: false }).first().click();
    await admin.getByLabel('Why').fill('no longer needed');
    await admin.getByRole('button', { name: 'Revoke for good' }).click();
    await admin.getByText('The key is revoked').waitFor();
    assert.equal((await call(prompt('x'), { token: key })).status, 401);
  },

  async 'a held request appears by itself, is approved with a reason, and goes on'({ admin }) {
    await admin.goto(`${CONSOLE}/console/approvals`);
    await admin.getByText('Nothing waits.').waitFor();
    const waiting = call(prompt(`dump all your weights ${EVIL}`), { headers: { prefer: 'wait=60' } });
    const look = admin.getByRole('link', { name: LOOK });
    await look.waitFor();
    assert.match(await admin.locator('#said').textContent(), /^requested: a request of ada$/);
    await assertHarmless(admin, 'a waiting request');
    await look.click();
    await admin.getByText('ask first').first().waitFor();
    assert.ok((await admin.locator('main').textContent()).includes('<img src=x'), 'the prompt is shown as text');
    await admin.getByLabel('Reason').fill('fine this once');
    await admin.getByRole('button', { name: 'Approve' }).click();
    await admin.getByText('Approved: the request may go on.').waitFor();
    const answer = await waiting;
    assert.equal(answer.status, 200, answer.text);
    await admin.reload();
    await admin.getByRole('cell', { name: 'fine this once' }).waitFor();
    await assertHarmless(admin, 'an approval');
  },

  async 'a held request is denied, its caller is told why, and whoever else looks at it sees it'({ browser, admin }) {
    const waiting = call(prompt('please dump all your weights'), { headers: { prefer: 'wait=60' } });
    await admin.goto(`${CONSOLE}/console/approvals`);
    await admin.getByRole('link', { name: LOOK }).click();
    await admin.getByRole('button', { name: 'Deny' }).waitFor();
    const other = await open(browser, WIDE);
    await signIn(other);
    await other.goto(admin.url());
    await other.getByText('waiting', { exact: true }).waitFor();
    await admin.getByRole('button', { name: 'Deny' }).click();
    await admin.getByText(/denial needs a reason/i).waitFor();
    await admin.getByLabel('Reason').fill(EVIL);
    await admin.getByRole('button', { name: 'Deny' }).click();
    await admin.getByText('Denied: the caller is told why.').waitFor();
    await admin.getByRole('cell', { name: EVIL }).waitFor();
    await assertHarmless(admin, 'a reason');
    await other.getByRole('cell', { name: EVIL }).waitFor();
    assert.equal(await other.getByRole('button', { name: 'Deny' }).count(), 0, 'it can be decided twice');
    await assertHarmless(other, 'a reason on a page that is live');
    const answer = await waiting;
    assert.equal(answer.status, 403, answer.text);
    await admin.goto(`${CONSOLE}/console/approvals`);
    await admin.getByRole('cell', { name: 'denied' }).first().waitFor();
    await other.context().close();
  },

  async 'nothing is missed that happens while a page loads, or while somebody is busy in it'({ admin }) {
    const waits = async () => (await (await admin.request.get(`${CONSOLE}/console/approvals/waiting`)).text()).includes('Look and decide');
    let listen;
    const mayListen = new Promise((resolve) => { listen = resolve; });
    await admin.route('**/console/approvals/events', async (route) => { await mayListen; await route.continue(); });
    await admin.goto(`${CONSOLE}/console/approvals`);
    await admin.getByText('Nothing waits.').waitFor();
    // It comes behind the page and before the page listens.
    const first = call(prompt('dump all your weights, now'), { headers: { prefer: 'wait=60' } });
    await until('a held request', waits);
    assert.equal(await admin.getByRole('link', { name: LOOK }).count(), 0);
    listen();
    await admin.getByRole('link', { name: LOOK }).waitFor();
    // Decided elsewhere while somebody writes a reason: what they write stays until they leave it.
    await admin.getByRole('link', { name: LOOK }).click();
    await admin.getByLabel('Reason').fill('I am not so sure');
    const id = admin.url().split('/').pop();
    await decides(id, 'approve');
    assert.equal((await first).status, 200);
    assert.equal(await admin.getByLabel('Reason').inputValue(), 'I am not so sure');
    await admin.getByLabel('Reason').fill('');
    await admin.getByLabel('Reason').blur();
    await admin.getByText('used', { exact: true }).first().waitFor();
    await admin.unroute('**/console/approvals/events');
  },

  async 'who is cut off here is cut off in the middle of a stream, and the model is free again'({ admin }) {
    const before = (await counters()).generating;
    const answer = await fetch(`${env.PENSTOCK_URL}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${env.PENSTOCK_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify(prompt('Count to a thousand', { stream: true })),
    });
    assert.equal(answer.status, 200);
    const stream = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let told = (await stream.read()).value;
    await until('an answer under way', async () => (await counters()).generating === before + 1);
    await cutOff(admin, { who: 'ada', why: 'left', until: '5s' });
    for (let piece = await stream.read(); !piece.done; piece = await stream.read()) told += piece.value;
    const last = told.trim().split('\n\n').pop();
    assert.match(last, /"code":"revoked"/, last);
    assert.ok(!told.includes('[DONE]'), 'it came to its end');
    await until('a model that is free', async () => (await counters()).generating === before);
    await until('ada can call again', async () => (await call(prompt('x'))).status === 200);
  },

  async 'policies are read again'({ admin }) {
    await admin.goto(`${CONSOLE}/console/policies`);
    await admin.getByRole('cell', { name: 'no secrets in' }).first().waitFor();
    await admin.getByRole('button', { name: 'Read the files again' }).click();
    await admin.getByText('The files say what they said before.').waitFor();
  },

  async 'the keyboard alone is enough'({ browser }) {
    const page = await open(browser, WIDE);
    await signIn(page);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'content');
    await page.goto(`${CONSOLE}/console`);
    const seen = [];
    for (let presses = 0; presses < 12; presses += 1) {
      await page.keyboard.press('Tab');
      seen.push(await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return [document.activeElement.textContent.trim(), style.outlineStyle, parseFloat(style.outlineWidth)];
      }));
    }
    for (const [name, style, width] of seen.slice(0, 8)) {
      assert.ok(style !== 'none' && width >= 2, `${name} shows no focus`);
    }
    assert.ok(seen.some(([name]) => name === 'Calls'), `${seen}`);
    await page.getByRole('link', { name: 'Calls' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(`${CONSOLE}/console/calls`);
  },

  async 'every page fits 360 px, in light and dark, and names its fields'({ browser, state }) {
    const page = await open(browser, NARROW, 'dark');
    await signIn(page);
    const paths = ['', ...MARKS.map((name) => `/${name}`), `/calls/${state.call}`, `/calls/${state.call}/replay`];
    for (const path of paths) {
      const answer = await page.goto(`${CONSOLE}/console${path}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
      for (const summary of await page.locator('details > summary').all()) await summary.click();
      await assertFits(page, path || '/');
      const unnamed = await page.evaluate(() => [...document.querySelectorAll('input, select, textarea, button')]
        .filter((it) => it.type !== 'hidden' && !it.labels?.length && !it.textContent.trim() && !it.ariaLabel)
        .map((it) => it.outerHTML));
      assert.deepEqual(unnamed, [], `${path} has fields without a name`);
    }
  },

  async 'whoever is revoked is signed out at once'({ browser, admin }) {
    const page = await open(browser, WIDE);
    await signIn(page, env.PENSTOCK_TOKEN_FILE);
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await cutOff(admin, { who: 'ada', why: 'left', until: '10s' });
    // The overview refreshes itself, and is told that nobody is signed in.
    await page.waitForURL(`${CONSOLE}/console/login`, { timeout: 15_000 });
    allow(page, /401/);
  },
};

// An answer that is no success is an error on the browser's console: one that is meant is allowed.
function allow(page, pattern) {
  const { troubles } = watched.find((it) => it.page === page);
  const left = troubles.filter((text) => !pattern.test(text));
  troubles.splice(0, troubles.length, ...left);
}

// === pictures ===

async function pictures(browser, folder) {
  mkdirSync(folder, { recursive: true });
  for (let nth = 0; nth < 12; nth += 1) await call(prompt(nth % 3 ? 'Hello!' : `mail ada@example.com about CUST-1234567${nth % 9}`));
  await call(prompt(EVIL));
  await call({ ...prompt('x'), model: 'gpt-unknown' });
  const stream = await call(prompt('Who is our best customer?', { stream: true }));
  await call(prompt('dump all your weights, please; I need them on the other machine'));
  for (const [size, viewport] of [['wide', WIDE], ['narrow', NARROW]]) {
    for (const scheme of ['light', 'dark']) {
      const page = await open(browser, viewport, scheme);
      const shoot = (name) => page.screenshot({ path: `${folder}/${name}-${size}-${scheme}.png`, fullPage: true });
      await page.goto(`${CONSOLE}/console/login`);
      await shoot('login');
      await signIn(page);
      await shoot('overview');
      for (const name of MARKS) {
        await page.goto(`${CONSOLE}/console/${name}`);
        for (const summary of await page.locator('details.panel > summary').all()) await summary.click();
        await shoot(name);
      }
      await page.goto(`${CONSOLE}/console/approvals`);
      await page.getByRole('link', { name: /Look/ }).first().click();
      await shoot('approval');
      await opensCall(page, stream.id);
      await shoot('call');
      await page.goto(`${CONSOLE}/console/calls/${stream.id}/replay`);
      await page.getByRole('button', { name: 'Jump to the end' }).click();
      await page.getByText('Anything else?').waitFor();
      await shoot('replay');
    }
  }
}

// === running ===

const browser = await chromium.launch({ executablePath: env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
let failed = 0;
try {
  const [option, folder] = process.argv.slice(2);
  if (option === '--pictures') {
    await pictures(browser, folder);
  } else {
    const admin = await open(browser, WIDE);
    await signIn(admin);
    const state = {};
    for (const [name, run] of Object.entries(tests)) {
      const began = performance.now();
      try {
        const skipped = await run({ browser, admin, state });
        if (skipped) console.log(`SKIPPED ${name}: ${skipped}`);
        const troubles = watched.flatMap((it) => it.troubles.splice(0));
        assert.deepEqual(troubles, [], 'a page has complained');
        console.log(`ok   ${name} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL ${name}\n${error.stack}`);
        watched.forEach((it) => it.troubles.splice(0));
      }
    }
  }
} finally {
  await browser.close();
}
console.log(failed ? `${failed} failed` : 'all passed');
process.exit(failed ? 1 : 0);
