{{/*
A job that prepares something, as a hook. Takes root, service (whose image), name, hook, weight,
command (empty: the image's own), args, secrets: setting to {secret, key}, settings, and broker:
whether it calls RabbitMQ.
*/}}
{{- define "darkroom.job" -}}
{{- $root := .root -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "darkroom.fullname" $root }}-{{ .name }}
  labels:
    {{- include "darkroom.labels" $root | nindent 4 }}
    app.kubernetes.io/component: setup
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 10
  activeDeadlineSeconds: {{ $root.Values.migration.deadlineSeconds }}
  template:
    metadata:
      labels:
        {{- include "darkroom.labels" $root | nindent 8 }}
        app.kubernetes.io/component: setup
    spec:
      serviceAccountName: {{ include "darkroom.fullname" $root }}-setup
      automountServiceAccountToken: false
      enableServiceLinks: false
      restartPolicy: OnFailure
      securityContext:
        {{- include "darkroom.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "darkroom.image" . }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          {{- with .command }}
          command:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          args:
            {{- toYaml .args | nindent 12 }}
          securityContext:
            {{- include "darkroom.containerSecurity" $root | nindent 12 }}
          env:
            - name: DARKROOM_LOG_LEVEL
              value: {{ $root.Values.settings.LOG_LEVEL | default "INFO" }}
            {{- range $setting, $value := .settings }}
            - name: DARKROOM_{{ $setting }}
              value: {{ $value | quote }}
            {{- end }}
            {{- range $setting, $_ := .secrets }}
            - name: DARKROOM_{{ $setting }}_FILE
              value: /run/secrets/darkroom/{{ include "darkroom.secretFile" $setting }}
            {{- end }}
          resources:
            {{- toYaml $root.Values.migration.resources | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            - name: secrets
              mountPath: /run/secrets/darkroom
              readOnly: true
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: 16Mi
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              {{- include "darkroom.postgresCa" $root | nindent 14 }}
              {{- if .broker }}
              {{- include "darkroom.amqpCa" $root | nindent 14 }}
              {{- end }}
              {{- range $setting, $source := .secrets }}
              - secret:
                  name: {{ $source.secret }}
                  items:
                    - key: {{ $source.key }}
                      path: {{ include "darkroom.secretFile" $setting }}
              {{- end }}
{{- end -}}
