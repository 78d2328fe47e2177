// The pinned definitions of Flux's sources. Nothing is built from this module, and it cannot be: a module that Flux's
// source-controller needs is not on the module proxy. The tests take the manifests that lie in it.
module tools/flux-crds

go 1.26.0

require github.com/fluxcd/source-controller v1.9.0
