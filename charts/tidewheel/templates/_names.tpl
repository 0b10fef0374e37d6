{{/* The operator's name: that of everything here, and of its Lease. One release for each namespace. */}}
{{- define "tidewheel.name" -}}tidewheel-operator{{- end }}

{{- define "tidewheel.selector" -}}
app.kubernetes.io/name: tidewheel
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "tidewheel.labels" -}}
{{ include "tidewheel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "tidewheel.image" -}}
{{- $repository := required "image.repository is needed: the place of an image that was built with `docker build -t registry.example/tidewheel .` and pushed, as in --set image.repository=registry.example/tidewheel" .Values.image.repository -}}
{{- if regexMatch "@|:[^/]*$" $repository -}}
{{- fail (printf "image.repository is without a tag or a digest, which have image.tag and image.digest: %s" $repository) -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
