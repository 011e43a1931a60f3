{{- /* The services with the defaults filled in, without those that are off: YAML, for `fromYaml`. */}}
{{- define "shop.services" -}}
{{- $found := dict -}}
{{- range $name, $own := .Values.services -}}
{{- $service := mergeOverwrite (deepCopy $.Values.defaults) $own -}}
{{- if and $service.enabled (not (hasKey $.Values.outside $name)) -}}
{{- $_ := set $found $name $service -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{- define "shop.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else if .Values.image.requireDigest -}}
{{- fail "image.digest is required here: install the image that was checked, not what a tag points to today" -}}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "shop.version" -}}
{{- .Values.settings.version | default (.Values.image.digest | trimPrefix "sha256:" | trunc 12) | default .Values.image.tag -}}
{{- end }}

{{- define "shop.secret" -}}
{{- if .Values.stores.inside }}shop-stores-inside{{ else }}{{ .Values.stores.secret }}{{ end -}}
{{- end }}

{{- /* What finds the pods of one service: dict "root" "name". */}}
{{- define "shop.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "shop.labels" -}}
{{ include "shop.selector" . }}
app.kubernetes.io/part-of: shop
app.kubernetes.io/version: {{ include "shop.version" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .root.Values.region.name }}
shop.sdpatterns/region: {{ . }}
{{- end }}
{{- end }}

{{- /* All that the shop reads from its environment but the URLs of its stores. */}}
{{- define "shop.settings" -}}
SHOP_DRAIN_DELAY_S: {{ .Values.settings.drainDelaySeconds | quote }}
SHOP_HOST: 0.0.0.0
SHOP_PUBLIC_URL: {{ .Values.settings.publicUrl | quote }}
SHOP_SEED: {{ .Values.settings.seed | quote }}
SHOP_VERSION: {{ include "shop.version" . | quote }}
SHOP_VISITORS: {{ .Values.settings.visitors | quote }}
{{- end }}

{{- define "shop.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "shop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The pod of one service: dict "root" "name" "service". */}}
{{- define "shop.pod" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $first := first (sortAlpha (keys $service.contexts)) -}}
metadata:
  labels:
    {{- include "shop.labels" . | nindent 4 }}
    {{- if $root.Values.mesh.enabled }}
    sidecar.istio.io/inject: "true"
    {{- end }}
  annotations:
    # A pod reads its settings once: other settings are other pods.
    shop.sdpatterns/settings: {{ include "shop.settings" $root | sha256sum | trunc 16 | quote }}
spec:
  serviceAccountName: {{ .name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "shop.podSecurity" $root | nindent 4 }}
  terminationGracePeriodSeconds: {{ add $root.Values.lifecycle.preStopSeconds $root.Values.settings.drainDelaySeconds $service.drainSeconds $root.Values.lifecycle.marginSeconds }}
  {{- if $root.Values.region.name }}
  nodeSelector:
    topology.kubernetes.io/region: {{ $root.Values.region.name }}
  {{- end }}
  {{- if and $root.Values.topology.spreadOverZones (not $service.alone) }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" $root.Values.topology.strict }}
      labelSelector:
        matchLabels:
          {{- include "shop.selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "shop.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [pod, {{ .name }}]
      ports:
        {{- range $context, $port := $service.contexts }}
        - name: {{ $context }}
          containerPort: {{ $port }}
        {{- end }}
        {{- with $service.publicPort }}
        - name: public
          containerPort: {{ . }}
        {{- end }}
      envFrom:
        - configMapRef:
            name: shop-settings
      {{- with $service.stores }}
      env:
        {{- include "shop.storeUrls" (dict "root" $root "stores" .) | trim | nindent 8 }}
      {{- end }}
      startupProbe:
        httpGet:
          path: /readyz
          port: {{ $first }}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: {{ div $root.Values.lifecycle.startSecondsMax 2 }}
      livenessProbe:
        # The process alone: a database that is away is no reason to start again.
        httpGet:
          path: /livez
          port: {{ $first }}
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /readyz
          port: {{ $first }}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $root.Values.lifecycle.preStopSeconds }}
      resources:
        {{- toYaml $service.resources | nindent 8 }}
      securityContext:
        {{- include "shop.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
{{- end }}

{{- /* The URLs of stores, from the Secret: dict "root" "stores". */}}
{{- define "shop.storeUrls" -}}
{{- $root := .root -}}
{{- range .stores }}
{{- $key := printf "SHOP_%s_URL" (upper .) }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef:
      name: {{ include "shop.secret" $root }}
      key: {{ $key }}
{{- end }}
{{- end }}

{{- /* What an autoscaler scales: dict "name" "rollout". */}}
{{- define "shop.workload" -}}
apiVersion: {{ ternary "argoproj.io/v1alpha1" "apps/v1" .rollout }}
kind: {{ ternary "Rollout" "Deployment" .rollout }}
name: {{ .name }}
{{- end }}

{{- /* How a Rollout brings a new version: dict "root" "name" "service". */}}
{{- define "shop.strategy" -}}
{{- $rollouts := .root.Values.rollouts -}}
{{- if has .name $rollouts.blueGreen -}}
blueGreen:
  activeService: {{ .name }}
  previewService: {{ .name }}-preview
  autoPromotionEnabled: true
  # The old version stays for a while, so that the way back takes no time.
  scaleDownDelaySeconds: 600
  prePromotionAnalysis:
    templates:
      - templateName: pods-are-well
    args:
      {{- include "shop.analysisArgs" . | nindent 6 }}
  postPromotionAnalysis:
    templates:
      - templateName: answers-are-well
    args:
      {{- include "shop.analysisArgs" . | nindent 6 }}
{{- else -}}
canary:
  maxSurge: 1
  maxUnavailable: 0
  {{- if .root.Values.mesh.enabled }}
  trafficRouting:
    istio:
      virtualService:
        name: {{ .name }}
      destinationRule:
        name: {{ .name }}
        stableSubsetName: stable
        canarySubsetName: canary
  {{- end }}
  steps:
    {{- range $rollouts.steps }}
    - setWeight: {{ . }}
    - pause:
        duration: {{ $rollouts.pauseSeconds }}s
    - analysis:
        templates:
          - templateName: answers-are-well
        args:
          {{- include "shop.analysisArgs" $ | nindent 10 }}
    {{- end }}
    - setWeight: 100
{{- end }}
{{- end }}

{{- define "shop.analysisArgs" -}}
- name: service
  value: {{ .name }}
- name: pods
  valueFrom:
    podTemplateHashValue: Latest
{{- end }}

{{- /* The ways to stores in a network policy: dict "root" "stores". */}}
{{- define "shop.storeEgress" -}}
{{- $root := .root -}}
{{- range .stores }}
{{- $store := get $root.Values.stores . }}
- to:
    {{- if $root.Values.stores.inside }}
    - podSelector:
        matchLabels:
          {{- include "shop.selector" (dict "root" $root "name" .) | nindent 10 }}
    {{- else }}
    {{- range $store.cidrs }}
    - ipBlock:
        cidr: {{ . }}
    {{- else }}
    {{- fail (printf "stores.%s.cidrs is empty: where is it, so that the network policies can open the way?" .) }}
    {{- end }}
    {{- end }}
  ports:
    - port: {{ $store.port }}
      protocol: TCP
{{- end }}
{{- end }}

{{- /* A sidecar asks the mesh's control plane for its certificate and its routes. */}}
{{- define "shop.meshEgress" -}}
{{- if .Values.mesh.enabled -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: istio-system
      podSelector:
        matchLabels:
          app: istiod
  ports:
    - port: 15012
      protocol: TCP
{{- end -}}
{{- end }}

{{- /* Where a request goes in the mesh, how long it may take and how often it is tried. */}}
{{- define "shop.meshRoute" -}}
{{- $mesh := .root.Values.mesh -}}
route:
  {{- if and .root.Values.rollouts.enabled (not .service.alone) (not (has .name .root.Values.rollouts.blueGreen)) }}
  - destination:
      host: {{ .name }}
      subset: stable
    weight: 100
  - destination:
      host: {{ .name }}
      subset: canary
    weight: 0
  {{- else }}
  - destination:
      host: {{ .name }}
  {{- end }}
timeout: {{ $mesh.timeoutSeconds }}s
retries:
  attempts: {{ $mesh.retries }}
  {{- if $mesh.retries }}
  perTryTimeout: {{ div $mesh.timeoutSeconds (add $mesh.retries 1) }}s
  # Only what did not reach a service: an answer may have done something.
  retryOn: connect-failure,refused-stream
  {{- end }}
{{- end }}
