# The real programs that the tests run against, built once from pinned Go modules into target/tools.
# A folder that already has them (etcd, kube-apiserver, kubectl) can be named in KUBEBUILDER_ASSETS; then nothing is built but
# kube-controller-manager, which one test needs and such folders usually lack.

TOOLS_DIR    := target/tools
TOOLS_SOURCE := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
TOOLS_GO     ?= go

KUBERNETES_VERSION := $(shell sed -n 's,^require k8s.io/kubernetes ,,p' $(TOOLS_SOURCE)/kubernetes/go.mod)
ETCD_VERSION       := $(shell sed -n 's,^require go.etcd.io/etcd/server/v3 ,,p' $(TOOLS_SOURCE)/etcd/go.mod)
HELM3_VERSION      := $(shell sed -n 's,^require helm.sh/helm/v3 ,,p' $(TOOLS_SOURCE)/helm3/go.mod)
HELM4_VERSION      := $(shell sed -n 's,^require helm.sh/helm/v4 ,,p' $(TOOLS_SOURCE)/helm4/go.mod)
HELM_DOCS_VERSION  := $(shell sed -n 's,^require github.com/norwoodj/helm-docs ,,p' $(TOOLS_SOURCE)/helm-docs/go.mod)
HELM_UNITTEST_VERSION := $(shell sed -n 's,^require github.com/helm-unittest/helm-unittest ,,p' $(TOOLS_SOURCE)/helm-unittest/go.mod)
ACTIONLINT_VERSION := $(shell sed -n 's,^require github.com/rhysd/actionlint ,,p' $(TOOLS_SOURCE)/actionlint/go.mod)
KUBECONFORM_VERSION := $(shell sed -n 's,^require github.com/yannh/kubeconform ,,p' $(TOOLS_SOURCE)/kubeconform/go.mod)
PROMETHEUS_VERSION := $(shell sed -n 's,^require github.com/prometheus/prometheus ,,p' $(TOOLS_SOURCE)/prometheus/go.mod)
FLUX_VERSION       := $(shell sed -n 's,^require github.com/fluxcd/kustomize-controller ,,p' $(TOOLS_SOURCE)/kustomize-controller/go.mod)
HELM_CONTROLLER_VERSION := $(shell sed -n 's,^require github.com/fluxcd/helm-controller ,,p' $(TOOLS_SOURCE)/helm-controller/go.mod)
SEALED_SECRETS_VERSION := $(shell sed -n 's,^require github.com/bitnami/sealed-secrets ,,p' $(TOOLS_SOURCE)/sealed-secrets/go.mod)
SOPS_VERSION       := $(shell sed -n 's,^\tgithub.com/getsops/sops/v3 ,,p' $(TOOLS_SOURCE)/kustomize-controller/go.mod)
AGE_VERSION        := $(shell sed -n 's,^\tfilippo.io/age ,,p' $(TOOLS_SOURCE)/kustomize-controller/go.mod)

# Without a stamp the programs call themselves v0.0.0, and Helm's `kubeVersion` checks and `kubectl version` believe it.
kubernetes_numbers := $(subst ., ,$(patsubst v%,%,$(KUBERNETES_VERSION)))
kubernetes_stamp    = $(foreach package,k8s.io/component-base/version k8s.io/client-go/pkg/version, \
	-X $(package).gitVersion=$(KUBERNETES_VERSION) \
	-X $(package).gitMajor=$(word 1,$(kubernetes_numbers)) \
	-X $(package).gitMinor=$(word 2,$(kubernetes_numbers)) \
	-X $(package).gitTreeState=clean \
	-X $(package).gitCommit=0000000000000000000000000000000000000000 \
	-X $(package).buildDate=2026-01-01T00:00:00Z)

# $(call go_tool,MODULE FOLDER,PACKAGE,VERSION,TIME WHEN COLD,STAMP)
# GOWORK and -mod keep a workspace or flags of the caller's from changing what is built; go.sum is committed, so no
# checksum database is asked. The program appears under its name only when it is whole.
define go_tool
@command -v $(TOOLS_GO) >/dev/null || { \
	echo "building $(@F) needs Go; install it, or name a folder that has etcd, kube-apiserver and kubectl in KUBEBUILDER_ASSETS" >&2; exit 1; }
