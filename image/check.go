package main

import (
	"archive/tar"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

const (
	mostBinary     = 9_000_000
	mostWithGlibc  = 10_500_000 // which only stands in for musl where that is not to be had
	mostCompressed = 5_000_000
	fewestRoots    = 100
)

// Everything that the image holds, and nothing else: no shell, no package manager, no /tmp.
var wanted = map[string]int64{
	"/" + program: 0o755,
	"/etc":        0o755, "/etc/ssl": 0o755, "/etc/ssl/certs": 0o755, caPath: 0o644,
	"/licenses": 0o755, "/licenses/LICENSE": 0o644, "/licenses/crates.txt": 0o644, "/licenses/musl.txt": 0o644,
	"/licenses/rust-standard-library.html": 0o644,
}

// Faults gathers all that is wrong, so that one run tells everything.
type Faults []error

func (f *Faults) add(format string, args ...any) {
	*f = append(*f, fmt.Errorf(format, args...))
}

func check(a About) error {
	var faults Faults
	scratch, err := os.MkdirTemp(a.out, "check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	all, err := open(a.index(), scratch)
	if err != nil {
		return err
	}
	faults = append(faults, checkNames(all, a)...)
	found := map[string]v1.Hash{}
	images, err := imagesOf(all)
	if err != nil {
		return err
	}
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			return err
		}
		platform := config.Architecture
		if found[platform], err = img.Digest(); err != nil {
			return err
		}
		files, odd, err := extract(img)
		if err != nil {
			return err
		}
		binary := files["/"+program].content
		for _, fault := range slices.Concat(odd, checkImage(img, files, a), checkBinary(binary, platform, a),
			checkSBOM(platform, a)) {
			faults.add("%s: %w", platform, fault)
		}
		size, err := compressed(img)
		if err != nil {
			return err
		}
		fmt.Printf("%-13s %s  program %.2f MB, compressed image %.2f MB\n", "linux/"+platform, found[platform],
			float64(len(binary))/1e6, float64(size)/1e6)
	}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, slices.Sorted(slices.Values(a.platforms))) {
		faults.add("the archive has the platforms %v, not %v", got, a.platforms)
	}
	for _, platform := range a.platforms {
		single, err := open(a.archive(platform), scratch)
		if err != nil {
			return err
		}
		faults = append(faults, checkNames(single, a)...)
		images, err := imagesOf(single)
		if err != nil {
			return err
		}
		if len(images) != 1 {
			faults.add("%s: %d images in its own archive", platform, len(images))
		} else if digest, err := images[0].Digest(); err != nil {
			return err
		} else if digest != found[platform] {
			faults.add("%s: its own archive has another image, %v", platform, digest)
		}
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		return err
	}
	for _, entry := range manifest.Manifests {
		fmt.Printf("%-13s %s@%s\n", "all", a.reference(), entry.Digest)
	}
	return errors.Join(faults...)
}

func checkNames(index v1.ImageIndex, a About) (faults Faults) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return Faults{err}
	}
	if len(manifest.Manifests) != 1 {
		faults.add("%d entries in an archive", len(manifest.Manifests))
	}
	for _, entry := range manifest.Manifests {
		if name := entry.Annotations["io.containerd.image.name"]; name != a.reference() {
			faults.add("containerd would call it %q, not %q", name, a.reference())
		}
		if tag := entry.Annotations["org.opencontainers.image.ref.name"]; tag != a.version {
			faults.add("skopeo would find it by %q, not %q", tag, a.version)
		}
	}
	return faults
}

func checkImage(img v1.Image, files map[string]Extracted, a About) (faults Faults) {
	config, err := img.ConfigFile()
	if err != nil {
		return Faults{err}
	}
	want := v1.Config{User: user, Entrypoint: []string{"/" + program}, WorkingDir: "/", Labels: labels(a)}
	if got, want := fmt.Sprintf("%+v", config.Config), fmt.Sprintf("%+v", want); got != want {
		faults.add("its configuration is\n  %s, not\n  %s", got, want)
	}
	for _, key := range []string{"source", "url", "documentation"} {
		if where := config.Config.Labels["org.opencontainers.image."+key]; !strings.HasPrefix(where, home) {
			faults.add("its label for its %s is %q, not below %s", key, where, home)
		}
	}
	if !config.Created.Equal(created(a)) {
		faults.add("it was created %v, not %v", config.Created, created(a))
	}
	if size, err := compressed(img); err != nil {
		faults = append(faults, err)
	} else if size > mostCompressed {
		faults.add("compressed it has %d bytes, more than %d", size, mostCompressed)
	}
	for path, file := range files {
		switch mode, known := wanted[path]; {
		case !known:
			faults.add("%s does not belong there", path)
		case mode != file.Mode:
			faults.add("%s has the mode %o, not %o", path, file.Mode, mode)
		case !file.ModTime.Equal(created(a)):
			faults.add("%s was changed at %v, not when the commit was made, %v", path, file.ModTime, created(a))
		case file.Uid != 0 || file.Gid != 0:
			faults.add("%s belongs to %d:%d, not to root", path, file.Uid, file.Gid)
		}
	}
	for path := range wanted {
		if _, there := files[path]; !there {
			faults.add("%s is missing", path)
		}
	}
	if count := countRoots(files[caPath].content); count < fewestRoots {
		faults.add("%s has %d certificates, fewer than %d", caPath, count, fewestRoots)
	}
	return faults
}

func countRoots(text []byte) (count int) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		count++
	}
	return count
}

// Bytes that a node fetches.
func compressed(img v1.Image) (int64, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := partial.Descriptor(img)
	if err != nil {
		return 0, err
	}
	sum := size.Size + manifest.Config.Size
	for _, layer := range manifest.Layers {
		sum += layer.Size
	}
	return sum, nil
}

// An Extracted file, as the image has it.
type Extracted struct {
	*tar.Header
	content []byte
}

// The files of an image by their paths, and what is odd about them.
func extract(img v1.Image) (map[string]Extracted, Faults, error) {
	var faults Faults
	files := map[string]Extracted{}
	content := mutate.Extract(img)
	defer content.Close()
	entries := tar.NewReader(content)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return files, faults, nil
		} else if err != nil {
			return nil, nil, err
		}
		if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir {
			faults.add("%s is neither a file nor a folder", header.Name)
		}
		text, err := io.ReadAll(entries)
		if err != nil {
			return nil, nil, err
		}
		files["/"+strings.Trim(header.Name, "/")] = Extracted{header, text}
	}
}
