# The real programs that the tests run against, built once from pinned Go modules into target/tools.
# A folder that already has them (etcd, kube-apiserver, kubectl) can be named in KUBEBUILDER_ASSETS; then nothing is built but
# kube-controller-manager, which one test needs and such folders usually lack.

TOOLS_DIR    := target/tools
TOOLS_SOURCE := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
TOOLS_GO     ?= go

# $(call pinned,MODULE FOLDER,PACKAGE): the version that go.mod in this folder pins of the module that has the package.
pinned = $(shell awk -v package=$(2)/ '{ sub(/^require /, "") } index(package, $$1 "/") == 1 { print $$2; exit }' \
	$(TOOLS_SOURCE)/$(1)/go.mod)
# $(call module,MODULE FOLDER): the files that say what is built.
module = $(TOOLS_SOURCE)/$(1)/go.mod $(TOOLS_SOURCE)/$(1)/go.sum

KUBERNETES_VERSION := $(call pinned,kubernetes,k8s.io/kubernetes)

# Without a stamp the programs call themselves v0.0.0, and Helm's `kubeVersion` checks and `kubectl version` believe it.
kubernetes_numbers := $(subst ., ,$(patsubst v%,%,$(KUBERNETES_VERSION)))
kubernetes_stamp    = $(foreach package,k8s.io/component-base/version k8s.io/client-go/pkg/version, \
	-X $(package).gitVersion=$(KUBERNETES_VERSION) \
	-X $(package).gitMajor=$(word 1,$(kubernetes_numbers)) \
	-X $(package).gitMinor=$(word 2,$(kubernetes_numbers)) \
	-X $(package).gitTreeState=clean \
	-X $(package).gitCommit=0000000000000000000000000000000000000000 \
	-X $(package).buildDate=2026-01-01T00:00:00Z)

# $(call go_tool,MODULE FOLDER,PACKAGE,TIME WHEN COLD,FLAGS OF THE LINKER,WHAT IS BUILT WHERE THAT IS NO PINNED VERSION)
# GOWORK and -mod keep a workspace or flags of the caller's from changing what is built; go.sum is committed, so no
# checksum database is asked. The program appears under its name only when it is whole.
define go_tool
@command -v $(TOOLS_GO) >/dev/null || { \
	echo "building $(@F) needs Go; install it, or name a folder that has etcd, kube-apiserver and kubectl in KUBEBUILDER_ASSETS" >&2; exit 1; }
@mkdir -p $(@D)
@echo "building $(@F) $(or $(5),$(call pinned,$(1),$(2))) from its Go module ($(3) the first time) ..."
@start=$$(date +%s); \
output=$$(pwd)/$@.$$$$; trap 'rm -f "$$output"' EXIT; trap 'exit 130' INT TERM; \
(cd $(TOOLS_SOURCE)/$(1) && CGO_ENABLED=0 GOWORK=off $(TOOLS_GO) build -mod=readonly -trimpath -buildvcs=false \
	-tags '$(TAGS)' -ldflags '-s -w $(strip $(4))' -o "$$output" $(2)) && \
mv "$$output" $@ && \
echo "built $(@F) in $$(($$(date +%s) - start)) s"
endef

# The order-only prerequisites make one wait for the other under `make -j` too: each of them keeps all cores busy.
$(TOOLS_DIR)/etcd: $(call module,etcd)
	$(call go_tool,etcd,go.etcd.io/etcd/server/v3,half a minute)

$(TOOLS_DIR)/kube-apiserver: $(call module,kubernetes) | $(TOOLS_DIR)/etcd
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kube-apiserver,about 5 minutes,$(kubernetes_stamp))

$(TOOLS_DIR)/kubectl: $(call module,kubernetes) | $(TOOLS_DIR)/kube-apiserver
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kubectl,about 1 minute,$(kubernetes_stamp))

$(TOOLS_DIR)/kube-controller-manager: $(call module,kubernetes)
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kube-controller-manager,about $(if $(KUBEBUILDER_ASSETS),5 minutes,1 minute),$(kubernetes_stamp))

$(TOOLS_DIR)/helm4: $(call module,helm4)
	$(call go_tool,helm4,helm.sh/helm/v4/cmd/helm,about 3 minutes,-X helm.sh/helm/v4/internal/version.version=$(call pinned,helm4,helm.sh/helm/v4/cmd/helm))

$(TOOLS_DIR)/helm3: $(call module,helm3) | $(TOOLS_DIR)/helm4
	$(call go_tool,helm3,helm.sh/helm/v3/cmd/helm,about 1 minute,-X helm.sh/helm/v3/internal/version.version=$(call pinned,helm3,helm.sh/helm/v3/cmd/helm))

