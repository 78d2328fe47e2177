// Command image writes the operator's image as OCI archives, without a daemon, and checks what it wrote.
// `make image` calls it; the Dockerfile takes its files from it, so that both images hold the same.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const usage = `usage:
  image build   write the archives, one per platform and one for all, and what is in them as CycloneDX
  image check   look into the archives that build wrote, and fail when anything is not as it should be
  image rootfs  write what the image of one platform holds into the folder rootfs, for a Dockerfile
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what to do\n%s", usage)
	}
	switch command, rest := args[0], args[1:]; command {
	case "build":
		return build(about(command, rest))
	case "check":
		return check(about(command, rest))
	case "rootfs":
		a := about(command, rest)
		return rootfs(a, a.platforms[0], filepath.Join(a.out, "rootfs"))
	default:
		return fmt.Errorf("no such command: %q\n%s", command, usage)
	}
}

// About is what the image is made of and what it says about itself.
type About struct {
	name      string   // repository, without a tag
	version   string   // of the program, and the tag
	revision  string   // commit
	created   int64    // of the commit, in seconds since 1970: the time of everything in the image
	platforms []string // such as amd64
	source    string   // top of the repository
	out       string   // where the binaries are, and the archives go
}

func (a About) binary(platform string) string {
	return fmt.Sprintf("%s/%s-linux-%s", a.out, program, platform)
}

func (a About) archive(platform string) string {
	return fmt.Sprintf("%s/%s-%s-linux-%s.tar", a.out, program, a.version, platform)
}

func (a About) sbom(platform string) string {
	return fmt.Sprintf("%s/%s-%s-linux-%s.cdx.json", a.out, program, a.version, platform)
}

// The archive with every platform.
func (a About) index() string {
	return fmt.Sprintf("%s/%s-%s.tar", a.out, program, a.version)
}

func (a About) reference() string {
	return a.name + ":" + a.version
}

func about(command string, args []string) About {
	var a About
	var platforms string
	flags := flag.NewFlagSet(command, flag.ExitOnError)
	flags.StringVar(&a.name, "name", "", "repository of the image, without a tag")
	flags.StringVar(&a.version, "version", "", "version, and the tag")
	flags.StringVar(&a.revision, "revision", "", "commit that it is built from")
	flags.Int64Var(&a.created, "created", 0, "time of that commit, in seconds since 1970")
	flags.StringVar(&platforms, "platforms", "", "architectures, separated by spaces")
	flags.StringVar(&a.source, "source", ".", "top of the repository")
	flags.StringVar(&a.out, "out", "", "folder of binaries and archives")
	_ = flags.Parse(args) // ExitOnError
	a.platforms = strings.Fields(platforms)
	return a
}
