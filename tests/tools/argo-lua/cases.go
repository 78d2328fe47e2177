package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"time"

	"sigs.k8s.io/yaml"
)

// The annotation that the action sets. Argo CD's own tests compare such times as this one.
const (
	requested = "cloudflare-mtls.dev/reconcile-at"
	someTime  = "0001-01-01T00:00:00Z"
)

type healthTests struct {
	Tests []struct {
		InputPath    string       `json:"inputPath"`
		HealthStatus healthStatus `json:"healthStatus"`
	} `json:"tests"`
}

type action struct {
	Name     string `json:"name"`
	Disabled bool   `json:"disabled"`
}

type actionTests struct {
	DiscoveryTests []struct {
		InputPath string   `json:"inputPath"`
		Result    []action `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

// testAll runs each case twice and says how each ended.
func testAll(root string) error {
	run, failed := 0, 0
	report := func(name string, check func(libraries) error) {
		for _, libraries := range []libraries{all, restricted} {
			run++
			if err := check(libraries); err != nil {
				failed++
				fmt.Printf("FAIL %s (%s): %v\n", name, libraries, err)
				continue
			}
			fmt.Printf("ok   %s (%s)\n", name, libraries)
		}
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		folder := filepath.Dir(path)
		switch filepath.Base(path) {
		case "health.lua":
			return testHealth(folder, report)
		case "discovery.lua":
			return testActions(folder, report)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case run == 0:
		return fmt.Errorf("there is no case below %s", root)
	case failed > 0:
		return fmt.Errorf("%d of %d failed", failed, run)
	}
	fmt.Printf("%d runs of %d cases, none failed\n", run, run/2)
	return nil
}

type report = func(name string, check func(libraries) error)

func testHealth(folder string, report report) error {
	var tests healthTests
	if err := read(filepath.Join(folder, "health_test.yaml"), &tests); err != nil {
		return err
	}
	for _, test := range tests.Tests {
		report("health of "+test.InputPath, func(libraries libraries) error {
			var input object
			if err := read(filepath.Join(folder, test.InputPath), &input); err != nil {
				return err
			}
			found, err := health(filepath.Join(folder, "health.lua"), input, libraries)
			if err != nil {
				return err
			}
			return equal(found, test.HealthStatus)
		})
	}
	return nil
}

func testActions(folder string, report report) error {
	var tests actionTests
	if err := read(filepath.Join(folder, "action_test.yaml"), &tests); err != nil {
		return err
	}
	for _, test := range tests.DiscoveryTests {
		report("actions for "+test.InputPath, func(libraries libraries) error {
			var input object
			if err := read(filepath.Join(folder, test.InputPath), &input); err != nil {
				return err
			}
			offered := map[string]action{}
			if err := evaluate(filepath.Join(folder, "discovery.lua"), input, libraries, &offered); err != nil {
				return err
			}
			found := []action{}
			for name, offer := range offered {
				found = append(found, action{name, offer.Disabled})
			}
			sort.Slice(found, func(i, j int) bool { return found[i].Name < found[j].Name })
			return equal(found, test.Result)
		})
	}
	for _, test := range tests.ActionTests {
		report(test.Action+" of "+test.InputPath, func(libraries libraries) error {
			var input, expected, found object
			err := errors.Join(
				read(filepath.Join(folder, test.InputPath), &input),
				read(filepath.Join(folder, test.ExpectedOutputPath), &expected),
			)
			if err != nil {
				return err
			}
			script := filepath.Join(folder, test.Action, "action.lua")
			if err := evaluate(script, input, libraries, &found); err != nil {
				return err
			}
			if err := forgetTime(found); err != nil {
				return err
			}
			return equal(found, expected)
		})
	}
	return nil
}

// forgetTime replaces the time of the request, which has to be now, by the one that the expected output has.
func forgetTime(found object) error {
	metadata, _ := found["metadata"].(object)
	annotations, _ := metadata["annotations"].(object)
	text, _ := annotations[requested].(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("the annotation %s is no time: %w", requested, err)
	}
	if age := time.Since(at); age < -time.Second || age > time.Minute {
		return fmt.Errorf("%s is not now", text)
	}
	annotations[requested] = someTime
	return nil
}

func equal(found, expected any) error {
	if reflect.DeepEqual(found, expected) {
		return nil
	}
	return fmt.Errorf("\n  found    %+v\n  expected %+v", found, expected)
}

func read(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
