// Everything that can be said about an object without a cluster: is there such a kind, does it have the kind's structure, is it valid,
// and is there something about it that is allowed and yet probably not meant.

import { withDefaults } from "./defaults.ts";
import type { Container, Pod, PodTemplateSpec, Service } from "./kinds.ts";
import type { ClusterNetworkPolicy } from "./policy-kinds.ts";
import type { KubeObject } from "./object.ts";
import { at, type FieldProblem } from "./problem.ts";
import { remembered } from "./repeated.ts";
import { resourceOf, resources } from "./resources.ts";
import { structureProblems } from "./structure.ts";
import { validate } from "./validate.ts";

/** What is wrong with an object as it was written; empty where it can be stored. */
export function objectProblems(object: KubeObject): FieldProblem[] {
  if (resourceOf(object.apiVersion, object.kind) === undefined)
    return [{ field: "kind", reason: "FieldValueNotFound", message: unknownKind(object) }];
  const structure = structureProblems(object);
  return structure.length > 0 ? structure : validate(withDefaults(object));
}

/** `no matches for kind …`, and what is near. */
function unknownKind({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): string {
  const message = `no matches for kind ${JSON.stringify(kind)} in version ${JSON.stringify(apiVersion)}`;
  if (["AdminNetworkPolicy", "BaselineAdminNetworkPolicy"].includes(kind)) {
    const tier = kind === "AdminNetworkPolicy" ? "Admin" : "Baseline";
    return `${message}; write a ClusterNetworkPolicy with tier ${tier}, which has replaced it (policy.networking.k8s.io/v1alpha2)`;
  }
  const sameKind = resources.find((row) => row.kind.toLowerCase() === kind.toLowerCase());
  if (sameKind === undefined) return message;
  return `${message}; it is kind ${sameKind.kind} in version ${sameKind.apiVersion}`;
}

/** What works and is probably not meant, as upstream's warnings say it, and what is deprecated. */
export function fieldWarnings(object: KubeObject): readonly Warning[] {
  const spec = (object["spec"] ?? {}) as {
    readonly template?: PodTemplateSpec;
    readonly jobTemplate?: { readonly spec?: { readonly template?: PodTemplateSpec } };
  };
  if (object.kind === "Pod") return podWarnings((object as Pod).spec, "spec");
  if (object.kind === "Service") return serviceWarnings((object as Service).spec);
  if (object.kind === "Endpoints")
    return [{ field: "kind", message: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" }];
  if (object.kind === "ClusterNetworkPolicy") return domainNameWarnings((object as ClusterNetworkPolicy).spec);
  if (spec.template?.spec !== undefined) return podWarnings(spec.template.spec, "spec.template.spec");
  const nested = spec.jobTemplate?.spec?.template?.spec;
  return nested === undefined ? [] : podWarnings(nested, "spec.jobTemplate.spec.template.spec");
}

/** Something about one field. */
export interface Warning {
  readonly field: string;
  readonly message: string;
}

function domainNameWarnings({ egress = [] }: ClusterNetworkPolicy["spec"]): Warning[] {
  return egress.flatMap(({ to, action }, index) =>
    to.flatMap(({ domainNames }, each) =>
      domainNames === undefined
        ? []
        : [
            {
              field: `spec.egress[${index}].to[${each}].domainNames`,
              message: `names are not enforced yet: the rule ${action === "Accept" ? "accepts nothing" : "denies everything"}`,
            },
          ],
    ),
  );
}

function podWarnings(spec: Pod["spec"], path: string): readonly Warning[] {
  return remembered(spec, `warnings ${path}`, () =>
    [...(spec.containers ?? []).entries()].flatMap(([index, container]) =>
      containerWarnings(container, at(`${path}.containers`, index)),
    ),
  );
}

function containerWarnings({ ports = [], env = [] }: Container, path: string): Warning[] {
  const portKeys = ports.map(({ containerPort, protocol = "TCP" }) => `${containerPort}/${protocol}`);
  return [
    ...repeatsOf(portKeys).map((index) => ({
      field: at(`${path}.ports`, index),
      message: `duplicate port definition with ${at(`${path}.ports`, portKeys.indexOf(portKeys[index] ?? ""))}`,
    })),
    ...repeatsOf(env.map(({ name }) => name)).map((index) => ({
      field: at(`${path}.env`, index),
      message: `hides previous definition of "${env[index]?.name}", which may be dropped when using apply`,
    })),
  ];
}

function serviceWarnings(spec: Service["spec"]): Warning[] {
  const list: Warning[] = [];
  if ((spec.externalIPs ?? []).length > 0)
    list.push({ field: "spec.externalIPs", message: "externalIPs is deprecated in v1.36+ (KEP-5707)" });
  if (spec.selector === undefined && spec.type !== "ExternalName")
    list.push({
      field: "spec",
      message: "no selector: the Service has only the EndpointSlices that somebody writes for it",
    });
  return list;
}

/** The indices of what was there before. */
function repeatsOf(keys: readonly string[]): number[] {
  return [...keys.keys()].filter((index) => keys.indexOf(keys[index] ?? "") < index);
}