@mkdir -p $(@D)
@echo "building $(@F) $(3) from its Go module ($(4) the first time) ..."
@start=$$(date +%s); \
output=$$(pwd)/$@.$$$$; trap 'rm -f "$$output"' EXIT; trap 'exit 130' INT TERM; \
(cd $(TOOLS_SOURCE)/$(1) && CGO_ENABLED=0 GOWORK=off $(TOOLS_GO) build -mod=readonly -trimpath -buildvcs=false \
	-ldflags '-s -w $(strip $(5))' -o "$$output" $(2)) && \
mv "$$output" $@ && \
echo "built $(@F) in $$(($$(date +%s) - start)) s"
endef

# The order-only prerequisites make one wait for the other under `make -j` too: each of them keeps all cores busy.
$(TOOLS_DIR)/etcd: $(TOOLS_SOURCE)/etcd/go.mod $(TOOLS_SOURCE)/etcd/go.sum
	$(call go_tool,etcd,go.etcd.io/etcd/server/v3,$(ETCD_VERSION),half a minute)

kubernetes_module := $(TOOLS_SOURCE)/kubernetes/go.mod $(TOOLS_SOURCE)/kubernetes/go.sum

$(TOOLS_DIR)/kube-apiserver: $(kubernetes_module) | $(TOOLS_DIR)/etcd
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kube-apiserver,$(KUBERNETES_VERSION),about 5 minutes,$(kubernetes_stamp))

$(TOOLS_DIR)/kubectl: $(kubernetes_module) | $(TOOLS_DIR)/kube-apiserver
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kubectl,$(KUBERNETES_VERSION),about 1 minute,$(kubernetes_stamp))

$(TOOLS_DIR)/kube-controller-manager: $(kubernetes_module)
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kube-controller-manager,$(KUBERNETES_VERSION),about $(if $(KUBEBUILDER_ASSETS),5 minutes,1 minute),$(kubernetes_stamp))

$(TOOLS_DIR)/helm4: $(TOOLS_SOURCE)/helm4/go.mod $(TOOLS_SOURCE)/helm4/go.sum
	$(call go_tool,helm4,helm.sh/helm/v4/cmd/helm,$(HELM4_VERSION),about 3 minutes,-X helm.sh/helm/v4/internal/version.version=$(HELM4_VERSION))

$(TOOLS_DIR)/helm3: $(TOOLS_SOURCE)/helm3/go.mod $(TOOLS_SOURCE)/helm3/go.sum | $(TOOLS_DIR)/helm4
	$(call go_tool,helm3,helm.sh/helm/v3/cmd/helm,$(HELM3_VERSION),about 1 minute,-X helm.sh/helm/v3/internal/version.version=$(HELM3_VERSION))

