# Everything a contributor does has a target here; `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
OPERATOR := target/release/cloudflare-mtls-operator
CHART := charts/cloudflare-mtls-operator

include tests/tools/tools.mk
include tests/conformance/conformance.mk
include image/image.mk

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

.PHONY: build
build: ## Build the operator as it is shipped
	$(CARGO) build --release --locked

.PHONY: lint
lint: ## Check format and lints; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# Where every control plane of a run leaves what it was asked for.
RIGHTS := $(CURDIR)/target/tmp/rights

.PHONY: test
test: lint tools chart-test ## Run the whole suite against a real API server and an emulated Cloudflare
	@# The harness is also the program that guards what the tests start, so that nothing outlives them.
	$(CARGO) build --locked -p harness
	@rm -rf $(RIGHTS) && mkdir -p $(RIGHTS)
	@# More tests at a time than there are cores: they mostly wait.
	RIGHTS_FOLDER=$(RIGHTS) RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} $(CARGO) test --workspace --locked
	@# In the end, what the operators of all these tests have asked API servers for, against what the chart grants.
	RIGHTS_FOLDER=$(RIGHTS) $(CARGO) test --locked --test operator -- --ignored what_the_suite_used_is_what_the_chart_grants

NODE_TOOLS   := $(addprefix $(TOOLS_DIR)/,helm4 kube-controller-manager kube-scheduler kubelet pause)
NODE_MACHINE := $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
node_image    = target/image/cloudflare-mtls-operator-$(1)-linux-$(NODE_MACHINE).tar

.PHONY: e2e
ifeq ($(shell id -u),0)
e2e: cluster $(NODE_TOOLS) ## Run the operator's image, installed by Helm, as pods on a real node (needs root)
	@tests/e2e/install
	$(CARGO) test --locked --test e2e --no-run
	@$(MAKE) --no-print-directory image PLATFORMS=$(NODE_MACHINE)
	@# The same program in another image, to upgrade to.
	@$(MAKE) --no-print-directory image PLATFORMS=$(NODE_MACHINE) IMAGE_TAG=next
	tests/e2e/run $(call node_image,$(IMAGE_TAG)) $(call node_image,next) -- \
		$(CARGO) test --locked --offline --test e2e -- --ignored --test-threads=1 --nocapture
else
e2e:
	@echo "SKIPPED: the tests on a real node need root, to make the node; they are counted as ignored below"
	$(CARGO) test --locked --test e2e
endif

FUZZ_RUNS ?= 1000000

.PHONY: fuzz
fuzz: ## Throw a million odd inputs at everything that reads what others wrote (FUZZ_RUNS=5000 for fewer)
	FUZZ_RUNS=$(FUZZ_RUNS) $(CARGO) test --locked --profile fuzz --test fuzz -- --nocapture

.PHONY: defects
defects: cluster ## Build the operator with one leak after the other, and see the suite notice each
	$(CARGO) build --locked -p harness
	@CARGO=$(CARGO) tests/defects/run

.PHONY: demo
demo: cluster $(TOOLS_DIR)/helm4 ## Show the main job: installed, an object applied, drift repaired, an error code (KEEP=1 leaves it running)
	@# Built without optimisation: it shares its parts with the tests, and the reader waits minutes less.
	@[ -x target/debug/harness -a -x target/debug/cloudflare-mtls-operator ] || \
		echo "building the operator and the demo's parts (about 2 minutes the first time) ..."
	@start=$$(date +%s); $(CARGO) build --quiet --workspace --locked && took=$$(($$(date +%s) - start)) && \
		{ [ $$took -lt 3 ] || echo "built the operator and the demo's parts in $$took s"; }
	@target/debug/harness demo --operator target/debug/cloudflare-mtls-operator $(if $(KEEP),--keep) $(if $(PICTURE),--picture $(abspath $(PICTURE)))

# Small numbers, to try the whole of it; what they give is no measurement, and goes elsewhere.
BENCH_QUICK := --rounds 30 --starts 1 --hostnames 100 --lists 1,3 --list-rounds 1 --naive 1 --idle-cpu 5 --idle 2 \
	--memory 0,100 --objects 1000 --fleets 1

.PHONY: bench
bench: cluster build ## Measure speed, size and memory, and write BENCHMARKS.md (25 minutes; QUICK=1 tries it in two)
	@# The decisions by themselves: microseconds, as JSON.
	$(CARGO) bench --quiet --locked --bench decide > target/decisions.json
	$(CARGO) build --release --locked -p harness
	target/release/harness bench --operator $(OPERATOR) --decisions target/decisions.json \
		$(if $(QUICK),$(BENCH_QUICK) --report target/BENCHMARKS-quick.md,--report BENCHMARKS.md)

