// Command check puts cloudflare-go v7 through its paces against the emulator.
//
// It uses the package of the service alone: the root package, which only adds defaults from the environment, pulls in
// every other Cloudflare product and takes seven minutes to build.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/cloudflare/cloudflare-go/v7/option"
	"github.com/cloudflare/cloudflare-go/v7/zero_trust"
)

type entry struct {
	Hostname   string `json:"hostname"`
	Forwarding bool   `json:"client_certificate_forwarding"`
	China      bool   `json:"china_network"`
}

// scope is a zone's or an account's id; the other is empty.
type scope struct{ zone, account string }

// refusal is how a client shows an error: its status and the code in the body.
type refusal struct {
	status int
	code   int64
}

type client struct {
	settings *zero_trust.AccessCertificateSettingService
}

var (
	account   = scope{account: env("EMULATOR_ACCOUNT")}
	zone      = scope{zone: env("EMULATOR_ZONE")}
	other     = scope{zone: env("EMULATOR_OTHER_ZONE")}
	semantics string
	failed    bool
)

// noCode stands for an error whose body has no code.
const noCode = -1

const (
	email = "someone@example.com"
	key   = "c2547eb745079dac9320b638f5e225cf483cc"
)

func env(name string) string {
	value := os.Getenv(name)
	if value == "" {
		panic(name + " is not set")
	}
	return value
}

func sdk(credential ...option.RequestOption) client {
	options := append([]option.RequestOption{
		option.WithBaseURL(env("CLOUDFLARE_BASE_URL")),
		option.WithMaxRetries(0),
		option.WithRequestTimeout(10 * time.Second),
	}, credential...)
	return client{zero_trust.NewZeroTrustService(options...).Access.Certificates.Settings}
}

func listed(settings []zero_trust.CertificateSettings) []entry {
	entries := []entry{}
	for _, item := range settings {
		entries = append(entries, entry{item.Hostname, item.ClientCertificateForwarding, item.ChinaNetwork})
	}
	return entries
}

func (c client) read(where scope) ([]entry, error) {
	var params zero_trust.AccessCertificateSettingGetParams
	params.AccountID.Value, params.AccountID.Present = where.account, where.account != ""
	params.ZoneID.Value, params.ZoneID.Present = where.zone, where.zone != ""
	page, err := c.settings.Get(context.Background(), params)
	if err != nil {
		return nil, err
	}
	return listed(page.Result), nil
}

func (c client) write(where scope, entries []entry, more ...option.RequestOption) ([]entry, error) {
	var params zero_trust.AccessCertificateSettingUpdateParams
	params.AccountID.Value, params.AccountID.Present = where.account, where.account != ""
	params.ZoneID.Value, params.ZoneID.Present = where.zone, where.zone != ""
	params.Settings.Present = true
	for _, item := range entries {
		var setting zero_trust.CertificateSettingsParam
		setting.Hostname.Value, setting.Hostname.Present = item.Hostname, true
		setting.ClientCertificateForwarding.Value, setting.ClientCertificateForwarding.Present = item.Forwarding, true
		setting.ChinaNetwork.Value, setting.ChinaNetwork.Present = item.China, true
		params.Settings.Value = append(params.Settings.Value, setting)
	}
	page, err := c.settings.Update(context.Background(), params, more...)
	if err != nil {
		return nil, err
	}
	return listed(page.Result), nil
}

// control steers the emulator; what it answers is decoded into answer, unless that is nil.
func control(method, path string, body, answer any) {
	text, err := json.Marshal(body)
	check(err)
	if body == nil {
		text = nil
	}
	request, err := http.NewRequest(method, env("EMULATOR_CONTROL")+"/"+path, bytes.NewReader(text))
	check(err)
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		panic(fmt.Sprintf("%s %s: %s", method, path, response.Status))
	}
	if answer != nil {
		check(json.NewDecoder(response.Body).Decode(answer))
	}
}

// check is for what must not go wrong in the driver itself.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(what string, wanted any, seen any, err error) {
	if err == nil && reflect.DeepEqual(seen, wanted) {
		fmt.Printf("ok    %-8s %s\n", semantics, what)
		return
	}
	failed = true
	if err != nil {
		seen = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Printf("FAIL  %-8s %s: wanted %v, saw %v\n", semantics, what, wanted, seen)
}

func refused(what string, status int, code int64, call func() ([]entry, error)) {
	if code == noCode {
		what = fmt.Sprintf("%s: %d", what, status)
	} else {
		what = fmt.Sprintf("%s: %d with %d", what, status, code)
	}
	entries, err := call()
	var typed *zero_trust.Error
	switch {
	case err == nil:
		expect(what, refusal{status, code}, entries, nil)
	case !errors.As(err, &typed):
		expect(what, refusal{status, code}, nil, err)
	default:
		seen := refusal{status: typed.StatusCode, code: noCode}
		if len(typed.Errors) > 0 {
			seen.code = typed.Errors[0].Code
		}
		expect(what, refusal{status, code}, seen, nil)
	}
}

