package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/microsoft/go-rustaudit"
)

// A Crate, as `cargo metadata` describes it.
type Crate struct {
	Name, Version, License, Repository string
	Manifest                           string `json:"manifest_path"`
}

// Files in which a crate says by whom it is and what is allowed.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|unlicense)([-._].*)?$`)

// The notices that have to go along with a binary: whatever the crates that are linked into it say in their legal files, verbatim,
// each text once. What is linked is what the binary itself says. (cargo-about would take one text per licence and leave notices and
// copyright files out.)
func notices(binary []byte, a About) ([]byte, error) {
	crates, err := linked(binary, a)
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(a.source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	var list, texts bytes.Buffer
	from := map[string][]string{} // text to crates and files
	var order []string
	note := func(text []byte, where string) {
		if _, known := from[string(text)]; !known {
			order = append(order, string(text))
		}
		from[string(text)] = append(from[string(text)], where)
	}
	for _, crate := range crates {
		fmt.Fprintf(&list, "%s %s (%s) %s\n", crate.Name, crate.Version, crate.License, crate.Repository)
		files, err := legalFiles(filepath.Dir(crate.Manifest))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(crate.Manifest), file))
			if err != nil {
				return nil, err
			}
			note(bytes.TrimSpace(text), crate.Name+" "+filepath.ToSlash(file))
		}
		switch {
		case len(files) > 0:
		case crate.License == "Apache-2.0":
			// The text is the same for everybody, and this repository has it.
			note(bytes.TrimSpace(own), crate.Name)
		default:
			return nil, fmt.Errorf("%s %s (%s) has no text of its licence", crate.Name, crate.Version, crate.License)
		}
	}
	line := strings.Repeat("-", 100)
	for _, text := range order {
		fmt.Fprintf(&texts, "\n%s\n%s\n%s\n\n%s\n", line, strings.Join(from[text], "\n"), line, text)
	}
	return fmt.Appendf(nil, "The crates that are linked into %s, and below what they say about their licences.\n\n%s%s",
		program, list.String(), texts.String()), nil
}

// The crates in the binary, in the order of their names, but for this repository's own.
func linked(binary []byte, a About) ([]Crate, error) {
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
	var all struct{ Packages []Crate }
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	var crates []Crate
	for _, part := range audit.Packages {
		if part.Root || part.Kind != rustaudit.Runtime {
			continue
		}
		at := slices.IndexFunc(all.Packages, func(c Crate) bool { return c.Name == part.Name && c.Version == part.Version })
		if at < 0 {
			return nil, fmt.Errorf("%s %s is in the binary and not in Cargo.lock", part.Name, part.Version)
		}
		crates = append(crates, all.Packages[at])
	}
	slices.SortFunc(crates, func(x, y Crate) int { return strings.Compare(x.Name+" "+x.Version, y.Name+" "+y.Version) })
	return crates, nil
}

func legalFiles(folder string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && legal.MatchString(entry.Name()) && filepath.Ext(name) != ".rs" {
			files = append(files, name)
		}
		return err
	})
	return files, err
}

// The notices of Rust's standard library, which every toolchain brings along.
func standardLibrary() ([]byte, error) {
	sysroot, err := exec.Command("rustc", "--print", "sysroot").Output()
	if err != nil {
		return nil, fmt.Errorf("rustc --print sysroot: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(sysroot)), "share/doc/rust/COPYRIGHT-library.html"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this Rust has no notices of its standard library (1.86 and newer from rustup have): %w", err)
	}
	return text, err
}
