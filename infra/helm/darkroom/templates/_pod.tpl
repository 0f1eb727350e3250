{{/* The pod template of a service. Takes root and service. */}}
{{- define "darkroom.pod" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $values := index $root.Values.services $service -}}
{{- $facts := index (include "darkroom.facts" $root | fromYaml) $service -}}
{{- $s3 := $root.Values.objectStore.s3 -}}
{{- $name := printf "%s-%s" (include "darkroom.fullname" $root) $service -}}
{{- $ports := include "darkroom.ports" . | fromYaml -}}
{{- $tls := include "darkroom.tlsSecret" . -}}
{{- $https := eq .service "api" | ternary .root.Values.api.tls.existingSecret "" -}}
{{- $inner := include "darkroom.innerTls" .root -}}
{{- $scheme := $inner | empty | ternary "HTTP" "HTTPS" -}}
{{- $toIngest := and $inner .root.Values.dicom.tls.serverName .root.Values.dicom.tls.existingSecret (eq .service "transmit") -}}
{{- $preStop := empty $ports | ternary 0 5 -}}
{{- $handOver := empty $ports | ternary 0 $root.Values.handOverSeconds -}}
metadata:
  labels:
    {{- include "darkroom.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $service }}
  annotations:
    checksum/settings: {{ include "darkroom.settings" . | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  # Service links would set variables such as DARKROOM_DICOM_PORT=tcp://..., which are our settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $root.Values.drainSeconds $preStop $handOver 15 }}
  securityContext:
    {{- include "darkroom.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $root.Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range $root.Values.topologySpread.keys }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "darkroom.releaseLabels" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $service }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ $service }}
      image: {{ include "darkroom.image" . }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      securityContext:
        {{- include "darkroom.containerSecurity" $root | nindent 8 }}
      envFrom:
        - configMapRef:
            name: {{ $name }}
      env:
        {{- range $setting := concat (list "POSTGRES_URL" "AMQP_URL") (keys ($facts.keys | default dict) | sortAlpha) }}
        - name: DARKROOM_{{ $setting }}_FILE
          value: /run/secrets/darkroom/{{ include "darkroom.secretFile" $setting }}
        {{- end }}
        {{- if ($values.smtp | default dict).existingSecret }}
        - name: DARKROOM_SMTP_PASSWORD_FILE
          value: /run/secrets/darkroom/smtp-password
        {{- end }}
        {{- if ($values.oidc | default dict).existingSecret }}
        - name: DARKROOM_OIDC_CLIENT_SECRET_FILE
          value: /run/secrets/darkroom/oidc-client-secret
        {{- end }}
        {{- with $values.replication }}
        {{- if and .existingSecret .keys }}
        - name: DARKROOM_REPLICATION_KEYS_FILE
          value: /run/secrets/replication/{{ .keys }}
        {{- end }}
        {{- end }}
        {{- if ($values.odoo | default dict).existingSecret }}
        - name: DARKROOM_ODOO_API_KEY_FILE
          value: /run/secrets/darkroom/odoo-api-key
        {{- end }}
      ports:
        - name: health
          containerPort: 9090
        {{- range $port, $number := $ports }}
        - name: {{ $port }}
          containerPort: {{ $number }}
        {{- end }}
        {{- if and $tls (hasKey $facts "spool") }}
        - name: dicom-tls
          containerPort: 2762
        {{- end }}
      startupProbe: # two minutes to start
        httpGet: {path: /livez, port: health, scheme: {{ $scheme }}}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: health, scheme: {{ $scheme }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe: # it asks each dependency, up to 2 s
        httpGet: {path: /readyz, port: health, scheme: {{ $scheme }}}
        periodSeconds: 5
        timeoutSeconds: 4
        failureThreshold: 2
      {{- if $preStop }}
      lifecycle:
        preStop: # until no balancer sends new connections here; then until who is here has gone
          exec:
            command:
              - python
              - -c
              - import os, signal, time; time.sleep({{ $preStop }}); os.kill(1, signal.SIGUSR2); time.sleep({{ $handOver }})
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        - name: secrets
          mountPath: /run/secrets/darkroom
          readOnly: true
        {{- if and $facts.store (not $s3.bucket) }}
        - name: objects
          mountPath: /var/lib/darkroom/objects
          readOnly: {{ eq $facts.store "read" }}
        {{- else if and $facts.store $s3.existingSecret }}
        - name: store # the whole directory, so that renewed keys appear in it
          mountPath: /run/secrets/store
          readOnly: true
        {{- end }}
        {{- if ($values.replication | default dict).existingSecret }}
        - name: replication
          mountPath: /run/secrets/replication
          readOnly: true
        {{- end }}
        {{- if $facts.exports }}
        - name: objects # its own corner, which no listing of objects looks into
          mountPath: /var/lib/darkroom/exports
          subPath: .exports
        - name: objects # likewise: the end of the audit log's chain, outside of the database
          mountPath: /var/lib/darkroom/audit
          subPath: .audit
        {{- end }}
        {{- if $facts.licence }}
        - name: objects # its own corner, too: what has to be there after a restart elsewhere
          mountPath: /var/lib/darkroom/licence
          subPath: .licence
        {{- end }}
        {{- if $facts.spool }}
        - name: spool
          mountPath: /var/lib/darkroom/spool
        {{- end }}
        {{- if $tls }}
        - name: dicom-tls # the whole directory, so that a renewed certificate appears in it
          mountPath: /run/secrets/dicom-tls
          readOnly: true
        {{- end }}
        {{- if $inner }}
        - name: inner-tls # likewise
          mountPath: /run/secrets/inner-tls
          readOnly: true
        {{- end }}
        {{- if $toIngest }}
        - name: ingest-ca # likewise
          mountPath: /run/secrets/ingest-ca
          readOnly: true
        {{- end }}
        {{- if $https }}
        - name: http-tls # likewise
          mountPath: /run/secrets/http-tls
          readOnly: true
        {{- end }}
        {{- if ($values.destinations | default dict).existingSecret }}
        - name: destinations
          mountPath: /run/secrets/destinations
          readOnly: true
        {{- end }}
        {{- if $values.scratch }}
        - name: scratch
          mountPath: /var/lib/darkroom/scratch
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 256Mi
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ $root.Values.secrets.postgres.existingSecret }}
              items:
                - key: {{ index $root.Values.secrets.postgres.keys $service }}
                  path: postgres-url
          {{- include "darkroom.postgresCa" $root | nindent 10 }}
          - secret:
              name: {{ $root.Values.secrets.amqp.existingSecret }}
              items:
                - key: {{ index $root.Values.secrets.amqp.keys $service }}
                  path: amqp-url
          {{- include "darkroom.amqpCa" $root | nindent 10 }}
          {{- with $values.smtp }}
          {{- if .existingSecret }}
          - secret:
              name: {{ .existingSecret }}
              items:
                - key: {{ .key }}
                  path: smtp-password
          {{- end }}
          {{- end }}
          {{- with $values.oidc }}
          {{- if .existingSecret }}
          - secret:
              name: {{ .existingSecret }}
              items:
                - key: {{ .key }}
                  path: oidc-client-secret
          {{- end }}
          {{- end }}
          {{- with $values.odoo }}
          {{- if .existingSecret }}
          - secret:
              name: {{ .existingSecret }}
              items:
                - key: {{ .key }}
                  path: odoo-api-key
          {{- end }}
          {{- end }}
          {{- if $facts.keys }}
          - secret:
              name: {{ $root.Values.secrets.keys.existingSecret }}
              items:
                {{- range $setting, $key := $facts.keys }}
                - key: {{ index $root.Values.secrets.keys.keys $key }}
                  path: {{ include "darkroom.secretFile" $setting }}
                {{- end }}
          {{- end }}
    {{- if $tls }}
    - name: dicom-tls
      secret:
        secretName: {{ $tls }}
        defaultMode: 0440
    {{- end }}
    {{- if $inner }}
    - name: inner-tls
      secret:
        secretName: {{ $inner }}
        defaultMode: 0440
    {{- end }}
    {{- if $toIngest }}
    - name: ingest-ca
      secret:
        secretName: {{ .root.Values.dicom.tls.existingSecret }}
        defaultMode: 0440
        items:
          - {key: ca.crt, path: ca.crt}
    {{- end }}
    {{- if $https }}
    - name: http-tls
      secret:
        secretName: {{ $https }}
        defaultMode: 0440
    {{- end }}
    {{- with $values.destinations }}
    {{- if .existingSecret }}
    - name: destinations
      secret:
        secretName: {{ .existingSecret }}
        defaultMode: 0440
        items:
          - {key: {{ .key }}, path: destinations.json}
    {{- end }}
    {{- end }}
    {{- with $values.scratch }}
    - name: scratch
      {{- if .storageClass }}
      ephemeral: # goes with the pod
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: {{ .storageClass }}
            resources:
              requests:
                storage: {{ .size }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ .size }}
      {{- end }}
    {{- end }}
    {{- if and $facts.store $s3.bucket $s3.existingSecret }}
    - name: store
      secret:
        secretName: {{ $s3.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- with $values.replication }}
    {{- if .existingSecret }}
    - name: replication
      secret:
        secretName: {{ .existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    {{- if or (and $facts.store (not $s3.bucket)) $facts.exports $facts.licence }}
    - name: objects
      persistentVolumeClaim:
        claimName: {{ include "darkroom.objectsClaim" $root }}
    {{- end }}
{{- end -}}

{{/* The settings of a service that are no secret: what the chart decides, then what values say. */}}
{{- define "darkroom.settings" -}}
{{- $facts := index (include "darkroom.facts" .root | fromYaml) .service -}}
DARKROOM_HEALTH_HOST: 0.0.0.0
DARKROOM_HEALTH_PORT: "9090"
DARKROOM_DRAIN_SECONDS: {{ .root.Values.drainSeconds | quote }}
DARKROOM_HAND_OVER_SECONDS: {{ .root.Values.handOverSeconds | quote }}
{{- if $facts.store }}
DARKROOM_STORE_URL: {{ include "darkroom.storeUrl" .root | quote }}
{{- end }}
{{- if $facts.exports }}
DARKROOM_EXPORTS_URL: file:///var/lib/darkroom/exports
DARKROOM_AUDIT_ANCHOR: /var/lib/darkroom/audit/anchor
{{- end }}
{{- if $facts.licence }}
DARKROOM_LICENCE_DIRECTORY: /var/lib/darkroom/licence
{{- end }}
{{- if $facts.spool }}
DARKROOM_SPOOL: /var/lib/darkroom/spool
{{- end }}
{{- range $port, $number := include "darkroom.ports" . | fromYaml }}
DARKROOM_{{ upper $port }}_PORT: {{ $number | quote }}
{{- end }}
{{- $inner := include "darkroom.innerTls" .root -}}
{{- if $inner }}
DARKROOM_TLS_CERTIFICATE: /run/secrets/inner-tls/tls.crt
DARKROOM_TLS_KEY: /run/secrets/inner-tls/tls.key
DARKROOM_TLS_CA: /run/secrets/inner-tls/ca.crt
{{- end }}
{{- $tls := .root.Values.dicom.tls -}}
{{- if and $facts.spool (include "darkroom.dicomTls" .root) }}
DARKROOM_DICOM_TLS_PORT: "2762"
DARKROOM_DICOM_TLS_CERTIFICATE: /run/secrets/dicom-tls/tls.crt
DARKROOM_DICOM_TLS_KEY: /run/secrets/dicom-tls/tls.key
DARKROOM_DICOM_TLS_MINIMUM: {{ $tls.minimum | quote }}
{{- if $tls.clientCaKey }}
DARKROOM_DICOM_TLS_CLIENT_CA: /run/secrets/dicom-tls/{{ $tls.clientCaKey }}
DARKROOM_DICOM_TLS_CLIENTS: {{ $tls.clients }}
DARKROOM_DICOM_TLS_STRICT: {{ $tls.strict | quote }}
{{- end }}
{{- end }}
{{- if and (eq .service "api") .root.Values.api.tls.existingSecret }}
DARKROOM_HTTP_TLS_CERTIFICATE: /run/secrets/http-tls/tls.crt
DARKROOM_HTTP_TLS_KEY: /run/secrets/http-tls/tls.key
DARKROOM_HTTP_TLS_MINIMUM: {{ .root.Values.api.tls.minimum | quote }}
{{- end }}
{{- $values := index .root.Values.services .service -}}
{{- with $values.tls }}
{{- if .existingSecret }}
{{- if .certificate }}
DARKROOM_DICOM_TLS_CERTIFICATE: /run/secrets/dicom-tls/tls.crt
DARKROOM_DICOM_TLS_KEY: /run/secrets/dicom-tls/tls.key
{{- end }}
{{- if .caKey }}
DARKROOM_DICOM_TLS_CA: /run/secrets/dicom-tls/{{ .caKey }}
{{- end }}
{{- end }}
{{- end }}
{{- if ($values.destinations | default dict).existingSecret }}
DARKROOM_DESTINATIONS_FILE: /run/secrets/destinations/destinations.json
{{- end }}
{{- if $values.scratch }}
DARKROOM_SCRATCH: /var/lib/darkroom/scratch
{{- end }}
{{- $own := deepCopy $values.settings -}}
{{- if eq .service "transmit" }}
{{- $ours := .root.Values.services.ingest.settings.AE_TITLE | default "DARKROOM" -}}
{{- $host := printf "%s-dicom" (include "darkroom.fullname" .root) -}}
{{- $own = merge $own (dict "AE_TITLE" $ours "INGEST_DICOM_HOST" $host) -}}
{{- if and $inner (or $tls.serverName (not $tls.existingSecret)) -}}
{{- $own = merge $own (dict "INGEST_DICOM_PORT" $tls.port "INGEST_DICOM_TLS" true) -}}
{{- if $tls.existingSecret -}}
{{- $own = merge $own (dict "INGEST_DICOM_NAME" $tls.serverName "INGEST_DICOM_CA" "/run/secrets/ingest-ca/ca.crt") -}}
{{- end -}}
{{- end -}}
{{- $own = merge $own (dict "INGEST_DICOM_PORT" .root.Values.dicom.service.port) -}}
{{- end }}
{{- if eq .service "api" }}
{{- $own = merge $own (dict "INGEST_STOW_HOST" (printf "%s-stow" (include "darkroom.fullname" .root)) "INGEST_STOW_PORT" 11180) -}}
{{- end }}
{{- range $setting, $value := merge $own .root.Values.settings }}
DARKROOM_{{ $setting }}: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | quote }}{{ end }}
{{- end }}
{{- end -}}
