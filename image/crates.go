package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/microsoft/go-rustaudit"
)

// A Crate that the program is made of: what the program itself says of it, and what Cargo knows.
type Crate struct {
	Name, Version                    string
	License, Repository, Description string
	Manifest                         string `json:"manifest_path"`

	checksum string // of what was fetched; the repository's own crate has none
	linked   bool   // into the program; else it took part in building it
	own      bool
	needs    []uint // indices of other crates
}

func (c Crate) id() string {
	return c.Name + " " + c.Version
}

// All crates that a program tells of, in its own order: those that are linked into it, and those that took part in building it.
// An error when Cargo would take others.
func crates(binary []byte, platform string, a About) ([]Crate, error) {
	audit, err := rustaudit.GetDependencyInfo(bytes.NewReader(binary))
	if err != nil {
		return nil, err
	}
	metadata := exec.Command("cargo", "metadata", "--locked", "--format-version", "1")
	metadata.Dir, metadata.Stderr = a.source, os.Stderr
	text, err := metadata.Output()
	if err != nil {
		return nil, fmt.Errorf("cargo metadata: %w", err)
	}
	var described struct{ Packages []Crate }
	if err := json.Unmarshal(text, &described); err != nil {
		return nil, err
	}
	var lock struct {
		Package []struct{ Name, Version, Checksum string }
	}
	if _, err := toml.DecodeFile(filepath.Join(a.source, "Cargo.lock"), &lock); err != nil {
		return nil, err
	}
	known := map[string]Crate{}
	for _, crate := range described.Packages {
		known[crate.id()] = crate
	}
	for _, locked := range lock.Package {
		if crate, there := known[locked.Name+" "+locked.Version]; there {
			crate.checksum = locked.Checksum
			known[crate.id()] = crate
		}
	}
	// Which of them are linked, the program does not tell: macros, which run at build time, are among what it calls runtime.
	linked, err := tree("no-dev,no-build,no-proc-macro", platform, a)
	if err != nil {
		return nil, err
	}
	taken, err := tree("no-dev", platform, a)
	if err != nil {
		return nil, err
	}
	all := make([]Crate, len(audit.Packages))
	for i, part := range audit.Packages {
		crate, there := known[part.Name+" "+part.Version]
		if !there || !taken[crate.id()] {
			return nil, fmt.Errorf("the program tells of %s %s, which Cargo would not take for it", part.Name, part.Version)
		}
		crate.linked, crate.own, crate.needs = linked[crate.id()], part.Root, part.Dependencies
		all[i] = crate
		delete(linked, crate.id())
	}
	if len(linked) > 0 {
		return nil, fmt.Errorf("the program does not tell of all that is linked into it: %v", slices.Sorted(maps.Keys(linked)))
	}
	return all, nil
}

func rustc(args ...string) (string, error) {
	text, err := exec.Command("rustc", args...).Output()
	if err != nil {
		return "", fmt.Errorf("rustc %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(text)), nil
}

// The crates that Cargo takes for the program along these edges of its graph, each as `name version`.
func tree(edges, platform string, a About) (map[string]bool, error) {
	// Between musl and glibc it makes no difference.
	target := map[string]string{"amd64": "x86_64-unknown-linux-musl", "arm64": "aarch64-unknown-linux-musl"}[platform]
	command := exec.Command("cargo", "tree", "--locked", "--package", program, "--edges", edges,
		"--target", target, "--prefix", "none", "--format", "{p}")
	command.Dir, command.Stderr = a.source, os.Stderr
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("cargo tree: %w", err)
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 {
			found[words[0]+" "+strings.TrimPrefix(words[1], "v")] = true
		}
	}
	return found, nil
}