.PHONY: soak
soak: cluster build ## Churn objects with faults for half an hour, and draw memory, descriptors and tasks into docs/soak.svg
	$(CARGO) build --release --locked -p harness
	target/release/harness soak --operator $(OPERATOR) --graph docs/soak.svg $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: metrics
metrics: cluster $(TOOLS_DIR)/promtool $(TOOLS_DIR)/prometheus ## Have the real Prometheus look at the metrics, the alerts and the dashboard
	$(TOOLS_DIR)/promtool check rules --lint=all --lint-fatal $(CHART)/files/alerts.yaml
	$(TOOLS_DIR)/promtool test rules tests/alerts/*.yaml
	$(CARGO) build --workspace --locked
	$(CARGO) test --locked --test operator -- --ignored promtool
	target/debug/harness dashboard --operator target/debug/cloudflare-mtls-operator --seconds 30 --picture target/dashboard.svg

.PHONY: dashboard
dashboard: cluster $(TOOLS_DIR)/prometheus ## Draw the dashboard into docs/dashboard.svg, from six minutes of what a real Prometheus scraped
	$(CARGO) build --workspace --locked
	target/debug/harness dashboard --operator target/debug/cloudflare-mtls-operator --picture docs/dashboard.svg

GITOPS_TOOLS := $(foreach tool,kube-controller-manager helm4 kustomize-controller helm-controller sops age-keygen kubeseal \
	flux-crds.yaml secrets-crds.yaml argocd-crds.yaml,$(TOOLS_DIR)/$(tool))

.PHONY: gitops
gitops: cluster $(GITOPS_TOOLS) ## Have Flux' own controllers reconcile the operator and its objects
	$(CARGO) build --locked -p harness
	$(CARGO) test --locked --test gitops -- --ignored

.PHONY: argocd-testdata
argocd-testdata: cluster $(TOOLS_DIR)/argo-lua ## Bring an object into every state, and write deploy/argocd from what kubectl shows
	$(CARGO) build --locked -p harness
	@# One after the other: the cases and the ConfigMap are written from what the states left.
	BLESS=1 $(CARGO) test --quiet --locked --test operator argocd::states
	BLESS=1 $(CARGO) test --quiet --locked --test operator argocd::written
	$(CARGO) test --quiet --locked --test operator argocd

.PHONY: crds
crds: ## Generate crds/, and the chart's copy, from the types
	$(CARGO) run --quiet --locked -- crd > crds/mtlshostnamesettings.yaml.new
	mv crds/mtlshostnamesettings.yaml.new crds/mtlshostnamesettings.yaml
	cp crds/mtlshostnamesettings.yaml $(CHART)/files/crd.yaml

.PHONY: reference
reference: ## Generate the tables of docs/reference.md from the CRD
	BLESS=1 $(CARGO) test --quiet --locked --test install reference::

.PHONY: manifests
manifests: $(TOOLS_DIR)/helm4 ## Generate deploy/install.yaml, the plain manifests, from the chart
	@deploy/render > deploy/install.yaml.new
	mv deploy/install.yaml.new deploy/install.yaml

.PHONY: chart-docs
chart-docs: $(TOOLS_DIR)/helm-docs ## Generate the chart's README from its values and README.md.gotmpl
	@$< --chart-search-root=$(CHART) --sort-values-order=file

.PHONY: chart-package
chart-package: $(TOOLS_DIR)/helm4 ## Package the chart as it is published, into target/chart
	@$< package $(CHART) --destination target/chart

.PHONY: chart-test
chart-test: $(TOOLS_DIR)/helm-unittest ## Run the chart's own suites
	@$< --strict $(CHART)

.PHONY: check
check: cluster $(CHECK_TOOLS) ## Run the linters for everything that is not Rust: documents, scripts, chart, manifests, workflows
	@$(CARGO) build --quiet --locked -p harness
	@tests/check/run

.PHONY: audit
audit: ## Check licences, sources, bans and advisories of all dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo "installing cargo-deny 0.20.2 (about 5 minutes) ..."; $(CARGO) install --quiet --locked cargo-deny@0.20.2; }
	$(CARGO) deny --workspace check bans licenses sources
	@mkdir -p target
	@if ! $(CARGO) deny --workspace fetch db >target/advisories.log 2>&1; then \
		echo "WARNING: the RustSec advisory database cannot be fetched here, so advisories were NOT checked:"; \
		sed 's/^/    /' target/advisories.log | tail -n 3; \
	else $(CARGO) deny --workspace check advisories; fi

.PHONY: clean
clean: ## Remove everything that was built, the tools too
	$(CARGO) clean
