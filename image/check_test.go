package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func someAbout(t *testing.T) About {
	return About{
		name: "registry.example/operator", version: "1.2.3", revision: "abc", created: 1_780_000_000,
		platforms: []string{"amd64"}, source: "..", out: t.TempDir(),
	}
}

func soundSteps() []Step {
	text := []byte("text")
	return []Step{
		{"texts", []File{
			{caPath, 0o644, roots()}, {"/licenses/LICENSE", 0o644, text}, {"/licenses/crates.txt", 0o644, text},
			{"/licenses/musl.txt", 0o644, text}, {"/licenses/rust-standard-library.html", 0o644, text},
		}},
		{"operator", []File{{"/" + program, 0o755, text}}},
	}
}

func faultsOf(t *testing.T, a About, img v1.Image) string {
	files, odd, err := extract(img)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(errors.Join(slices.Concat(odd, checkImage(img, files, a))...))
}

func TestASoundImageHasNoFaults(t *testing.T) {
	a := someAbout(t)
	img, err := image(a, "amd64", soundSteps())
	if err != nil {
		t.Fatal(err)
	}
	if got := faultsOf(t, a, img); got != "<nil>" {
		t.Error(got)
	}
}

func TestWhatDoesNotBelongInAnImageIsFound(t *testing.T) {
	configured := func(change func(*v1.ConfigFile)) func([]Step) func(v1.Image) v1.Image {
		return func([]Step) func(v1.Image) v1.Image {
			return func(img v1.Image) v1.Image {
				config, _ := img.ConfigFile()
				config = config.DeepCopy()
				change(config)
				img, _ = mutate.ConfigFile(img, config)
				return img
			}
		}
	}
	files := func(change func([]Step)) func([]Step) func(v1.Image) v1.Image {
		return func(steps []Step) func(v1.Image) v1.Image {
			change(steps)
			return func(img v1.Image) v1.Image { return img }
		}
	}
	for want, change := range map[string]func([]Step) func(v1.Image) v1.Image{
		"/bin/sh does not belong there": files(func(s []Step) {
			s[0].files = append(s[0].files, File{"/bin/sh", 0o755, []byte("#!")})
		}),
		"has the mode 4755":                       files(func(s []Step) { s[1].files[0].mode = 0o4755 }),
		"has the mode 666":                        files(func(s []Step) { s[0].files[0].mode = 0o666 }),
		"/licenses/crates.txt is missing":         files(func(s []Step) { s[0].files = slices.Delete(s[0].files, 2, 3) }),
		"has 0 certificates":                      files(func(s []Step) { s[0].files[0].content = nil }),
		"compressed it has":                       files(func(s []Step) { s[1].files[0].content = noise(mostCompressed) }),
		"User:0":                                  configured(func(c *v1.ConfigFile) { c.Config.User = "0" }),
		"Entrypoint:[/bin/sh]":                    configured(func(c *v1.ConfigFile) { c.Config.Entrypoint = []string{"/bin/sh"} }),
		"Cmd:[run]":                               configured(func(c *v1.ConfigFile) { c.Config.Cmd = []string{"run"} }),
		"Env:[SSL_CERT_FILE=/x]":                  configured(func(c *v1.ConfigFile) { c.Config.Env = []string{"SSL_CERT_FILE=/x"} }),
		"org.opencontainers.image.revision:other": configured(func(c *v1.ConfigFile) { c.Config.Labels["org.opencontainers.image.revision"] = "other" }),
		"it was created":                          configured(func(c *v1.ConfigFile) { c.Created = v1.Time{} }),
	} {
		t.Run(want, func(t *testing.T) {
			a, steps := someAbout(t), soundSteps()
			then := change(steps)
			img, err := image(a, "amd64", steps)
			if err != nil {
				t.Fatal(err)
			}
			if got := faultsOf(t, a, then(img)); !strings.Contains(got, want) {
				t.Errorf("not found; what was found: %s", got)
			}
		})
	}
}

// Bytes that cannot be compressed.
func noise(count int) []byte {
	bytes, state := make([]byte, count), uint64(1)
	for i := range bytes {
		state = state*6364136223846793005 + 1442695040888963407
		bytes[i] = byte(state >> 56)
	}
	return bytes
}

func TestABinaryOfAnotherKindIsRefused(t *testing.T) {
	own, err := os.ReadFile(os.Args[0]) // Go's: it says nothing about crates.
	if err != nil {
		t.Fatal(err)
	}
	a := someAbout(t)
	for _, want := range []string{"cargo auditable", "the program is for EM_"} {
		got := fmt.Sprint(checkBinary(own, "neither", a))
		if !strings.Contains(got, want) {
			t.Errorf("%q was not found; what was found: %s", want, got)
		}
	}
	if got := fmt.Sprint(checkBinary(noise(mostBinary+1), "amd64", a)); !strings.Contains(got, "more than 9000000") ||
		!strings.Contains(got, "the program is none") {
		t.Error(got)
	}
}

func TestAnArchiveIsTheSameEachTimeAndADamagedOneIsRefused(t *testing.T) {
	var first []byte
	for range 2 {
		a := someAbout(t)
		img, err := image(a, "amd64", soundSteps())
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(a.out, "one.tar")
		if err := writeArchive(file, a, func(to layout.Path, named layout.Option) error {
			return to.AppendImage(img, named, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
		}); err != nil {
			t.Fatal(err)
		}
		index, err := open(file, a.out)
		if err != nil {
			t.Fatal(err)
		}
		if faults := checkNames(index, a); len(faults) > 0 {
			t.Error(faults)
		}
		other := a
		other.version = "1.2.4"
		if faults := checkNames(index, other); len(faults) != 2 {
			t.Errorf("another tag is not noticed: %v", faults)
		}
		archive, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = archive
		} else if !bytes.Equal(first, archive) {
			t.Error("two archives of the same differ")
		}
		damaged := bytes.Replace(archive, []byte(program), []byte(strings.ToUpper(program)), 1)
		if err := os.WriteFile(file, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := open(file, a.out); err == nil {
			t.Error("a damaged archive is accepted")
		}
	}
}

func TestTheDockerfileSaysTheSame(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(text), "FROM scratch")
	a := someAbout(t)
	a.version, a.revision = "$VERSION", "$REVISION"
	for key, value := range labels(a) {
		if key == "org.opencontainers.image.created" {
			value = "$CREATED"
		}
		if line := fmt.Sprintf("%s=%q", key, value); !strings.Contains(last, line) {
			t.Errorf("no label %s", line)
		}
	}
	if count := strings.Count(last, "org.opencontainers.image."); count != len(labels(a)) {
		t.Errorf("%d labels, not %d", count, len(labels(a)))
	}
	for _, line := range []string{"USER " + user, fmt.Sprintf("ENTRYPOINT [%q]", "/"+program), "WORKDIR /"} {
		if !regexp.MustCompile("(?m)^" + regexp.QuoteMeta(line) + "$").MatchString(last) {
			t.Errorf("no line %s", line)
		}
	}
}

func TestLegalFilesAreToldByTheirNames(t *testing.T) {
	for name, want := range map[string]bool{
		"LICENSE": true, "LICENSE-MIT": true, "license.txt": true, "LICENCE.md": true, "COPYING": true, "COPYRIGHT": true,
		"UNLICENSE": true, "NOTICE": true, "LICENSE-other-bits": true, "licensed": false, "README": false, "src": false,
	} {
		if got := legal.MatchString(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
