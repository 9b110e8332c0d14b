{{- define "orderer.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "orderer.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "orderer.labels" -}}
{{ include "orderer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* orderer.yaml: the keys of the chart, and the user's over them */}}
{{- define "orderer.settings" -}}
{{- $admin := ternary "/etc/orderer/admin/ca.crt" "/etc/orderer/tls/ca.crt" (ne .Values.adminClientCASecret "") -}}
{{- $tls := dict "Enabled" true "Certificate" "/etc/orderer/tls/tls.crt" "PrivateKey" "/etc/orderer/tls/tls.key" -}}
{{- $own := dict
  "General" (dict
    "ListenAddress" "0.0.0.0"
    "ListenPort" 7050
    "BootstrapMethod" "none"
    "LocalMSPDir" "/etc/orderer/msp"
    "LocalMSPID" .Values.mspID
    "TLS" (merge (dict "RootCAs" (list "/etc/orderer/tls/ca.crt")) $tls)
    "Cluster" (dict "RootCAs" (list "/etc/orderer/tls/ca.crt")))
  "FileLedger" (dict "Location" "/var/hyperledger/production/orderer")
  "ChannelParticipation" (dict "Enabled" true)
  "Admin" (dict
    "ListenAddress" "0.0.0.0:9443"
    "TLS" (merge (dict "ClientAuthRequired" true "ClientRootCAs" (list $admin)) $tls))
  "Operations" (dict "ListenAddress" "0.0.0.0:8443")
  "Metrics" (dict "Provider" "prometheus") -}}
{{- toYaml (mustMergeOverwrite $own (deepCopy .Values.settings)) -}}
{{- end -}}
