// The environment of a container: service variables, envFrom, env with references and $(NAME) expansion, in the kubelet's order.
// Pure: what other objects say comes in through `lookups`.

import type { ConfigMap, Container, EnvVar, Pod, Secret, Service } from "../../kube/kinds.ts";
import { fieldText, resourceText, type PodFacts } from "./downward.ts";
import { ConfigError } from "./errors.ts";

/** The objects of the pod's namespace that it may refer to. */
export interface Lookups {
  configMap(name: string): ConfigMap | undefined;
  secret(name: string): Secret | undefined;
  /** Services of the pod's namespace. */
  services(): readonly Service[];
  /** Service default/kubernetes. */
  apiService(): Service | undefined;
}

/** The container's variables; `base` is what the image brings. Throws ConfigError where something it needs is missing. */
export function containerEnvironment(
  facts: PodFacts,
  container: Container,
  lookups: Lookups,
  base: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const result: Record<string, string> = { ...base, HOSTNAME: hostnameOf(facts.pod) };
  Object.assign(result, serviceVariables(facts.pod, lookups));
  Object.assign(result, importedVariables(container, lookups));
  for (const variable of container.env ?? []) {
    const value = variableValue(facts, container, variable, lookups, result);
    if (value !== undefined) result[variable.name] = value;
  }
  return result;
}

/**
 * Replaces `$(NAME)` by the variable's value; `$$` is a plain `$`, and a name that is not known stays as it is
 * (k8s.io/kubernetes third_party/forked/golang/expansion).
 */
export function expand(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$(\$|\(([^()]*)\))/g, (whole, escaped: string, name: string | undefined) => {
    if (escaped === "$") return "$";
    return name !== undefined && Object.hasOwn(variables, name) ? (variables[name] ?? whole) : whole;
  });
}

/** The pod's own host name: spec.hostname or its name. */
export function hostnameOf(pod: Pod): string {
  // In the node's network the name is the node's as well; what the pod says of its own is for DNS only.
  if (pod.spec.hostNetwork === true && pod.spec.nodeName !== undefined) return pod.spec.nodeName;
  return pod.spec.hostnameOverride ?? pod.spec.hostname ?? pod.metadata.name;
}

function variableValue(
  facts: PodFacts,
  container: Container,
  { name, value, valueFrom }: EnvVar,
  lookups: Lookups,
  known: Readonly<Record<string, string>>,
): string | undefined {
  if (valueFrom === undefined) return expand(value ?? "", known);
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = valueFrom;
  if (fieldRef !== undefined) return fieldText(facts, fieldRef);
  if (resourceFieldRef !== undefined) return resourceText(facts, resourceFieldRef, container.name);
  const namespace = facts.pod.metadata.namespace ?? "";
  if (configMapKeyRef !== undefined) {
    const { name: object = "", key, optional } = configMapKeyRef;
    const configMap = lookups.configMap(object);
    const found = configMap?.data?.[key];
    if (found !== undefined || optional === true) return found;
    if (configMap === undefined) throw new ConfigError(`configmap "${object}" not found`);
    throw new ConfigError(`couldn't find key ${key} in ConfigMap ${namespace}/${object}`);
  }
  if (secretKeyRef !== undefined) {
    const { name: object = "", key, optional } = secretKeyRef;
    const secret = lookups.secret(object);
    const found = secretText(secret, key);
    if (found !== undefined || optional === true) return found;
    if (secret === undefined) throw new ConfigError(`secret "${object}" not found`);
    throw new ConfigError(`couldn't find key ${key} in Secret ${namespace}/${object}`);
  }
  throw new ConfigError(`env ${name}: valueFrom names no source this lab knows`);
}

function importedVariables(container: Container, lookups: Lookups): Readonly<Record<string, string>> {
  const result: Record<string, string> = {};
  for (const { prefix = "", configMapRef, secretRef } of container.envFrom ?? []) {
    if (configMapRef !== undefined) {
      const configMap = lookups.configMap(configMapRef.name ?? "");
      if (configMap === undefined && configMapRef.optional !== true)
        throw new ConfigError(`configmap "${configMapRef.name ?? ""}" not found`);
      for (const [key, value] of Object.entries(configMap?.data ?? {})) result[prefix + key] = value;
    }
    if (secretRef !== undefined) {
      const secret = lookups.secret(secretRef.name ?? "");
      if (secret === undefined && secretRef.optional !== true)
        throw new ConfigError(`secret "${secretRef.name ?? ""}" not found`);
      for (const key of Object.keys({ ...secret?.data, ...secret?.stringData }))
        result[prefix + key] = secretText(secret, key) ?? "";
    }
  }
  return result;
}

/** A secret's value as text: its data is base64, stringData (where the store still has it) is plain. */
export function secretText(secret: Secret | undefined, key: string): string | undefined {
  const plain = secret?.stringData?.[key];
  if (plain !== undefined) return plain;
  const encoded = secret?.data?.[key];
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString("utf8");
}

/** Docker-link variables of the Services that exist when the container starts (pkg/kubelet/envvars). */
export function serviceVariables(pod: Pod, lookups: Lookups): Readonly<Record<string, string>> {
  const api = lookups.apiService();
  const services = pod.spec.enableServiceLinks === false ? [] : lookups.services();
  const others = services.filter((service) => service !== api);
  const result: Record<string, string> = {};
  for (const service of [...(api === undefined ? [] : [api]), ...others]) Object.assign(result, variablesOf(service));
  return result;
}

function variablesOf({ metadata, spec }: Service): Readonly<Record<string, string>> {
  const address = spec.clusterIP ?? "";
  const [first] = spec.ports ?? [];
  if (address === "" || address === "None" || first === undefined) return {};
  const name = variableName(metadata.name);
  const host = address.includes(":") ? `[${address}]` : address;
  const result: Record<string, string> = {
    [`${name}_SERVICE_HOST`]: address,
    [`${name}_SERVICE_PORT`]: String(first.port),
  };
  for (const { name: port, port: number } of spec.ports ?? [])
    if (port !== undefined && port !== "") result[`${name}_SERVICE_PORT_${variableName(port)}`] = String(number);
  for (const [index, { port, protocol = "TCP" }] of (spec.ports ?? []).entries()) {
    const prefix = `${name}_PORT_${port}_${protocol}`;
    const url = `${protocol.toLowerCase()}://${host}:${port}`;
    if (index === 0) result[`${name}_PORT`] = url;
    result[prefix] = url;
    result[`${prefix}_PROTO`] = protocol.toLowerCase();
    result[`${prefix}_PORT`] = String(port);
    result[`${prefix}_ADDR`] = address;
  }
  return result;
}

function variableName(text: string): string {
  return text.toUpperCase().replaceAll("-", "_");
}
