// As much of a browser as signing in at the provider's own pages needs: cookies with their paths,
// redirects, and forms that are filled in and posted.
const STEPS_MAX = 20;

export class Browser {
  constructor(origin) {
    this.origin = origin;
    this.cookies = new Map();
  }

  async fetch(url, form) {
    const { pathname } = new URL(url);
    const cookies = [...this.cookies.values()].filter(({ path }) => pathname.startsWith(path));
    const response = await fetch(url, {
      method: form ? 'POST' : 'GET',
      redirect: 'manual',
      headers: { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join('; ') },
      body: form && new URLSearchParams(form),
    });
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split('; ');
      const name = pair.slice(0, pair.indexOf('='));
      const value = pair.slice(pair.indexOf('=') + 1);
      const path = attributes.find((it) => it.startsWith('path='))?.slice(5) ?? '/';
      if (value) this.cookies.set(`${name} ${path}`, { name, value, path });
      else this.cookies.delete(`${name} ${path}`);
    }
    return response;
  }

  // Follows redirects and fills in the provider's forms until it sends us back to the client; where to.
  async authorize(url, login) {
    let response = await this.fetch(url);
    for (let step = 0; step < STEPS_MAX; step += 1) {
      const location = response.headers.get('location');
      if (location) {
        const next = new URL(location, this.origin);
        if (next.pathname === '/test/callback') return next;
        response = await this.fetch(next);
      } else {
        const page = await response.text();
        const action = page.match(/<form[^>]* action="([^"]+)"/)?.[1];
        if (!action) throw new Error(`no form: ${response.status} ${page.slice(0, 300)}`);
        const isLogin = page.includes('name="login"');
        const form = isLogin ? { prompt: 'login', login, password: 'any' } : { prompt: 'consent' };
        response = await this.fetch(new URL(action, this.origin), form);
      }
    }
    throw new Error('the provider goes round in circles');
  }

  // Ends the session and says yes to every question about it.
  async endSession(url) {
    const page = await (await this.fetch(url)).text();
    const action = page.match(/action="([^"]+)"/)?.[1];
    const xsrf = page.match(/name="xsrf" value="([^"]+)"/)?.[1];
    if (!action || !xsrf) throw new Error(`no form: ${page.slice(0, 300)}`);
    const response = await this.fetch(new URL(action, this.origin), { xsrf, logout: 'yes' });
    if (response.status >= 400) throw new Error(`not signed out: ${response.status}`);
  }
}
