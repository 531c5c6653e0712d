// What the API server's figures write: pods of about the size that real ones have, and small objects that carry a time.

const container = {
  name: "web",
  image: "registry.example.com/team/web:1.2.3",
  args: ["--listen", ":8080", "--log-level", "info"],
  env: Array.from({ length: 12 }, (_, index) => ({ name: `SETTING_${index}`, value: `value number ${index}` })),
  ports: [{ name: "http", containerPort: 8080 }],
  resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { cpu: "1", memory: "256Mi" } },
  readinessProbe: { httpGet: { path: "/healthz", port: "http" }, periodSeconds: 5 },
  volumeMounts: [{ name: "config", mountPath: "/etc/web" }],
};

/** A pod as a Deployment's controller would send it. */
export function podText(name: string, namespace: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels: { app: "web", "pod-template-hash": "5d4f8c7b9", tier: "front" } },
    spec: { containers: [container], volumes: [{ name: "config", configMap: { name: "web" } }] },
  });
}

/** Milliseconds of a clock that all processes of the machine share. */
export function sharedNowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Where a stamped object's time begins in its JSON text, and how many characters it has. */
export const stampMark = '"at":"';
export const stampLength = 17;

/** A small object that says when it was sent. */
export function stampedText(name: string): string {
  const at = sharedNowMs().toFixed(3).padStart(stampLength, "0");
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { at } });
}
