package main

import (
	_ "embed"
	"os"
	"path/filepath"
	"time"
)

const (
	program = "cloudflare-mtls-operator"
	user    = "65532:65532"
	caPath  = "/etc/ssl/certs/ca-certificates.crt"
)

// A File of the image, owned by root, so that the operator cannot change it.
type File struct {
	path    string // from the root
	mode    os.FileMode
	content []byte
}

// A Step is a layer of the image.
type Step struct {
	what  string
	files []File
}

//go:embed licences/musl.txt
var musl []byte

// All files of the image. What seldom changes comes first: an upgrade then fetches only what comes after it.
func contents(a About, platform string) ([]Step, error) {
	binary, err := os.ReadFile(a.binary(platform))
	if err != nil {
		return nil, err
	}
	license, err := os.ReadFile(filepath.Join(a.source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	all, err := crates(binary, platform, a)
	if err != nil {
		return nil, err
	}
	notices, err := notices(all, a)
	if err != nil {
		return nil, err
	}
	library, err := standardLibrary()
	if err != nil {
		return nil, err
	}
	return []Step{
		{"CA bundle and licences", []File{
			{caPath, 0o644, roots()},
			{"/licenses/LICENSE", 0o644, license},
			{"/licenses/crates.txt", 0o644, notices},
			{"/licenses/musl.txt", 0o644, musl},
			{"/licenses/rust-standard-library.html", 0o644, library},
		}},
		{"operator", []File{{"/" + program, 0o755, binary}}},
	}, nil
}

// The same files in a folder, for a builder that makes its own layers.
func rootfs(a About, platform, to string) error {
	steps, err := contents(a, platform)
	if err != nil {
		return err
	}
	for _, step := range steps {
		for _, file := range step.files {
			path := filepath.Join(to, file.path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, file.content, file.mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// The time of everything in the image.
func created(a About) time.Time {
	return time.Unix(a.created, 0).UTC()
}