func scenario() {
	merge := semantics == "merge"
	either := func(merged, replaced []entry) []entry {
		if merge {
			return merged
		}
		return replaced
	}
	verb := map[bool]string{true: "keeps", false: "drops"}[merge]
	reads := func(what string, c client, where scope, wanted []entry) {
		seen, err := c.read(where)
		expect(what, wanted, seen, err)
	}
	writes := func(what string, c client, where scope, entries, wanted []entry) {
		seen, err := c.write(where, entries)
		expect(what, wanted, seen, err)
	}
	writing := sdk(option.WithAPIToken(env("EMULATOR_TOKEN")))

	control("DELETE", "faults", nil, nil)
	control("DELETE", "switches", nil, nil)
	control("DELETE", "entries/accounts/"+account.account, nil, nil)
	control("PUT", "switches", map[string]any{"semantics": semantics}, nil)

	a, b := entry{"a.example.com", true, false}, entry{"b.example.com", false, true}
	c, d := entry{"c.example.com", true, false}, entry{"d.example.org", true, false}
	none := []entry{}
	reads("an untouched zone reads as empty", writing, zone, none)
	writes("a zone's write is answered with its list", writing, zone, []entry{a, b}, []entry{a, b})
	reads("a read shows each flag as it was written", writing, zone, []entry{a, b})
	var ledger []struct {
		Method string
		JSON   struct{ Settings []entry }
	}
	control("GET", "ledger", nil, &ledger)
	var last []entry
	for _, exchange := range ledger {
		if exchange.Method == "PUT" {
			last = exchange.JSON.Settings
		}
	}
	expect("the write had the documented form", []entry{a, b}, last, nil)
	_, err := writing.write(zone, []entry{c})
	check(err)
	reads("another write "+verb+" what it does not name", writing, zone, either([]entry{a, b, c}, []entry{c}))
	_, err = writing.write(account, []entry{d})
	check(err)
	reads("an account's write "+verb+" the zones' entries", writing, account, either([]entry{a, b, c, d}, []entry{d}))
	reads("a zone reads none of another's entries", writing, zone, either([]entry{a, b, c}, none))
	reads("the other zone reads what the account wrote", writing, other, []entry{d})
	_, err = writing.write(other, []entry{{d.Hostname, false, false}})
	check(err)
	reads("both flags off remove an entry", writing, other, none)
	theirs := []entry{{"theirs.example.org", true, false}}
	control("PUT", "entries/zones/"+other.zone, theirs, nil)
	reads("somebody else's edit is read", writing, other, theirs)
	control("DELETE", "entries/accounts/"+account.account, nil, nil)
	for _, form := range []string{"null", "absent"} {
		control("PUT", "switches", map[string]any{"empty_result": form}, nil)
		reads("an empty list may be "+form, writing, zone, none)
	}
	control("PUT", "switches", map[string]any{"empty_result": "array"}, nil)

	token := option.WithAPIToken
	refused("an unknown token", 403, 9109, func() ([]entry, error) { return sdk(token("no-such-token")).read(zone) })
	refused("a token without rights", 403, 10000, func() ([]entry, error) { return sdk(token("token-without-rights")).read(zone) })
	reading := sdk(token("token-that-reads"))
	reads("a token that may read reads", reading, zone, none)
	refused("a token that may only read, writing", 403, 0, func() ([]entry, error) { return reading.write(zone, []entry{a}) })
	writes("an e-mail address with its key writes", sdk(option.WithAPIEmail(email), option.WithAPIKey(key)), zone, []entry{a}, []entry{a})
	refused("an unknown key", 403, 9103, func() ([]entry, error) {
		return sdk(option.WithAPIEmail(email), option.WithAPIKey(strings.Repeat("0", 37))).read(zone)
	})
	refused("an unknown zone", 404, 7003, func() ([]entry, error) { return writing.read(scope{zone: strings.Repeat("f", 32)}) })
	refused("a hostname of another zone", 400, 12036, func() ([]entry, error) { return writing.write(zone, []entry{c, d}) })
	reads("such a write is refused whole", writing, zone, []entry{a})
	refused("an unknown member", 400, 12130, func() ([]entry, error) {
		return writing.write(zone, []entry{c}, option.WithJSONSet("settings.0.owner", "me"))
	})

	control("PUT", "switches/zones/"+zone.zone, map[string]any{"apply_delay_ms": 2000}, nil)
	_, err = writing.write(zone, []entry{c})
	check(err)
	refused("a write while another is being applied", 409, 12132, func() ([]entry, error) { return writing.write(zone, []entry{c}) })
	reads("it is not shown until then", writing, zone, []entry{a})
	wanted := either([]entry{a, c}, []entry{c})
	seen, err := writing.read(zone)
	for until := time.Now().Add(10 * time.Second); err == nil && !reflect.DeepEqual(seen, wanted) && time.Now().Before(until); {
		time.Sleep(50 * time.Millisecond)
		seen, err = writing.read(zone)
	}
	expect("and then it is", wanted, seen, err)
	control("DELETE", "switches/zones/"+zone.zone, nil, nil)

	control("POST", "faults", map[string]any{"effect": map[string]any{"kind": "rate_limited", "retry_after": "300"}}, nil)
	refused("too many requests", 429, 971, func() ([]entry, error) { return writing.read(zone) })
	control("POST", "faults", map[string]any{"effect": map[string]any{"kind": "html_520"}}, nil)
	refused("trouble at the edge, in HTML", 520, noCode, func() ([]entry, error) { return writing.read(zone) })
}

func main() {
	control("POST", "credentials", map[string]any{"token": "token-without-rights"}, nil)
	control("POST", "credentials", map[string]any{"token": "token-that-reads", "rights": map[string]any{"zones/" + zone.zone: "read"}}, nil)
	control("POST", "credentials", map[string]any{"email": email, "key": key, "everywhere": "write"}, nil)
	control("POST", "scopes", map[string]any{"zone": zone.zone, "domain": "example.com", "account": account.account, "china_network": true}, nil)
	for _, semantics = range []string{"merge", "replace"} {
		scenario()
	}
	fmt.Println("done")
	if failed {
		os.Exit(1)
	}
}
