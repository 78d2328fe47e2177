package main

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// An OCI layout with the one thing that `add` puts there, as a tar file. containerd takes the name from the first annotation,
// skopeo and podman take the tag from the second.
func writeArchive(file string, a About, add func(layout.Path, layout.Option) error) error {
	folder, err := os.MkdirTemp(a.out, "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	to, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	if err := add(to, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          a.reference(),
		"org.opencontainers.image.ref.name": a.version,
	})); err != nil {
		return err
	}
	archive, err := os.Create(file + ".new")
	if err != nil {
		return err
	}
	defer archive.Close()
	entries := tar.NewWriter(archive)
	// WalkDir goes through the names in their order.
	if err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		return writeEntry(entries, name, 0o644, created(a), content)
	}); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := entries.Close(); err != nil {
		return err
	}
	return os.Rename(archive.Name(), file)
}

// The archive as an index, once all its digests were found to be right.
// It is unpacked below `scratch`.
func open(file, scratch string) (v1.ImageIndex, error) {
	folder, err := os.MkdirTemp(scratch, "")
	if err != nil {
		return nil, err
	}
	archive, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	entries := tar.NewReader(archive)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		to := filepath.Join(folder, filepath.FromSlash(header.Name))
		if !filepath.IsLocal(header.Name) {
			return nil, fmt.Errorf("%s: %s leads out of it", file, header.Name)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		content, err := io.ReadAll(entries)
		if err != nil {
			return nil, err
		}
		// The library looks at the digests of layers and not at that of a configuration.
		if digest, isBlob := strings.CutPrefix(header.Name, "blobs/sha256/"); isBlob && digest != fmt.Sprintf("%x", sha256.Sum256(content)) {
			return nil, fmt.Errorf("%s: %s has other content than its name says", file, header.Name)
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			return nil, err
		}
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	if err := validate.Index(index); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return index, nil
}

// All images below an index, however deep.
func imagesOf(index v1.ImageIndex) ([]v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []v1.Image
	for _, entry := range manifest.Manifests {
		if entry.MediaType.IsIndex() {
			below, err := index.ImageIndex(entry.Digest)
			if err != nil {
				return nil, err
			}
			more, err := imagesOf(below)
			if err != nil {
				return nil, err
			}
			images = append(images, more...)
			continue
		}
		img, err := index.Image(entry.Digest)
		if err != nil {
			return nil, err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return nil, err
		}
		if entry.Platform == nil || entry.Platform.Architecture != config.Architecture || entry.Platform.OS != config.OS {
			return nil, fmt.Errorf("%s is entered as %v and says that it is %s/%s", entry.Digest, entry.Platform, config.OS, config.Architecture)
		}
		images = append(images, img)
	}
	return images, nil
}
