// What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` with the cluster's certificate authority.
// Upstream: pkg/controller/serviceaccount, pkg/controller/certificates/rootcacertpublisher.

import type { Namespace } from "../../kube/kinds.ts";
import { defaultServiceAccount } from "./admissions.ts";
import { configMaps, namespaces, serviceAccounts } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";
import type { Change } from "./objects.ts";
import type { KubeObject } from "../../kube/object.ts";

export const rootCaConfigMap = "kube-root-ca.crt";

/** `rootCa`: the certificates in PEM that clients inside the cluster trust. */
export function serviceAccountController(rootCa: string): (cluster: Cluster) => Controller {
  return ({ objects }) => {
    const ifNamed =
      (name: string) =>
      ({ object, previous }: Change, enqueue: Enqueue): void => {
        const { metadata } = (object ?? previous) as KubeObject;
        if (metadata.name === name && metadata.namespace !== undefined) enqueue(metadata.namespace);
      };
    return {
      name: "serviceaccount-controller",
      watches: [
        on(namespaces, ({ object }: Change<Namespace>, enqueue) => object && enqueue(object.metadata.name)),
        on(serviceAccounts, ifNamed(defaultServiceAccount)),
        on(configMaps, ifNamed(rootCaConfigMap)),
      ],
      reconcile(namespace) {
        const there = objects.get(namespaces, undefined, namespace);
        if (there === undefined || there.metadata.deletionTimestamp !== undefined) return;
        if (objects.get(serviceAccounts, namespace, defaultServiceAccount) === undefined) {
          objects.create(serviceAccounts, {
            apiVersion: "v1",
            kind: "ServiceAccount",
            metadata: { namespace, name: defaultServiceAccount },
          });
        }
        const data = { "ca.crt": rootCa };
        const published = objects.get(configMaps, namespace, rootCaConfigMap);
        if (published === undefined) {
          objects.create(configMaps, {
            apiVersion: "v1",
            kind: "ConfigMap",
            metadata: {
              namespace,
              name: rootCaConfigMap,
              annotations: {
                "kubernetes.io/description":
                  "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
              },
            },
            data,
          });
        } else if (published.data?.["ca.crt"] !== rootCa) {
          objects.update(configMaps, { ...published, data });
        }
      },
    };
  };
}
