"""What every client is put through; how a client is called comes in as an adapter (sdk5.py, sdk2.py)."""

import json
import os
import sys
import time
import urllib.request

BASE_URL = os.environ["CLOUDFLARE_BASE_URL"]
CONTROL = os.environ["EMULATOR_CONTROL"]
TOKEN = os.environ["EMULATOR_TOKEN"]
ACCOUNT = os.environ["EMULATOR_ACCOUNT"]
ZONE = os.environ["EMULATOR_ZONE"]
OTHER_ZONE = os.environ["EMULATOR_OTHER_ZONE"]
KEY = "c2547eb745079dac9320b638f5e225cf483cc"
EMAIL = "someone@example.com"

failed = 0


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{CONTROL}/{path}", data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def entry(hostname, forwarding=True, china=False):
    return {"hostname": hostname, "client_certificate_forwarding": forwarding, "china_network": china}


def check(semantics, what, seen, wanted):
    global failed
    if seen == wanted:
        print(f"ok    {semantics:8} {what}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {semantics:8} {what}: wanted {wanted!r}, saw {seen!r}", flush=True)


def scenario(adapter, semantics):
    """`adapter(**credential)` makes a client with read(scope), write(scope, entries) and refusal(call)."""
    merge = semantics == "merge"
    zone, other, account = ("zone", ZONE), ("zone", OTHER_ZONE), ("account", ACCOUNT)
    client = adapter(token=TOKEN)

    def expect(what, seen, wanted):
        check(semantics, what, seen, wanted)

    control("DELETE", "faults")
    control("DELETE", "switches")
    control("DELETE", f"entries/accounts/{ACCOUNT}")
    control("PUT", "switches", {"semantics": semantics})

    a, b, c, d = (entry("a.example.com"), entry("b.example.com", False, False) | {"china_network": True},
                  entry("c.example.com"), entry("d.example.org"))
    expect("an untouched zone reads as empty", client.read(zone), [])
    expect("a zone's write is answered with its list", client.write(zone, [a, b]), [a, b])
    expect("a read shows each flag as it was written", client.read(zone), [a, b])
    last = [exchange for exchange in control("GET", "ledger") if exchange["method"] == "PUT"][-1]
    expect("the write had the documented form", last["json"], {"settings": [a, b]})
    expect(f"another write {'keeps' if merge else 'drops'} what it does not name", (client.write(zone, [c]), client.read(zone))[1],
           [a, b, c] if merge else [c])
    client.write(account, [d])
    expect(f"an account's write {'keeps' if merge else 'drops'} the zones' entries", client.read(account),
           [a, b, c, d] if merge else [d])
    expect("a zone reads none of another's entries", client.read(zone), [a, b, c] if merge else [])
    expect("the other zone reads what the account wrote", client.read(other), [d])
    client.write(other, [entry("d.example.org", False, False)])
    expect("both flags off remove an entry", client.read(other), [])
    control("PUT", f"entries/zones/{OTHER_ZONE}", [entry("theirs.example.org")])
    expect("somebody else's edit is read", client.read(other), [entry("theirs.example.org")])
    control("DELETE", f"entries/accounts/{ACCOUNT}")
    for form in ["null", "absent"] if client.reads_absent else ["null"]:
        control("PUT", "switches", {"empty_result": form})
        expect(f"an empty list may be {form}", client.read(zone), [])
    control("PUT", "switches", {"empty_result": "array"})

    def refused(what, client, call, status, code):
        wanted = (status if client.knows_status else None, code)
        expect(f"{what}: {status} with {code}" if isinstance(code, int) else f"{what}: {status}", client.refusal(call), wanted)

    unknown = adapter(token="no-such-token")
    refused("an unknown token", unknown, lambda: unknown.read(zone), 403, 9109)
    idle = adapter(token="token-without-rights")
    refused("a token without rights", idle, lambda: idle.read(zone), 403, 10000)
    reader = adapter(token="token-that-reads")
    expect("a token that may read reads", reader.read(zone), [])
    refused("a token that may only read, writing", reader, lambda: reader.write(zone, [a]), 403, 0)
    keyed = adapter(email=EMAIL, key=KEY)
    expect("an e-mail address with its key writes", keyed.write(zone, [a]), [a])
    wrong = adapter(email=EMAIL, key="0" * 37)
    refused("an unknown key", wrong, lambda: wrong.read(zone), 403, 9103)
    expect("a token can be verified", client.verify(), "active")
    refused("an unknown zone", client, lambda: client.read(("zone", "f" * 32)), 404, 7003)
    refused("a hostname of another zone", client, lambda: client.write(zone, [c, d]), 400, 12036)
    expect("such a write is refused whole", client.read(zone), [a])
    refused("an unknown member", client, lambda: client.write(zone, [c | {"owner": "me"}]), 400, 12130)

    control("PUT", f"switches/zones/{ZONE}", {"apply_delay_ms": 2000})
    client.write(zone, [c])
    refused("a write while another is being applied", client, lambda: client.write(zone, [c]), 409, 12132)
    expect("it is not shown until then", client.read(zone), [a])
    until, wanted = time.monotonic() + 10, [a, c] if merge else [c]
    while (seen := client.read(zone)) != wanted and time.monotonic() < until:
        time.sleep(0.05)
    expect("and then it is", seen, wanted)
    control("DELETE", f"switches/zones/{ZONE}")

    control("POST", "faults", {"effect": {"kind": "rate_limited", "retry_after": "300"}})
    refused("too many requests", client, lambda: client.read(zone), 429, 971)
    control("POST", "faults", {"effect": {"kind": "html_520"}})
    refused("trouble at the edge, in HTML", client, lambda: client.read(zone), 520, client.code_of_html)


def run(adapter):
    for rights in [{"token": "token-without-rights"},
                   {"token": "token-that-reads", "rights": {f"zones/{ZONE}": "read"}},
                   {"email": EMAIL, "key": KEY, "everywhere": "write"}]:
        control("POST", "credentials", rights)
    control("POST", "scopes", {"zone": ZONE, "domain": "example.com", "account": ACCOUNT, "china_network": True})
    for semantics in ["merge", "replace"]:
        scenario(adapter, semantics)
    print("done", flush=True)
    sys.exit(1 if failed else 0)
