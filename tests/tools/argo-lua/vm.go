package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

// What a script may use: everything in Argo CD's own tests, next to nothing when it comes from `argocd-cm`.
type libraries string

const (
	all        libraries = "all libraries"
	restricted libraries = "a user's script"
)

// Argo CD gives up after this long.
const deadline = time.Second

type object = map[string]any

type healthStatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// What Argo CD knows; anything else it shows as Unknown.
var statuses = map[string]bool{
	"Unknown": true, "Progressing": true, "Suspended": true, "Healthy": true, "Degraded": true, "Missing": true,
}

func parse(text []byte) (object, error) {
	var parsed object
	err := yaml.Unmarshal(text, &parsed)
	return parsed, err
}

func health(script string, input object, libraries libraries) (healthStatus, error) {
	var found healthStatus
	if err := evaluate(script, input, libraries, &found); err != nil {
		return found, err
	}
	if !statuses[found.Status] {
		return found, fmt.Errorf("%s: no health status: %q", script, found.Status)
	}
	return found, nil
}

// evaluate runs a script with the object as `obj` and decodes the table that it returns.
func evaluate(script string, input object, libraries libraries, result any) error {
	source, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: libraries == restricted})
	defer state.Close()
	if libraries == restricted {
		open(state)
	}
	limit, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	state.SetContext(limit)
	// Through JSON, since that is all that the decoder knows.
	text, err := json.Marshal(input)
	if err != nil {
		return err
	}
	value, err := luajson.Decode(state, text)
	if err != nil {
		return err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(string(source)); err != nil {
		return fmt.Errorf("%s: %w", script, err)
	}
	returned := state.Get(-1)
	if returned.Type() != lua.LTTable {
		return fmt.Errorf("%s returns no table but %s", script, returned.Type())
	}
	text, err = luajson.Encode(returned)
	if err != nil {
		return err
	}
	// An empty table is encoded as a list.
	if string(text) == "[]" {
		return nil
	}
	return json.Unmarshal(text, result)
}

// open lets a script have `package`, `base` and `table`, and of `os` what cannot harm, which it has to `require`.
func open(state *lua.LState) {
	libraries := map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	}
	for _, name := range []string{lua.LoadLibName, lua.BaseLibName, lua.TabLibName} {
		state.Push(state.NewFunction(libraries[name]))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
		lua.OpenOs(state)
		whole := state.CheckTable(-1)
		safe := state.NewTable()
		for _, name := range []string{"time", "date"} {
			safe.RawSetString(name, whole.RawGetString(name))
		}
		state.SetGlobal(lua.OsLibName, lua.LNil)
		state.Push(safe)
		return 1
	})
}
