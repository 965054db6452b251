"""Kubernetes manifests: deployment, headless service, configuration, autoscaling, disruption budget."""

from __future__ import annotations

from serving.deploy.server_files import GRPC_PORT, METRICS_PATH, REST_PORT, config_files, flags
from serving.deploy.settings import Settings

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}, app.kubernetes.io/component: model-server}}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  strategy:
    rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}, app.kubernetes.io/component: model-server}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{rest}"
        prometheus.io/path: "{metrics}"
    spec:
      # Lets endpoints go away before the server does: it has no draining of its own.
      terminationGracePeriodSeconds: 60
      shareProcessNamespace: true
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: serving
          image: {image}
          # Not the image's entry point, a script that ignores SIGTERM as process 1: with a shared process
          # namespace the pause container is process 1 and the server ends on the signal.
          command: ["tensorflow_model_server"]
          args:
{args}
          ports:
            - {{name: grpc, containerPort: {grpc}}}
            - {{name: rest, containerPort: {rest}}}
          startupProbe:
            grpc: {{port: {grpc}}}
            periodSeconds: 5
            failureThreshold: {start_failures}
          readinessProbe:
            grpc: {{port: {grpc}}}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {{port: {grpc}}}
            periodSeconds: 10
          lifecycle:
            preStop:
              exec: {{command: ["sleep", "20"]}}
          resources:
            # Two versions are in memory during a swap.
            requests: {{cpu: "{cpus}", memory: {memory}Mi}}
            limits: {{cpu: "{cpus}", memory: {memory}Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: ["ALL"]}}
          volumeMounts:
            - {{name: config, mountPath: /etc/serving, readOnly: true}}
            - {{name: tmp, mountPath: /tmp}}
{model_mount}
      volumes:
        - name: config
          configMap: {{name: {name}-config}}
        - name: tmp
          emptyDir: {{}}
{model_volume}
"""

_SERVICE = """\
# Headless: a client that asks dns:///{name}:{grpc} sees every pod and balances by itself (round_robin). A
# normal service would bind each gRPC connection to one pod.
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  clusterIP: None
  selector: {{app.kubernetes.io/name: {name}}}
  ports:
    - {{name: grpc, port: {grpc}, targetPort: grpc}}
    - {{name: rest, port: {rest}, targetPort: rest}}
"""

_AUTOSCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: {replicas}
  maxReplicas: {max_replicas}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {{type: Utilization, averageUtilization: 60}}
  behavior:
    # New pods load and warm up first: scale up at once, down slowly.
    scaleDown: {{stabilizationWindowSeconds: 600}}
"""

_BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
"""

_NETWORK = """\
# The reload RPC has no authentication and shares the port: only pods with this label may connect.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {name}
spec:
  podSelector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels: {{{name}-client: "true"}}
      ports:
        - {{port: {grpc}}}
    - from:
        - namespaceSelector: {{}}
          podSelector:
            matchLabels: {{app.kubernetes.io/name: prometheus}}
      ports:
        - {{port: {rest}}}
"""

_CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}-config
data:
{files}
"""


def manifests(settings: Settings) -> dict[str, str]:
    """The files of `kubernetes/` by name."""
    values = {
        "name": settings.model_name,
        "image": settings.image,
        "replicas": settings.replicas,
        "max_replicas": settings.max_replicas,
        "cpus": settings.cpus,
        "memory": settings.memory_megabytes,
        "start_failures": settings.start_seconds // 5,
        "grpc": GRPC_PORT,
        "rest": REST_PORT,
        "metrics": METRICS_PATH,
        "args": "\n".join(f'            - "{flag}"' for flag in flags(settings)),
        "model_mount": "",
        "model_volume": "",
        "files": _files(settings),
    }
    if settings.model_path.startswith("/"):
        values["model_mount"] = (
            f"            - {{name: models, mountPath: {settings.model_path}, readOnly: true}}"
        )
        claim = f"{{claimName: {settings.model_name}-models, readOnly: true}}"
        values["model_volume"] = f"        - name: models\n          persistentVolumeClaim: {claim}"
    templates = {
        "deployment.yaml": _DEPLOYMENT,
        "service.yaml": _SERVICE,
        "autoscaler.yaml": _AUTOSCALER,
        "disruption-budget.yaml": _BUDGET,
        "network-policy.yaml": _NETWORK,
        "config.yaml": _CONFIG,
    }
    return {name: _tidy(template.format(**values)) for name, template in templates.items()}


def _files(settings: Settings) -> str:
    lines = []
    for name, text in config_files(settings).items():
        if not name.endswith(".example"):
            lines.append(f"  {name}: |")
            lines += [f"    {line}" for line in text.splitlines()]
    return "\n".join(lines)


def _tidy(text: str) -> str:
    """Without the blank lines that unused places leave."""
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
