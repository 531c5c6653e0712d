// What depends on the content of a write, and on who makes it: nobody hands out permissions they do not hold, and a node changes only
// what is its own. Asked after the request itself has been allowed, before the object is stored.
// Nobody answers a request for a certificate who may not for its signer.
// Upstream: pkg/registry/rbac/*/policybased, plugin/pkg/admission/noderestriction, plugin/pkg/admission/certificates.

import { signers, type CertificateSigningRequest } from "../../kube/certificate-request.ts";
import { sameJson } from "../../kube/equal.ts";
import type { Node, Pod } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { readRequest } from "../api/admission/certificates.ts";
import type { ObjectApi } from "../api/api.ts";
import { StatusError } from "../api/store.ts";
import { nodeOfUser } from "./authz-node.ts";
import { masters } from "./authz.ts";
import { resourceTarget } from "./authz-target.ts";
import type { Authorize, Guard, User } from "./hooks.ts";
import type { Rbac } from "./rbac.ts";
import { ruleText, uncovered, type PolicyRule, type Role, type RoleBinding } from "./rbac-rules.ts";
import type { Target } from "./target.ts";

const group = "rbac.authorization.k8s.io";

/**
 * Looks at one write. Throws StatusError 403.
 * @public Loaded when it is needed (access.ts).
 */
export function createGuard(options: {
  readonly api: Pick<ObjectApi, "get">;
  readonly authorize: Authorize;
  readonly rbac: Rbac;
}): Guard {
  const { api, authorize, rbac } = options;
  return (write) => {
    const { user, target, object, previous } = write;
    if (user.groups.includes(masters)) return;
    if (target.group === group && object !== undefined && target.subresource === undefined) {
      if (target.resource === "roles" || target.resource === "clusterroles")
        guardRole(rbac, authorize, user, object as Role, previous as Role | undefined, target);
      if (target.resource === "rolebindings" || target.resource === "clusterrolebindings")
        guardBinding(rbac, authorize, user, object as RoleBinding, previous as RoleBinding | undefined, target);
    }
    if (target.group === certificates && target.resource === requests && object !== undefined)
      guardRequest(authorize, user, target, object as CertificateSigningRequest, previous);
    const node = nodeOfUser(user);
    if (node !== undefined) guardNode(api, node, write);
  };
}

const certificates = "certificates.k8s.io";
const requests = "certificatesigningrequests";

// certificates/approval, certificates/signing
function guardRequest(
  authorize: Authorize,
  user: User,
  target: Target,
  object: CertificateSigningRequest,
  previous: KubeObject | undefined,
): void {
  if (previous === undefined) return;
  const { subresource } = target;
  const before = previous as CertificateSigningRequest;
  const [now = {}, then = {}] = [object.status, before.status];
  const isSame = now.certificate === then.certificate && sameJson(now.conditions ?? [], then.conditions ?? []);
  const verb = subresource === "approval" ? "approve" : subresource === "status" && !isSame ? "sign" : undefined;
  if (verb === undefined) return;
  const { signerName } = before.spec;
  // For the signer, or for all of its domain.
  const names = [signerName, `${signerName.split("/")[0]}/*`];
  const may = (name: string): boolean =>
    authorize(user, resourceTarget({ verb, group: certificates, version: "*", resource: "signers", name })).allowed;
  if (!names.some(may))
    refuse(
      target,
      previous.metadata.name,
      `user not permitted to ${verb} requests with signerName ${JSON.stringify(signerName)}`,
    );
}

const everything: PolicyRule = { verbs: ["*"], apiGroups: ["*"], resources: ["*"] };
const everyPath: PolicyRule = { verbs: ["*"], nonResourceURLs: ["*"] };

function guardRole(
  rbac: Rbac,
  authorize: Authorize,
  user: User,
  role: Role,
  previous: Role | undefined,
  target: Target,
): void {
  const isSame =
    previous !== undefined &&
    sameJson(previous.rules ?? [], role.rules ?? []) &&
    sameJson(previous.aggregationRule, role.aggregationRule);
  if (isSame) return;
  const { name, namespace } = role.metadata;
  const escalate = resourceTarget({
    verb: "escalate",
    group,
    resource: target.resource,
    name,
    ...(namespace !== undefined && { namespace }),
  });
  if (authorize(user, escalate).allowed) return;
  // Whoever collects rules may get any.
  const wanted =
    role.aggregationRule === undefined ? (role.rules ?? []) : [...(role.rules ?? []), everything, everyPath];
  mustHold(rbac, user, wanted, { target, name, namespace });
}

function guardBinding(
  rbac: Rbac,
  authorize: Authorize,
  user: User,
  binding: RoleBinding,
  previous: RoleBinding | undefined,
  target: Target,
): void {
  if (
    previous !== undefined &&
    sameJson(previous.subjects ?? [], binding.subjects ?? []) &&
    sameJson(previous.roleRef, binding.roleRef)
  )
    return;
  const { name, namespace } = binding.metadata;
  const { roleRef } = binding;
  const bind = resourceTarget({
    verb: "bind",
    group,
    resource: roleRef.kind === "Role" ? "roles" : "clusterroles",
    name: roleRef.name,
    ...(namespace !== undefined && { namespace }),
  });
  if (authorize(user, bind).allowed) return;
  const rules = rbac.roleRules(roleRef, namespace);
  if (rules === undefined)
    throw new StatusError(
      404,
      "NotFound",
      `${roleRef.kind.toLowerCase()}s.${group} ${JSON.stringify(roleRef.name)} not found`,
      {
        name: roleRef.name,
        group,
        kind: `${roleRef.kind.toLowerCase()}s`,
      },
    );
  mustHold(rbac, user, rules, { target, name, namespace });
}

