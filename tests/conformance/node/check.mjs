// npm cloudflare 7 against the emulator.

import Cloudflare from "cloudflare";

const env = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};
const baseURL = env("CLOUDFLARE_BASE_URL");
const account = { account_id: env("EMULATOR_ACCOUNT") };
const zone = { zone_id: env("EMULATOR_ZONE") };
const other = { zone_id: env("EMULATOR_OTHER_ZONE") };
const zonePath = `zones/${zone.zone_id}`;
const key = { apiEmail: "someone@example.com", apiKey: "c2547eb745079dac9320b638f5e225cf483cc" };

async function control(method, path, body) {
  const answer = await fetch(`${env("EMULATOR_CONTROL")}/${path}`, { method, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

// Without the nulls the client would take credentials from its environment.
const sdk = (credential) =>
  new Cloudflare({ baseURL, apiToken: null, apiKey: null, apiEmail: null, maxRetries: 0, timeout: 10_000, ...credential });
const entry = (hostname, client_certificate_forwarding = true, china_network = false) =>
  ({ hostname, client_certificate_forwarding, china_network });
const listed = (page) => (page.result ?? []).map((item) =>
  entry(item.hostname, item.client_certificate_forwarding, item.china_network));

const settings = (client) => client.zeroTrust.access.certificates.settings;
const read = async (client, scope) => listed(await settings(client).get(scope));
const write = async (client, scope, entries) => listed(await settings(client).update({ ...scope, settings: entries }));

const kinds = {
  400: Cloudflare.BadRequestError, 403: Cloudflare.PermissionDeniedError, 404: Cloudflare.NotFoundError,
  409: Cloudflare.ConflictError, 429: Cloudflare.RateLimitError, 520: Cloudflare.InternalServerError,
};

let failed = 0;
function check(semantics, what, seen, wanted) {
  const [is, should] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (is === should) return console.log(`ok    ${semantics.padEnd(8)} ${what}`);
  failed += 1;
  console.log(`FAIL  ${semantics.padEnd(8)} ${what}: wanted ${should}, saw ${is}`);
}

async function scenario(semantics) {
  const merge = semantics === "merge";
  const expect = (what, seen, wanted) => check(semantics, what, seen, wanted);
  const refused = async (what, call, status, code) => {
    let seen;
    try {
      seen = `no refusal: ${JSON.stringify(await call())}`;
    } catch (error) {
      if (!(error instanceof Cloudflare.APIError)) throw error;
      const typed = kinds[error.status] && error instanceof kinds[error.status];
      seen = typed ? [error.status, error.errors?.[0]?.code ?? null] : `${error.constructor.name} for ${error.status}`;
    }
    expect(code === null ? `${what}: ${status}` : `${what}: ${status} with ${code}`, seen, [status, code]);
  };
  const client = sdk({ apiToken: env("EMULATOR_TOKEN") });

  await control("DELETE", "faults");
  await control("DELETE", "switches");
  await control("DELETE", `entries/accounts/${account.account_id}`);
  await control("PUT", "switches", { semantics });

  const [a, b, c, d] =
    [entry("a.example.com"), entry("b.example.com", false, true), entry("c.example.com"), entry("d.example.org")];
  expect("an untouched zone reads as empty", await read(client, zone), []);
  expect("a zone's write is answered with its list", await write(client, zone, [a, b]), [a, b]);
  expect("a read shows each flag as it was written", await read(client, zone), [a, b]);
  const puts = (await control("GET", "ledger")).filter((exchange) => exchange.method === "PUT");
  expect("the write had the documented form", JSON.parse(puts.at(-1).body), { settings: [a, b] });
  await write(client, zone, [c]);
  expect(`another write ${merge ? "keeps" : "drops"} what it does not name`, await read(client, zone), merge ? [a, b, c] : [c]);
  await write(client, account, [d]);
  expect(`an account's write ${merge ? "keeps" : "drops"} the zones' entries`, await read(client, account), merge ? [a, b, c, d] : [d]);
  expect("a zone reads none of another's entries", await read(client, zone), merge ? [a, b, c] : []);
  expect("the other zone reads what the account wrote", await read(client, other), [d]);
  await write(client, other, [entry("d.example.org", false, false)]);
  expect("both flags off remove an entry", await read(client, other), []);
  await control("PUT", `entries/zones/${other.zone_id}`, [entry("theirs.example.org")]);
  expect("somebody else's edit is read", await read(client, other), [entry("theirs.example.org")]);
  await control("DELETE", `entries/accounts/${account.account_id}`);
  for (const form of ["null", "absent"]) {
    await control("PUT", "switches", { empty_result: form });
    expect(`an empty list may be ${form}`, await read(client, zone), []);
  }
  await control("PUT", "switches", { empty_result: "array" });

  await refused("an unknown token", () => read(sdk({ apiToken: "no-such-token" }), zone), 403, 9109);
  await refused("a token without rights", () => read(sdk({ apiToken: "token-without-rights" }), zone), 403, 10000);
  const reader = sdk({ apiToken: "token-that-reads" });
  expect("a token that may read reads", await read(reader, zone), []);
  await refused("a token that may only read, writing", () => write(reader, zone, [a]), 403, 0);
  expect("an e-mail address with its key writes", await write(sdk(key), zone, [a]), [a]);
  await refused("an unknown key", () => read(sdk({ ...key, apiKey: "0".repeat(37) }), zone), 403, 9103);
  expect("a token can be verified", (await client.user.tokens.verify()).status, "active");
  await refused("an unknown zone", () => read(client, { zone_id: "f".repeat(32) }), 404, 7003);
  await refused("a hostname of another zone", () => write(client, zone, [c, d]), 400, 12036);
  expect("such a write is refused whole", await read(client, zone), [a]);
  await refused("an unknown member", () => write(client, zone, [{ ...c, owner: "me" }]), 400, 12130);

  await control("PUT", `switches/${zonePath}`, { apply_delay_ms: 2000 });
  await write(client, zone, [c]);
  await refused("a write while another is being applied", () => write(client, zone, [c]), 409, 12132);
  expect("it is not shown until then", await read(client, zone), [a]);
  const wanted = merge ? [a, c] : [c];
  const until = Date.now() + 10_000;
  let seen;
  do {
    await new Promise((resolve) => setTimeout(resolve, 50));
    seen = await read(client, zone);
  } while (JSON.stringify(seen) !== JSON.stringify(wanted) && Date.now() < until);
  expect("and then it is", seen, wanted);
  await control("DELETE", `switches/${zonePath}`);

  await control("POST", "faults", { effect: { kind: "rate_limited", retry_after: "300" } });
  await refused("too many requests", () => read(client, zone), 429, 971);
  await control("POST", "faults", { effect: { kind: "html_520" } });
  await refused("trouble at the edge, in HTML", () => read(client, zone), 520, null);
}

await control("POST", "credentials", { token: "token-without-rights" });
await control("POST", "credentials", { token: "token-that-reads", rights: { [zonePath]: "read" } });
await control("POST", "credentials", { email: key.apiEmail, key: key.apiKey, everywhere: "write" });
await control("POST", "scopes", { zone: zone.zone_id, domain: "example.com", account: account.account_id, china_network: true });
for (const semantics of ["merge", "replace"]) await scenario(semantics);
console.log("done");
process.exitCode = failed ? 1 : 0;
