package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/microsoft/go-rustaudit"
)

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func checkBinary(content []byte, platform string, a About) (faults Faults) {
	most := mostBinary
	if bytes.Contains(content, []byte("GNU C Library")) {
		most = mostWithGlibc
	}
	if len(content) > most {
		faults.add("the program has %d bytes, more than %d", len(content), most)
	}
	program, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return append(faults, fmt.Errorf("the program is none: %w", err))
	}
	if program.Machine != machines[platform] {
		faults.add("the program is for %v", program.Machine)
	}
	// For arm64 with musl, Rust does not link this way (its target has no `static-position-independent-executables`).
	if program.Type != elf.ET_DYN && platform != "arm64" {
		faults.add("the program is not position-independent: its addresses would be the same each time")
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			faults.add("the program is not static: it wants a loader, which the image has not")
		}
	}
	if libraries, err := program.ImportedLibraries(); err == nil && len(libraries) > 0 {
		faults.add("the program is not static: it wants %v", libraries)
	}
	if symbols, err := program.Symbols(); err == nil && len(symbols) > 0 {
		faults.add("the program is not stripped: it has %d symbols", len(symbols))
	}
	if source, err := filepath.Abs(a.source); err == nil && bytes.Contains(content, []byte(source+"/")) {
		faults.add("the program names the folder it was built in, %s", source)
	}
	audit, err := rustaudit.GetDependencyInfo(bytes.NewReader(content))
	if err != nil {
		return append(faults, fmt.Errorf("the program does not say what it is made of (`cargo auditable`): %w", err))
	}
	root := slices.IndexFunc(audit.Packages, func(p rustaudit.Package) bool { return p.Root })
	if root < 0 || audit.Packages[root].Name != "cloudflare-mtls-operator" || len(audit.Packages) < 50 {
		faults.add("the program says that it is made of %d packages, the first being number %d", len(audit.Packages), root)
	}
	return faults
}
