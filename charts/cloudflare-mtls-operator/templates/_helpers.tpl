{{/* The name of the program; what else is called so has it from here. */}}
{{- define "cloudflare-mtls-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of everything that the release creates. */}}
{{- define "cloudflare-mtls-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "cloudflare-mtls-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cloudflare-mtls-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* Quoted, as every name is: what looks like a number is one to YAML, and no label. */}}
{{- define "cloudflare-mtls-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cloudflare-mtls-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "cloudflare-mtls-operator.labels" -}}
{{- $version := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- toYaml (merge (include "cloudflare-mtls-operator.selectorLabels" . | fromYaml) $version (default (dict) .Values.commonLabels)) }}
{{- end }}

{{/*
The metadata of an object: a dict with root, name, and where wanted labels, annotations, namespace (its name) or cluster
(true for what has no namespace).
*/}}
{{- define "cloudflare-mtls-operator.metadata" -}}
name: {{ .name | quote }}
{{- if not .cluster }}
namespace: {{ default (include "cloudflare-mtls-operator.namespace" .root) .namespace | quote }}
{{- end }}
labels:
  {{- $labels := include "cloudflare-mtls-operator.labels" .root | fromYaml }}
  {{- toYaml (merge (dict) $labels (default (dict) .labels)) | nindent 2 }}
{{- with merge (dict) (default (dict) .annotations) (default (dict) .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A duration such as 1h30m in seconds; the schema has checked its form. */}}
{{- define "cloudflare-mtls-operator.seconds" -}}
{{- $hours := regexFind "[0-9]+h" . | trimSuffix "h" | atoi }}
{{- $minutes := regexFind "[0-9]+m" . | trimSuffix "m" | atoi }}
{{- add (mul $hours 3600) (mul $minutes 60) (regexFind "[0-9]+s" . | trimSuffix "s" | atoi) }}
{{- end }}

{{- define "cloudflare-mtls-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "cloudflare-mtls-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the ServiceAccount to run under, or set serviceAccount.create" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "cloudflare-mtls-operator.leaseName" -}}
{{- default (include "cloudflare-mtls-operator.fullname" .) .Values.leaderElection.name }}
{{- end }}

{{- define "cloudflare-mtls-operator.image" -}}
{{- $registry := default .Values.image.registry (.Values.global).imageRegistry }}
{{- with $registry }}{{ . }}/{{ end }}
{{- .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The names of the pull secrets, each once: the API server takes no name twice. */}}
{{- define "cloudflare-mtls-operator.pullSecrets" -}}
{{- $names := list }}
{{- range concat (default (list) .Values.imagePullSecrets) (default (list) (.Values.global).imagePullSecrets) }}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name")) }}
{{- end }}
{{- toJson (uniq $names) }}
{{- end }}

{{/* What the operator may do with objects, Secrets and events wherever it serves objects. */}}
{{- define "cloudflare-mtls-operator.rules" -}}
- apiGroups: [cloudflare-mtls.dev]
  resources: [mtlshostnamesettings]
  # patch: only the finalizer of objects with deletionPolicy Reset.
  verbs: [get, list, watch, patch]
- apiGroups: [cloudflare-mtls.dev]
  resources: [mtlshostnamesettings/status]
  verbs: [patch]
# Only ever read by name: a list or a watch would show every Secret of a namespace.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What cannot work is refused here, in the words of the values, before anything is installed. */}}
{{- define "cloudflare-mtls-operator.validate" -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) }}
{{- fail "leaderElection.enabled: false is for one replica that is never replaced before it has ended; set replicaCount to 1 or leave the election on" }}
{{- end }}
{{- if and (not .Values.leaderElection.enabled) (ne (.Values.strategy).type "Recreate") }}
{{- fail "leaderElection.enabled: false needs strategy.type Recreate, or two versions write at the same time during an upgrade" }}
{{- end }}
{{- $interval := include "cloudflare-mtls-operator.seconds" .Values.interval | int }}
{{- if or (lt $interval 60) (gt $interval 86400) }}
{{- fail (printf "interval: %s is not from 1m to 24h" .Values.interval) }}
{{- end }}
{{- $lease := include "cloudflare-mtls-operator.seconds" .Values.leaderElection.leaseDuration | int }}
{{- $deadline := include "cloudflare-mtls-operator.seconds" .Values.leaderElection.renewDeadline | int }}
{{- $retry := include "cloudflare-mtls-operator.seconds" .Values.leaderElection.retryPeriod | int }}
{{- if or (lt $lease 10) (gt $lease 600) }}
{{- fail (printf "leaderElection.leaseDuration: %s is not from 10s to 10m" .Values.leaderElection.leaseDuration) }}
{{- end }}
{{- if gt (add $deadline 2) (int64 $lease) }}
{{- fail "leaderElection.renewDeadline has to be at least 2s shorter than leaderElection.leaseDuration" }}
{{- end }}
{{- if or (lt $retry 1) (gt (mul $retry 2) (int64 $deadline)) }}
{{- fail "leaderElection.retryPeriod has to be from 1s to half of leaderElection.renewDeadline" }}
{{- end }}
{{- if and .Values.podDisruptionBudget.enabled (gt (int .Values.replicaCount) 0) }}
{{- $least := toString .Values.podDisruptionBudget.minAvailable }}
{{- $most := toString .Values.podDisruptionBudget.maxUnavailable }}
{{- /* The API server rounds parts of a pod up. */}}
{{- $stay := hasSuffix "%" $least | ternary (div (add 99 (mul (trimSuffix "%" $least | int) .Values.replicaCount)) 100) (int $least) }}
{{- if and (ne $least "") (ge (int $stay) (int .Values.replicaCount)) }}
{{- fail (printf "podDisruptionBudget.minAvailable: %s of %d replicas lets no node be drained; lower it, or raise replicaCount" $least (int .Values.replicaCount)) }}
{{- end }}
{{- if and (eq $least "") (has $most (list "0" "0%")) }}
{{- fail (printf "podDisruptionBudget.maxUnavailable: %s lets no node be drained" $most) }}
{{- end }}
{{- end }}
{{- if and .Values.caBundle.configMap .Values.caBundle.secret }}
{{- fail "caBundle.configMap and caBundle.secret: choose one of them" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: choose one of them, or every series is scraped twice" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs metrics.service.enabled; metrics.podMonitor.enabled does without a Service" }}
{{- end }}
{{- end }}
