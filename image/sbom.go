package main

import (
	"fmt"
	"os"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// What a program is made of, as CycloneDX, from what the program itself says; the same each time, so without a time and a number
// of its own. (cargo-cyclonedx asks Cargo, which counts what only tests need.)
func sbom(all []Crate) (*cdx.BOM, error) {
	release, err := rustc("--version")
	if err != nil {
		return nil, err
	}
	bom := cdx.NewBOM()
	var components []cdx.Component
	var dependencies []cdx.Dependency
	for _, crate := range all {
		component := cdx.Component{
			Type: cdx.ComponentTypeLibrary, BOMRef: crate.id(), Name: crate.Name, Version: crate.Version,
			Description: crate.Description, PackageURL: "pkg:cargo/" + crate.Name + "@" + crate.Version,
			// Some crates write `/` for `OR`, as Cargo once did.
			Licenses: &cdx.Licenses{{Expression: strings.ReplaceAll(crate.License, "/", " OR ")}},
			Scope:    cdx.ScopeRequired,
		}
		if !crate.linked {
			component.Scope = cdx.ScopeExcluded
		}
		if crate.checksum != "" {
			component.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: crate.checksum}}
		}
		if crate.Repository != "" {
			component.ExternalReferences = &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: crate.Repository}}
		}
		needs := []string{}
		for _, index := range crate.needs {
			needs = append(needs, all[index].id())
		}
		if crate.own {
			component.Type = cdx.ComponentTypeApplication
			component.Scope = ""
			bom.Metadata = &cdx.Metadata{Component: &component}
			needs = append(needs, "rust-std")
		} else {
			components = append(components, component)
		}
		dependencies = append(dependencies, cdx.Dependency{Ref: crate.id(), Dependencies: &needs})
	}
	components = append(components, cdx.Component{
		Type: cdx.ComponentTypeLibrary, BOMRef: "rust-std", Name: "rust-std", Version: strings.Fields(release)[1],
		Description: "Rust's standard library, with the C library it brings along", Scope: cdx.ScopeRequired,
		Licenses: &cdx.Licenses{{Expression: "MIT OR Apache-2.0"}},
	})
	bom.Components, bom.Dependencies = &components, &dependencies
	return bom, nil
}

func writeSBOM(platform string, a About) error {
	binary, err := os.ReadFile(a.binary(platform))
	if err != nil {
		return err
	}
	all, err := crates(binary, platform, a)
	if err != nil {
		return err
	}
	bom, err := sbom(all)
	if err != nil {
		return err
	}
	file, err := os.Create(a.sbom(platform))
	if err != nil {
		return err
	}
	defer file.Close()
	return cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_5)
}

// The SBOM has to be readable, and to tell the licence and the checksum of all that is linked.
func checkSBOM(platform string, a About) (faults Faults) {
	file, err := os.Open(a.sbom(platform))
	if err != nil {
		return Faults{err}
	}
	defer file.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(file, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return Faults{err}
	}
	if bom.Metadata == nil || bom.Metadata.Component == nil || bom.Metadata.Component.Name != program || bom.Components == nil {
		return append(faults, fmt.Errorf("%s tells of something else", file.Name()))
	}
	for _, component := range *bom.Components {
		crate := strings.HasPrefix(component.PackageURL, "pkg:cargo/")
		if component.Licenses == nil || (*component.Licenses)[0].Expression == "" || crate && component.Hashes == nil {
			faults.add("%s says too little of %s", file.Name(), component.Name)
		}
	}
	return faults
}
