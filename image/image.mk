# The image, built without a daemon: archives for `ctr images import`, `skopeo` and `podman load` in target/image.

IMAGE     ?= ghcr.io/cloudflare-mtls-operator/cloudflare-mtls-operator
IMAGE_TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PLATFORMS ?= amd64 arm64

.PHONY: image
image: ## Build the image as OCI archives and look into it (PLATFORMS=amd64 for one, IMAGE and IMAGE_TAG for its name)
	@CARGO="$(CARGO)" IMAGE="$(IMAGE)" IMAGE_TAG="$(IMAGE_TAG)" PLATFORMS="$(PLATFORMS)" image/run

.PHONY: image-again
image-again: ## Build the image of this commit once more elsewhere, and see that it is the same, byte for byte
	@CARGO="$(CARGO)" IMAGE="$(IMAGE)" IMAGE_TAG="$(IMAGE_TAG)" PLATFORMS="$(PLATFORMS)" image/again

.PHONY: image-suite
image-suite: cluster image ## Run the suite's tests of names and TLS with the programs of the image, the other platform's emulated
	@CARGO="$(CARGO)" image/suite