$(TOOLS_DIR)/argo-lua: $(wildcard $(TOOLS_SOURCE)/argo-lua/*)
	$(call go_tool,argo-lua,.,with the interpreter of Argo CD,seconds)

$(TOOLS_DIR)/helm-docs: $(TOOLS_SOURCE)/helm-docs/go.mod $(TOOLS_SOURCE)/helm-docs/go.sum | $(TOOLS_DIR)/helm3
	$(call go_tool,helm-docs,github.com/norwoodj/helm-docs/cmd/helm-docs,$(HELM_DOCS_VERSION),half a minute,-X main.version=$(HELM_DOCS_VERSION))

$(TOOLS_DIR)/helm-unittest: $(TOOLS_SOURCE)/helm-unittest/go.mod $(TOOLS_SOURCE)/helm-unittest/go.sum | $(TOOLS_DIR)/helm3
	$(call go_tool,helm-unittest,github.com/helm-unittest/helm-unittest/cmd/helm-unittest,$(HELM_UNITTEST_VERSION),about 2 minutes)

# Not among the tools of the suite: `make e2e` alone needs them.
$(TOOLS_DIR)/kubelet: $(kubernetes_module)
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kubelet,$(KUBERNETES_VERSION),about 1 minute,$(kubernetes_stamp))

$(TOOLS_DIR)/kube-scheduler: $(kubernetes_module) | $(TOOLS_DIR)/kubelet
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kube-scheduler,$(KUBERNETES_VERSION),a quarter of a minute,$(kubernetes_stamp))

# The program that holds a pod's namespaces, as Kubernetes has it in its own image.
$(TOOLS_DIR)/pause: $(kubernetes_module)
	@mkdir -p $(TOOLS_DIR) && cd $(TOOLS_SOURCE)/kubernetes && $(TOOLS_GO) mod download k8s.io/kubernetes && \
	$(CC) -Os -static -s -o $(abspath $@) "$$($(TOOLS_GO) list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c"

# Not among the tools of the suite: `make metrics` alone needs these two.
$(TOOLS_DIR)/promtool: $(TOOLS_SOURCE)/prometheus/go.mod $(TOOLS_SOURCE)/prometheus/go.sum
	$(call go_tool,prometheus,github.com/prometheus/prometheus/cmd/promtool,$(PROMETHEUS_VERSION),about 4 minutes)

$(TOOLS_DIR)/prometheus: $(TOOLS_SOURCE)/prometheus/go.mod $(TOOLS_SOURCE)/prometheus/go.sum | $(TOOLS_DIR)/promtool
	$(call go_tool,prometheus,github.com/prometheus/prometheus/cmd/prometheus,$(PROMETHEUS_VERSION),about 2 minutes)

# Not among the tools of the suite: `make gitops` alone needs these three. They share a module, since Flux decrypts with
# the libraries of the two others.
flux_module := $(TOOLS_SOURCE)/kustomize-controller/go.mod $(TOOLS_SOURCE)/kustomize-controller/go.sum

$(TOOLS_DIR)/kustomize-controller: $(flux_module)
	$(call go_tool,kustomize-controller,github.com/fluxcd/kustomize-controller,$(FLUX_VERSION),about 9 minutes)

$(TOOLS_DIR)/sops: $(flux_module) | $(TOOLS_DIR)/kustomize-controller
	$(call go_tool,kustomize-controller,github.com/getsops/sops/v3/cmd/sops,$(SOPS_VERSION),about 1 minute)

$(TOOLS_DIR)/age-keygen: $(flux_module) | $(TOOLS_DIR)/sops
	$(call go_tool,kustomize-controller,filippo.io/age/cmd/age-keygen,$(AGE_VERSION),seconds)

helm_controller_module := $(TOOLS_SOURCE)/helm-controller/go.mod $(TOOLS_SOURCE)/helm-controller/go.sum

$(TOOLS_DIR)/helm-controller: $(helm_controller_module) | $(TOOLS_DIR)/age-keygen
	$(call go_tool,helm-controller,github.com/fluxcd/helm-controller,$(HELM_CONTROLLER_VERSION),about 5 minutes)

$(TOOLS_DIR)/kubeseal: $(TOOLS_SOURCE)/sealed-secrets/go.mod $(TOOLS_SOURCE)/sealed-secrets/go.sum
	$(call go_tool,sealed-secrets,github.com/bitnami/sealed-secrets/cmd/kubeseal,$(SEALED_SECRETS_VERSION),about 1 minute)

# Definitions of other people's kinds, as they lie in their modules: $(call definitions,MODULE FOLDER,MODULE,VERSION,FILES)
definitions = folder=$$(cd $(TOOLS_SOURCE)/$(1) && GOWORK=off $(TOOLS_GO) mod download -json $(2)@$(3) | \
	sed -n 's/^\t"Dir": "\(.*\)",*$$/\1/p') && cat "$$folder"/$(4)
crds_version = $(shell sed -n 's,^\t$(1) ,,p' $(TOOLS_SOURCE)/crds/go.mod)

flux_source_version = $(call crds_version,github.com/fluxcd/source-controller)

$(TOOLS_DIR)/flux-crds.yaml: $(flux_module) $(helm_controller_module) $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,kustomize-controller,github.com/fluxcd/kustomize-controller,$(FLUX_VERSION),config/crd/bases/*.yaml) && \
	$(call definitions,helm-controller,github.com/fluxcd/helm-controller,$(HELM_CONTROLLER_VERSION),config/crd/bases/*.yaml) && \
	$(call definitions,crds,github.com/fluxcd/source-controller,$(flux_source_version),config/crd/bases/*.yaml)) > $@.new
	@mv $@.new $@

argocd_version = $(call crds_version,github.com/argoproj/argo-cd/v3)

$(TOOLS_DIR)/argocd-crds.yaml: $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,crds,github.com/argoproj/argo-cd/v3,$(argocd_version),manifests/crds/application-crd.yaml)) > $@.new
	@mv $@.new $@

prometheus_operator_version = $(call crds_version,github.com/prometheus-operator/prometheus-operator)
monitoring_kinds := example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules,servicemonitors}.yaml

$(TOOLS_DIR)/monitoring-crds.yaml: $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,crds,github.com/prometheus-operator/prometheus-operator,$(prometheus_operator_version),$(monitoring_kinds))) > $@.new
	@mv $@.new $@

external_secrets_version = $(call crds_version,github.com/external-secrets/external-secrets)

$(TOOLS_DIR)/secrets-crds.yaml: $(TOOLS_SOURCE)/sealed-secrets/go.mod $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,sealed-secrets,github.com/bitnami/sealed-secrets,$(SEALED_SECRETS_VERSION),helm/sealed-secrets/crds/*.yaml) && echo --- && \
	$(call definitions,crds,github.com/external-secrets/external-secrets,$(external_secrets_version),deploy/crds/bundle.yaml)) > $@.new
	@mv $@.new $@

# What `make check` runs.
$(TOOLS_DIR)/actionlint: $(TOOLS_SOURCE)/actionlint/go.mod $(TOOLS_SOURCE)/actionlint/go.sum
	$(call go_tool,actionlint,github.com/rhysd/actionlint/cmd/actionlint,$(ACTIONLINT_VERSION),seconds)

$(TOOLS_DIR)/kubeconform: $(TOOLS_SOURCE)/kubeconform/go.mod $(TOOLS_SOURCE)/kubeconform/go.sum
	$(call go_tool,kubeconform,github.com/yannh/kubeconform/cmd/kubeconform,$(KUBECONFORM_VERSION),seconds)

linters_source := $(addprefix $(TOOLS_SOURCE)/linters/,requirements.txt package.json package-lock.json)

# As they are published for Python and for Node, with everything that they need pinned.
$(TOOLS_DIR)/linters/installed: $(linters_source)
	@python3 --version >/dev/null && npm --version >/dev/null || { echo "the linters need Python and npm" >&2; exit 1; }
	@echo "installing the linters from PyPI and npm (half a minute the first time) ..."
	@rm -rf $(@D) && python3 -m venv $(@D) && mkdir $(@D)/node && cp $(filter %.json,$^) $(@D)/node/
	@$(@D)/bin/pip install --disable-pip-version-check --quiet --no-deps -r $(TOOLS_SOURCE)/linters/requirements.txt
	@npm ci --prefix $(@D)/node --ignore-scripts --no-audit --no-fund --silent
	@touch $@

CHECK_TOOLS := $(addprefix $(TOOLS_DIR)/,actionlint helm3 helm4 kubeconform linters/installed \
	monitoring-crds.yaml flux-crds.yaml argocd-crds.yaml secrets-crds.yaml)

# What the suite needs beside the control plane.
SUITE_TOOLS := $(addprefix $(TOOLS_DIR)/,helm4 helm3 helm-docs argo-lua monitoring-crds.yaml)

.PHONY: cluster tools
ifdef KUBEBUILDER_ASSETS
cluster:
tools: $(if $(wildcard $(KUBEBUILDER_ASSETS)/kube-controller-manager),,$(TOOLS_DIR)/kube-controller-manager) $(SUITE_TOOLS)
else
cluster: $(TOOLS_DIR)/etcd $(TOOLS_DIR)/kube-apiserver $(TOOLS_DIR)/kubectl
$(TOOLS_DIR)/kube-controller-manager: | $(TOOLS_DIR)/kubectl
$(TOOLS_DIR)/helm4: | $(TOOLS_DIR)/kubectl
tools: cluster $(TOOLS_DIR)/kube-controller-manager $(SUITE_TOOLS) ## Build etcd, Kubernetes' programs, Helm 3 and 4 and what else the tests run
endif
