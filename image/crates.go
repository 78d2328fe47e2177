package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// All crates that a program tells of, in its own order.
func crates(binary []byte, a About) ([]Crate, error) {
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
	all := make([]Crate, len(audit.Packages))
	for i, part := range audit.Packages {
		crate, there := known[part.Name+" "+part.Version]
		if !there {
			return nil, fmt.Errorf("%s %s is in the program and not in Cargo.lock", part.Name, part.Version)
		}
		crate.linked, crate.own, crate.needs = part.Kind == rustaudit.Runtime, part.Root, part.Dependencies
		all[i] = crate
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

// Holds what a program says of itself against what Cargo would link into it.
func checkCrates(binary []byte, platform string, a About) (faults Faults) {
	all, err := crates(binary, a)
	if err != nil {
		return Faults{err}
	}
	// Of musl and glibc, Cargo makes no difference.
	target := map[string]string{"amd64": "x86_64-unknown-linux-musl", "arm64": "aarch64-unknown-linux-musl"}[platform]
	tree := exec.Command("cargo", "tree", "--locked", "--package", program, "--edges", "no-dev,no-build,no-proc-macro",
		"--target", target, "--prefix", "none", "--format", "{p}")
	tree.Dir, tree.Stderr = a.source, os.Stderr
	text, err := tree.Output()
	if err != nil {
		return append(faults, fmt.Errorf("cargo tree: %w", err))
	}
	wanted := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 {
			wanted[words[0]+" "+strings.TrimPrefix(words[1], "v")] = true
		}
	}
	for _, crate := range all {
		if crate.linked && !wanted[crate.id()] {
			faults.add("the program tells of %s, which Cargo does not link into it", crate.id())
		}
		if crate.linked {
			delete(wanted, crate.id())
		}
	}
	for crate := range wanted {
		faults.add("the program does not tell of %s, which is linked into it", crate)
	}
	return faults
}