/** Throws StatusError 403 with the permissions that are missing. */
function mustHold(
  rbac: Rbac,
  user: User,
  wanted: readonly PolicyRule[],
  of: { readonly target: Target; readonly name: string; readonly namespace: string | undefined },
): void {
  const held = rbac.rulesOf(user, of.namespace);
  const missing = uncovered(held.rules, wanted);
  if (missing.length === 0) return;
  const groups = user.groups.map((name) => JSON.stringify(name)).join(" ");
  const list = [...new Set(missing.map(ruleText))].sort().join("\n");
  const problems = held.problems.length === 0 ? "" : `; resolution errors: [${held.problems.join(" ")}]`;
  refuse(
    of.target,
    of.name,
    `user ${JSON.stringify(user.username)} (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${list}${problems}`,
  );
}

function guardNode(
  api: Pick<ObjectApi, "get">,
  node: string,
  { target, operation, object, previous }: Parameters<Guard>[0],
): void {
  const { resource, subresource } = target;
  const name = target.name ?? object?.metadata.name ?? "";
  const no = (why: string): never => refuse(target, name, why);
  if (target.group === "coordination.k8s.io" && resource === "leases") {
    if (object !== undefined && object.metadata.name !== node)
      no("can only access node lease with the same name as the requesting node");
    return;
  }
  if (target.group === certificates && resource === requests && operation === "create" && object !== undefined) {
    const problem = nodeRequestProblem(object as CertificateSigningRequest, node);
    if (problem !== undefined) no(problem);
    return;
  }
  if (target.group !== "") return;
  if (resource === "nodes") {
    if (name !== node) no(`node ${JSON.stringify(node)} is not allowed to modify node ${JSON.stringify(name)}`);
    if (operation !== "delete" && subresource === undefined)
      guardOwnNode(object as Node | undefined, previous as Node | undefined, no);
    return;
  }
  if (resource !== "pods") return;
  const pod = (previous ??
    object ??
    api.get({ group: "", resource: "pods", name, namespace: target.namespace ?? "" })) as Pod | undefined;
  const isOwn = pod?.spec?.nodeName === node;
  if (operation === "create" && subresource === undefined) {
    const mirror = object?.metadata.annotations?.["kubernetes.io/config.mirror"];
    if (mirror === undefined)
      no(
        `pod does not have "kubernetes.io/config.mirror" annotation, node ${JSON.stringify(node)} can only create mirror pods`,
      );
    if (!isOwn) no(`node ${JSON.stringify(node)} can only create pods with spec.nodeName set to itself`);
    return;
  }
  if (!isOwn)
    no(
      `node ${JSON.stringify(node)} can only ${subresource === "status" ? "update pod status for" : subresource === "eviction" ? "evict" : operation} pods with spec.nodeName set to itself`,
    );
}

/** A node asks for its own certificates only. */
function nodeRequestProblem(object: CertificateSigningRequest, node: string): string | undefined {
  const ofNodes: readonly string[] = [signers.kubeletClient, signers.kubeletServing];
  if (!ofNodes.includes(object.spec.signerName)) return undefined;
  const request = readRequest(object);
  if (typeof request === "string") return `unable to parse csr: ${request}`;
  const name = `system:node:${node}`;
  return request.subject.commonName === name ? undefined : `can only create a node CSR with CN=${name}`;
}

/** Labels a node must not give itself: they say who may trust it. */
const restrictedLabel = /(^|\.)node-restriction\.kubernetes\.io\//;

function guardOwnNode(object: Node | undefined, previous: Node | undefined, no: (why: string) => never): void {
  const changed = (
    labels: KubeObject["metadata"]["labels"] = {},
    before: KubeObject["metadata"]["labels"] = {},
  ): string[] =>
    [...new Set([...Object.keys(labels), ...Object.keys(before)])].filter((key) => labels[key] !== before[key]);
  const bad = changed(object?.metadata.labels, previous?.metadata.labels).filter((key) => restrictedLabel.test(key));
  if (bad.length > 0) no(`is not allowed to modify labels: ${bad.join(", ")}`);
  if (previous !== undefined && !sameJson(previous.spec?.taints ?? [], object?.spec?.taints ?? []))
    no("is not allowed to modify taints");
}

function refuse(target: Target, name: string, why: string): never {
  const plural = target.group === "" ? target.resource : `${target.resource}.${target.group}`;
  throw new StatusError(403, "Forbidden", `${plural} ${JSON.stringify(name)} is forbidden: ${why}`, {
    name,
    kind: target.resource,
    ...(target.group !== "" && { group: target.group }),
  });
}
