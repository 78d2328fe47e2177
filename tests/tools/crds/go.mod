// Pinned definitions of other people's kinds. Nothing is built from this module: the tests take the manifests that lie in
// these modules, most of which cannot be built from the module proxy alone.
module tools/crds

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.2.0
	github.com/external-secrets/external-secrets v1.3.2
	github.com/fluxcd/source-controller v1.9.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
