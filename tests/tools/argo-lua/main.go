// Command argo-lua runs Argo CD's health and action scripts as Argo CD does, in the layout of its `resource_customizations`.
//
//	argo-lua test FOLDER           every case of every health_test.yaml and action_test.yaml below it
//	argo-lua health health.lua     the health of the object on standard input
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "argo-lua:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("usage: argo-lua test FOLDER | argo-lua health SCRIPT < OBJECT")
	}
	switch arguments[0] {
	case "test":
		return testAll(arguments[1])
	case "health":
		return showHealth(arguments[1])
	}
	return fmt.Errorf("no such command: %s", arguments[0])
}

// showHealth says what a user's script finds, which is what the `argocd-cm` of a cluster runs.
func showHealth(script string) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	object, err := parse(text)
	if err != nil {
		return err
	}
	found, err := health(script, object, restricted)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}
