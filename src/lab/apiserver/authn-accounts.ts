// ServiceAccounts in the write path: every pod gets one and the volume with its token, and a Secret that asks for a token gets one.
// Upstream: plugin/pkg/admission/serviceaccount, pkg/controller/serviceaccount/tokens_controller.go.

import { randomInt } from "node:crypto";
import type { Container, Pod, Secret, ServiceAccount, Volume } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { rememberedChange } from "../../kube/repeated.ts";
import type { Admission } from "../api/api.ts";
import { forbidden, invalidObject } from "../api/errors.ts";
import { resourceOf } from "../../kube/resources.ts";
import type { Store } from "../api/store.ts";
import { automaticSeconds, type Tokens } from "./tokens.ts";

/** Where programs in pods look for their credentials. */
export const credentialsPath = "/var/run/secrets/kubernetes.io/serviceaccount";
const defaultAccount = "default";
const volumePrefix = "kube-api-access-";

/**
 * The admission. `random`: a whole number from 0 to below its argument, for the volumes' names. The account `default` may come after the
 * first pods of a new namespace; any other must be there.
 * @public Loaded when it is needed (access.ts).
 */
export function serviceAccountAdmission(
  options: {
    readonly tokens?: Pick<Tokens, "issueLegacy">;
    readonly rootCa?: string;
    readonly random?: (below: number) => number;
  } = {},
): Admission {
  const { random = (below) => randomInt(below) } = options;
  return ({ operation, object, store }) => {
    if (operation !== "create" || object.apiVersion !== "v1") return object;
    if (object.kind === "Pod") return withAccount(object as Pod, store, random);
    if (object.kind === "Secret") return withToken(object as Secret, store, options);
    return object;
  };
}

function withAccount(pod: Pod, store: Store, random: (below: number) => number): KubeObject {
  // A mirror pod is run by its node already.
  if (pod.metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined) return pod;
  const name = (pod.spec.serviceAccountName ?? "") === "" ? defaultAccount : (pod.spec.serviceAccountName as string);
  const { namespace = "" } = pod.metadata;
  const account = store.get({ group: "", resource: "serviceaccounts", namespace, name }) as ServiceAccount | undefined;
  if (account === undefined && name !== defaultAccount)
    throw forbidden(
      { group: "", resource: "pods", name: pod.metadata.name },
      `error looking up service account ${namespace}/${name}: serviceaccount ${JSON.stringify(name)} not found`,
    );
  const pullSecrets = account?.imagePullSecrets ?? [];
  const wants = pod.spec.automountServiceAccountToken ?? account?.automountServiceAccountToken ?? true;
  // Pods that are made alike get volumes of one name as well, and so one specification.
  const what = `account ${name} ${wants} ${pullSecrets.length === 0 ? "" : JSON.stringify(pullSecrets)}`;
  const spec = rememberedChange(pod.spec, what, () => {
    const named: Pod["spec"] & { readonly imagePullSecrets?: unknown } = {
      ...pod.spec,
      serviceAccountName: name,
      serviceAccount: name,
    };
    const given = (named.imagePullSecrets ?? []) as readonly unknown[];
    const whole = given.length === 0 && pullSecrets.length > 0 ? { ...named, imagePullSecrets: pullSecrets } : named;
    return wants ? withCredentials(whole, random) : whole;
  });
  return { ...pod, spec };
}

function withCredentials(spec: Pod["spec"], random: (below: number) => number): Pod["spec"] {
  const known = spec.volumes?.find((volume) => (volume.name ?? "").startsWith(volumePrefix));
  const name = known?.name ?? volumePrefix + suffix(random);
  let isMounted = false;
  const mount = (container: Container): Container => {
    const mounts = container.volumeMounts ?? [];
    if (mounts.some(({ mountPath }) => mountPath === credentialsPath)) return container;
    isMounted = true;
    return { ...container, volumeMounts: [...mounts, { name, readOnly: true, mountPath: credentialsPath }] };
  };
  const containers = spec.containers.map(mount);
  const initContainers = spec.initContainers?.map(mount);
  if (!isMounted) return spec;
  return {
    ...spec,
    containers,
    ...(initContainers !== undefined && { initContainers }),
    volumes: known === undefined ? [...(spec.volumes ?? []), credentialsVolume(name)] : (spec.volumes ?? []),
  };
}

function credentialsVolume(name: string): Volume {
  return {
    name,
    projected: {
      defaultMode: 0o644,
      sources: [
        { serviceAccountToken: { expirationSeconds: automaticSeconds, path: "token" } },
        { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
        {
          downwardAPI: {
            items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }],
          },
        },
      ],
    },
  };
}

// apiserver storage/names
const nameLetters = "bcdfghjklmnpqrstvwxz2456789";

function suffix(random: (below: number) => number): string {
  return Array.from({ length: 5 }, () => nameLetters[random(nameLetters.length)]).join("");
}

const tokenType = "kubernetes.io/service-account-token";
const accountName = "kubernetes.io/service-account.name";
const accountUid = "kubernetes.io/service-account.uid";

function withToken(
  secret: Secret,
  store: Store,
  options: { readonly tokens?: Pick<Tokens, "issueLegacy">; readonly rootCa?: string },
): KubeObject {
  if (secret.type !== tokenType || options.tokens === undefined) return secret;
  const { namespace = "", annotations = {} } = secret.metadata;
  const name = annotations[accountName] ?? "";
  if (name === "") return secret;
  const account = store.get({ group: "", resource: "serviceaccounts", namespace, name }) as ServiceAccount | undefined;
  const { uid } = account?.metadata ?? {};
  if (account === undefined || uid === undefined || (annotations[accountUid] ?? uid) !== uid) {
    const resource = resourceOf("v1", "Secret");
    if (resource === undefined) return secret;
    throw invalidObject(resource, secret.metadata.name, [
      {
        field: `metadata.annotations[${accountName}]`,
        reason: "FieldValueNotFound",
        message: `Not found: ${JSON.stringify(name)}`,
      },
    ]);
  }
  const token = options.tokens.issueLegacy(account, { name: secret.metadata.name });
  const text = (value: string): string => Buffer.from(value, "utf8").toString("base64");
  return {
    ...secret,
    metadata: { ...secret.metadata, annotations: { ...annotations, [accountUid]: uid } },
    data: {
      ...secret.data,
      ...(options.rootCa !== undefined && { "ca.crt": text(options.rootCa) }),
      namespace: text(namespace),
      token: text(token),
    },
  };
}
