package main

import (
	"bytes"
	"encoding/json"
	"os"

	"github.com/microsoft/go-rustaudit"
)

// A Component of a CycloneDX document, as far as it is looked at.
type Component struct {
	Name, Version, Purl string
	Licenses            []any
	Hashes              []any
}

// The SBOM beside an archive, made from Cargo.lock, has to tell of all that the binary says it is made of.
func checkSBOM(file string, binary []byte) (faults Faults) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Faults{err}
	}
	var bom struct {
		Format     string `json:"bomFormat"`
		Components []Component
		Metadata   struct{ Component Component }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		return Faults{err}
	}
	if bom.Format != "CycloneDX" || bom.Metadata.Component.Name != program {
		faults.add("%s is no CycloneDX document of %s", file, program)
	}
	known := map[string]Component{}
	for _, component := range bom.Components {
		known[component.Name+" "+component.Version] = component
	}
	audit, err := rustaudit.GetDependencyInfo(bytes.NewReader(binary))
	if err != nil {
		return append(faults, err)
	}
	for _, part := range audit.Packages {
		if part.Root || part.Kind != rustaudit.Runtime {
			continue
		}
		switch component, there := known[part.Name+" "+part.Version]; {
		case !there:
			faults.add("%s does not tell of %s %s, which is in the binary", file, part.Name, part.Version)
		case component.Purl == "" || len(component.Licenses) == 0 || len(component.Hashes) == 0:
			faults.add("%s tells of %s neither where it is from, nor its licence, nor its checksum", file, part.Name)
		}
	}
	return faults
}
