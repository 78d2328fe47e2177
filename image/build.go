package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func build(a About) error {
	all := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, platform := range a.platforms {
		steps, err := contents(a, platform)
		if err != nil {
			return err
		}
		img, err := image(a, platform, steps)
		if err != nil {
			return err
		}
		if err := writeSBOM(platform, a); err != nil {
			return err
		}
		if err := writeArchive(a.archive(platform), a, func(to layout.Path, named layout.Option) error {
			return to.AppendImage(img, named, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: platform}))
		}); err != nil {
			return err
		}
		all = mutate.AppendManifests(all, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: platform}},
		})
	}
	return writeArchive(a.index(), a, func(to layout.Path, named layout.Option) error {
		return to.AppendIndex(all, named)
	})
}

// Where the code is; the documents name it too.
const home = "https://github.com/cloudflare-mtls-operator/cloudflare-mtls-operator"

// What the image says about itself, by the names of the OCI image specification.
func labels(a About) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         program,
		"org.opencontainers.image.description":   "Kubernetes operator for Cloudflare Access mTLS hostname settings",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.source":        home,
		"org.opencontainers.image.url":           home,
		"org.opencontainers.image.documentation": home + "/tree/" + a.revision + "/docs",
		"org.opencontainers.image.version":       a.version,
		"org.opencontainers.image.revision":      a.revision,
		"org.opencontainers.image.created":       created(a).Format(time.RFC3339),
	}
}

func image(a About, platform string, steps []Step) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, step := range steps {
		layer, err := layer(step.files, created(a))
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: v1.Time{Time: created(a)}, CreatedBy: "make image", Comment: step.what},
		})
		if err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", platform
	config.Created = v1.Time{Time: created(a)}
	config.Config = v1.Config{User: user, Entrypoint: []string{"/" + program}, WorkingDir: "/", Labels: labels(a)}
	return mutate.ConfigFile(img, config)
}

// A layer with these files and their folders, the same bytes each time.
func layer(files []File, at time.Time) (v1.Layer, error) {
	var content bytes.Buffer
	to := tar.NewWriter(&content)
	seen := map[string]bool{"/": true}
	for _, file := range files {
		var folders []string
		for folder := path.Dir(file.path); !seen[folder]; folder = path.Dir(folder) {
			seen[folder] = true
			folders = append([]string{folder}, folders...)
		}
		for _, folder := range folders {
			header := &tar.Header{Typeflag: tar.TypeDir, Name: folder[1:] + "/", Mode: 0o755, ModTime: at}
			if err := to.WriteHeader(header); err != nil {
				return nil, err
			}
		}
		if err := writeEntry(to, file.path[1:], int64(file.mode), at, file.content); err != nil {
			return nil, err
		}
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil },
		tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

func writeEntry(to *tar.Writer, name string, mode int64, at time.Time, content []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: at, Size: int64(len(content))}
	if err := to.WriteHeader(header); err != nil {
		return err
	}
	_, err := to.Write(content)
	return err
}