$(TOOLS_DIR)/argo-lua: $(wildcard $(TOOLS_SOURCE)/argo-lua/*)
	$(call go_tool,argo-lua,.,seconds,,with the interpreter of Argo CD)

$(TOOLS_DIR)/helm-docs: $(call module,helm-docs) | $(TOOLS_DIR)/helm3
	$(call go_tool,helm-docs,github.com/norwoodj/helm-docs/cmd/helm-docs,half a minute,-X main.version=$(call pinned,helm-docs,github.com/norwoodj/helm-docs/cmd/helm-docs))

$(TOOLS_DIR)/helm-unittest: $(call module,helm-unittest) | $(TOOLS_DIR)/helm3
	$(call go_tool,helm-unittest,github.com/helm-unittest/helm-unittest/cmd/helm-unittest,about 2 minutes)

# Not among the tools of the suite: `make e2e` alone needs them.
$(TOOLS_DIR)/kubelet: $(call module,kubernetes)
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kubelet,about 1 minute,$(kubernetes_stamp))

$(TOOLS_DIR)/kube-scheduler: $(call module,kubernetes) | $(TOOLS_DIR)/kubelet
	$(call go_tool,kubernetes,k8s.io/kubernetes/cmd/kube-scheduler,a quarter of a minute,$(kubernetes_stamp))

# The program that holds a pod's namespaces, as Kubernetes has it in its own image.
$(TOOLS_DIR)/pause: $(call module,kubernetes)
	@mkdir -p $(TOOLS_DIR) && cd $(TOOLS_SOURCE)/kubernetes && $(TOOLS_GO) mod download k8s.io/kubernetes && \
	$(CC) -Os -static -s -o $(abspath $@) "$$($(TOOLS_GO) list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c"

# Not among the tools of the suite: `make metrics` alone needs these two.
# Without the clouds in which it can look for what to scrape: they are most of what there is to build.
$(TOOLS_DIR)/promtool $(TOOLS_DIR)/prometheus: private TAGS := remove_all_sd
$(TOOLS_DIR)/promtool: $(call module,prometheus)
	$(call go_tool,prometheus,github.com/prometheus/prometheus/cmd/promtool,about 3 minutes)

$(TOOLS_DIR)/prometheus: $(call module,prometheus) | $(TOOLS_DIR)/promtool
	$(call go_tool,prometheus,github.com/prometheus/prometheus/cmd/prometheus,about 1 minute)

# Not among the tools of the suite: `make gitops` alone needs these three. They share a module, since Flux decrypts with
# the libraries of the two others.
$(TOOLS_DIR)/kustomize-controller: $(call module,kustomize-controller)
	$(call go_tool,kustomize-controller,github.com/fluxcd/kustomize-controller,about 9 minutes)

$(TOOLS_DIR)/sops: $(call module,kustomize-controller) | $(TOOLS_DIR)/kustomize-controller
	$(call go_tool,kustomize-controller,github.com/getsops/sops/v3/cmd/sops,about 1 minute)

$(TOOLS_DIR)/age-keygen: $(call module,kustomize-controller) | $(TOOLS_DIR)/sops
	$(call go_tool,kustomize-controller,filippo.io/age/cmd/age-keygen,seconds)

$(TOOLS_DIR)/helm-controller: $(call module,helm-controller) | $(TOOLS_DIR)/age-keygen
	$(call go_tool,helm-controller,github.com/fluxcd/helm-controller,about 5 minutes)

$(TOOLS_DIR)/kubeseal: $(call module,sealed-secrets)
	$(call go_tool,sealed-secrets,github.com/bitnami/sealed-secrets/cmd/kubeseal,about 1 minute)

# Definitions of other people's kinds, as they lie in their modules: $(call definitions,MODULE FOLDER,MODULE,FILES)
definitions = folder=$$(cd $(TOOLS_SOURCE)/$(1) && GOWORK=off $(TOOLS_GO) mod download -json $(2)@$(call pinned,$(1),$(2)) | \
	sed -n 's/^\t"Dir": "\(.*\)",*$$/\1/p') && cat "$$folder"/$(3)

$(TOOLS_DIR)/flux-crds.yaml: $(call module,kustomize-controller) $(call module,helm-controller) $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,kustomize-controller,github.com/fluxcd/kustomize-controller,config/crd/bases/*.yaml) && \
	$(call definitions,helm-controller,github.com/fluxcd/helm-controller,config/crd/bases/*.yaml) && \
	$(call definitions,crds,github.com/fluxcd/source-controller,config/crd/bases/*.yaml)) > $@.new
	@mv $@.new $@

$(TOOLS_DIR)/argocd-crds.yaml: $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,crds,github.com/argoproj/argo-cd/v3,manifests/crds/application-crd.yaml)) > $@.new
	@mv $@.new $@

monitoring_kinds := example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules,servicemonitors}.yaml

$(TOOLS_DIR)/monitoring-crds.yaml: $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,crds,github.com/prometheus-operator/prometheus-operator,$(monitoring_kinds))) > $@.new
	@mv $@.new $@

$(TOOLS_DIR)/secrets-crds.yaml: $(TOOLS_SOURCE)/sealed-secrets/go.mod $(wildcard $(TOOLS_SOURCE)/crds/*)
	@mkdir -p $(@D)
	@($(call definitions,sealed-secrets,github.com/bitnami/sealed-secrets,helm/sealed-secrets/crds/*.yaml) && echo --- && \
	$(call definitions,crds,github.com/external-secrets/external-secrets,deploy/crds/bundle.yaml)) > $@.new
	@mv $@.new $@

# What `make check` runs.
$(TOOLS_DIR)/actionlint: $(call module,actionlint)
	$(call go_tool,actionlint,github.com/rhysd/actionlint/cmd/actionlint,seconds)

$(TOOLS_DIR)/kubeconform: $(call module,kubeconform)
	$(call go_tool,kubeconform,github.com/yannh/kubeconform/cmd/kubeconform,seconds)

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
