// What the provider has issued: one store for all providers that are made during a run, so that
// changing keys or clients loses nothing. The shape is oidc-provider's adapter.
const records = new Map();
const byUid = new Map();
const byGrant = new Map();

export class Store {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    const expires = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
    records.set(key, { payload, expires });
    if (payload.uid) byUid.set(this.key(payload.uid), id);
    if (payload.grantId) {
      const keys = byGrant.get(payload.grantId) ?? new Set();
      byGrant.set(payload.grantId, keys.add(key));
    }
  }

  async find(id) {
    const found = records.get(this.key(id));
    return found && found.expires > Date.now() ? found.payload : undefined;
  }

  async findByUid(uid) {
    return this.find(byUid.get(this.key(uid)));
  }

  async findByUserCode() {
    return undefined;
  }

  async consume(id) {
    const found = records.get(this.key(id));
    if (found) found.payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    records.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const key of byGrant.get(grantId) ?? []) records.delete(key);
    byGrant.delete(grantId);
  }
}
