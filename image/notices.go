package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Files in which a crate says by whom it is and what is allowed.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|unlicense)([-._].*)?$`)

// The notices that have to go along with a binary: whatever the crates that are linked into it say in their legal files, verbatim,
// each text once. What is linked is what the binary itself says. (cargo-about would take one text per licence and leave notices and
// copyright files out.)
func notices(all []Crate, a About) ([]byte, error) {
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
	all = slices.SortedFunc(slices.Values(all), func(x, y Crate) int { return strings.Compare(x.id(), y.id()) })
	for _, crate := range all {
		if crate.own || !crate.linked {
			continue
		}
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
	sysroot, err := rustc("--print", "sysroot")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(sysroot, "share/doc/rust/COPYRIGHT-library.html"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this Rust has no notices of its standard library (1.86 and newer from rustup have): %w", err)
	}
	return text, err
}
