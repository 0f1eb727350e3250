{{- define "darkroom.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "darkroom.releaseLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "darkroom.labels" -}}
{{ include "darkroom.releaseLabels" . }}
app.kubernetes.io/part-of: darkroom
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The image of a service. Takes root and service. */}}
{{- define "darkroom.image" -}}
{{- $image := .root.Values.image -}}
{{- $own := index .root.Values.services .service -}}
{{- printf "%s/%s/%s" $image.registry $image.repository .service -}}
{{- if $own.digest -}}@{{ $own.digest }}{{- else -}}:{{ $image.tag | default .root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "darkroom.podSecurity" -}}
runAsNonRoot: true
{{- if not .Values.arbitraryUser }}
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "darkroom.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What a service is, apart from its size: its secrets by setting, its volumes and its ports. */}}
{{- define "darkroom.facts" -}}
ingest:
  keys: {PHI_KEYS: phiKeys, BLIND_INDEX_KEY: blindIndexKey, PSEUDONYM_KEY: pseudonymKey}
  store: write
  spool: true
  ports: {dicom: 11112, stow: 11180}
metadata:
  keys: {PHI_KEYS: phiKeys, BLIND_INDEX_KEY: blindIndexKey}
  store: write
transmit:
  keys: {PHI_KEYS: phiKeys, PSEUDONYM_KEY: pseudonymKey}
  store: read
print:
  keys: {PHI_KEYS: phiKeys}
  store: read
api:
  keys: {PHI_KEYS: phiKeys, BLIND_INDEX_KEY: blindIndexKey, JWT_KEY: jwtKey, AUDIT_KEYS: auditKeys, PSEUDONYM_KEY: pseudonymKey, ADMIN_PASSWORD: adminPassword}
  store: read
  exports: true
  ports: {http: 8080}
licensing: {licence: true}
{{- end -}}

{{/* The ports of a service by name: those that it always has and those of values. Takes root and service. */}}
{{- define "darkroom.ports" -}}
{{- with (index (include "darkroom.facts" .root | fromYaml) .service).ports -}}
{{ toYaml . }}
{{- end -}}
{{- if and (eq .service "transmit") .root.Values.commitment.enabled -}}
commitment: 11113
{{- end -}}
{{- if and (eq .service "ingest") .root.Values.hl7.enabled }}
hl7: 2575
{{- end -}}
{{- end -}}

{{/* The name of the secret with the certificate of a service, if there is one. Takes root and service. */}}
{{- define "darkroom.tlsSecret" -}}
{{- if eq .service "ingest" -}}
{{ include "darkroom.dicomTls" .root }}
{{- else -}}
{{- with (index .root.Values.services .service).tls -}}
{{ .existingSecret }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of the secret with the certificate among our services; empty without TLS. */}}
{{- define "darkroom.innerTls" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "darkroom.fullname" . }}-inner-tls
{{- else -}}
{{ .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{/* The name of the secret with the certificate of DICOM over TLS; empty without. */}}
{{- define "darkroom.dicomTls" -}}
{{ .Values.dicom.tls.existingSecret | default (include "darkroom.innerTls" .) }}
{{- end -}}

{{/* The URL of the object store. */}}
{{- define "darkroom.storeUrl" -}}
{{- $s3 := .Values.objectStore.s3 -}}
{{- if $s3.bucket -}}
s3://{{ $s3.bucket }}/{{ $s3.prefix }}?region={{ $s3.region }}
{{- with $s3.endpoint }}&endpoint={{ urlquery . }}{{ end }}
{{- if $s3.existingSecret }}&credentials=/run/secrets/store/credentials{{ end }}
{{- with $s3.authorityKey }}&authority=/run/secrets/store/{{ . }}{{ end }}
{{- else -}}
file:///var/lib/darkroom/objects
{{- end -}}
{{- end -}}

{{/* How a Service is reached from outside. Takes its values. */}}
{{- define "darkroom.exposure" -}}
type: {{ .type }}
{{- if ne .type "ClusterIP" }}
externalTrafficPolicy: {{ .externalTrafficPolicy }}
{{- end }}
{{- if and (eq .type "LoadBalancer") .loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml .loadBalancerSourceRanges | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Services with a schema to migrate. */}}
{{- define "darkroom.schemas" -}}
services: [ingest, metadata, transmit, print, api, licensing]
{{- end -}}

{{/* The file of a secret setting: POSTGRES_URL is postgres-url. */}}
{{- define "darkroom.secretFile" -}}
{{ . | lower | replace "_" "-" }}
{{- end -}}

{{- define "darkroom.objectsClaim" -}}
{{ .Values.objectStore.existingClaim | default (printf "%s-objects" (include "darkroom.fullname" .)) }}
{{- end -}}

{{/* The authority that PostgreSQL's certificate is of, for sslrootcert in the URLs. */}}
{{- define "darkroom.postgresCa" -}}
{{- with .Values.secrets.postgres.ca -}}
{{- if .existingSecret -}}
- secret:
    name: {{ .existingSecret }}
    items:
      - key: {{ .key }}
        path: postgres-ca.crt
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The authority that RabbitMQ's certificate is of, for cafile in the URLs. */}}
{{- define "darkroom.amqpCa" -}}
{{- with .Values.secrets.amqp.ca -}}
{{- if .existingSecret -}}
- secret:
    name: {{ .existingSecret }}
    items:
      - key: {{ .key }}
        path: amqp-ca.crt
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Peers of an egress rule. What is open to everywhere never reaches the metadata of a cloud's
machines, which hands out credentials to whoever asks. */}}
{{- define "darkroom.egressPeers" -}}
{{- $never := dict
  "0.0.0.0/0" (list "169.254.0.0/16" "168.63.129.16/32" "100.100.100.200/32" "192.0.0.192/32")
  "::/0" (list "fe80::/10" "fd00:ec2::254/128" "fd20:ce::254/128") -}}
{{- $peers := list -}}
{{- range $peer := . -}}
{{- $cidr := dig "ipBlock" "cidr" "" $peer -}}
{{- if hasKey $never $cidr -}}
{{- $except := concat (dig "ipBlock" "except" list $peer) (index $never $cidr) | uniq -}}
{{- $peers = append $peers (dict "ipBlock" (dict "cidr" $cidr "except" $except)) -}}
{{- else -}}
{{- $peers = append $peers $peer -}}
{{- end -}}
{{- end -}}
{{- toYaml $peers -}}
{{- end }}
