// Nodes, reviews and the guard: what depends on more than a rule.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "../../kube/object.ts";
import { binding, pod, refusal, role, target, testAccess, user, type TestAccess } from "./access.testing.ts";
import { forbidden } from "./authz-target.ts";
import type { User } from "./hooks.ts";

const nodeUser = (name: string): User => ({
  username: `system:node:${name}`,
  groups: ["system:nodes", "system:authenticated"],
});

test("a node reads the Secrets and ConfigMaps its own pods use, and no others", () => {
  const lab = testAccess();
  lab.create(
    pod("a", {
      nodeName: "node-1",
      volumes: [
        { name: "s", secret: { secretName: "volume" } },
        { name: "p", projected: { sources: [{ configMap: { name: "projected" } }] } },
      ],
      containers: [
        {
          name: "c",
          image: "i",
          envFrom: [{ secretRef: { name: "env" } }],
          env: [{ name: "K", valueFrom: { secretKeyRef: { name: "key", key: "k" } } }],
        },
      ],
    }),
    pod("b", { nodeName: "node-2", volumes: [{ name: "s", secret: { secretName: "elsewhere" } }] }),
  );
  const one = nodeUser("node-1");
  for (const name of ["volume", "env", "key"]) assert.ok(lab.may(one, `get /secrets ${name} in default`), name);
  assert.ok(lab.may(one, "get /configmaps projected in default"));
  assert.ok(lab.may(one, "get /configmaps kube-root-ca.crt in default"));
  assert.ok(lab.may(one, "create /serviceaccounts/token default in default"));
  assert.ok(!lab.may(one, "create /serviceaccounts/token default in other"));
  assert.ok(!lab.may(one, "get /secrets elsewhere in default"));
  assert.ok(lab.may(nodeUser("node-2"), "get /secrets elsewhere in default"));
  assert.ok(!lab.may(one, "get /secrets volume in other"));
  assert.ok(!lab.may(one, "list /secrets in default"));
  assert.ok(!lab.may(one, "list /secrets"));
  assert.ok(lab.may(one, "list /pods"));
  assert.ok(lab.may(one, "update coordination.k8s.io/leases node-1 in kube-node-lease"));
  assert.ok(!lab.may(one, "update coordination.k8s.io/leases node-2 in kube-node-lease"));
  assert.ok(!lab.may(one, "update coordination.k8s.io/leases node-1 in default"));
  assert.match(
    lab.authorize(one, target("get /secrets elsewhere in default")).reason ?? "",
    /no relationship found between node 'node-1'/,
  );
  assert.ok(!lab.may(user("system:node:node-1"), "list /pods"), "the name alone makes no node");
});

test("a node changes itself and its own pods only", () => {
  const lab = testAccess();
  const one = nodeUser("node-1");
  const node = (name: string, rest: object = {}): KubeObject => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: {},
    ...rest,
  });
  const [own, other] = [pod("a", { nodeName: "node-1" }), pod("b", { nodeName: "node-2" })];
  const guard = (
    text: string,
    operation: "create" | "update" | "delete",
    object?: KubeObject,
    previous?: KubeObject,
  ): string => refusal(() => lab.guard({ user: one, target: target(text), operation, object, previous }));
  assert.equal(guard("update /nodes/status node-1", "update", node("node-1"), node("node-1")), "taken");
  assert.match(
    guard("update /nodes/status node-2", "update", node("node-2"), node("node-2")),
    /node "node-1" is not allowed to modify node "node-2"/,
  );
  const labelled = node("node-1", {
    metadata: { name: "node-1", labels: { "team.node-restriction.kubernetes.io/x": "1" } },
  });
  assert.match(guard("update /nodes node-1", "update", labelled, node("node-1")), /not allowed to modify labels/);
  assert.match(
    guard(
      "update /nodes node-1",
      "update",
      node("node-1"),
      node("node-1", { spec: { taints: [{ key: "k", effect: "NoSchedule" }] } }),
    ),
    /not allowed to modify taints/,
  );
  assert.equal(guard("update /pods/status a in default", "update", own, own), "taken");
  assert.match(
    guard("update /pods/status b in default", "update", other, other),
    /can only update pod status for pods with spec.nodeName set to itself/,
  );
  assert.equal(guard("delete /pods a in default", "delete", undefined, own), "taken");
  assert.match(guard("delete /pods b in default", "delete", undefined, other), /can only delete pods/);
  assert.match(guard("create /pods in default", "create", own), /can only create mirror pods/);
  const mirror = pod("m", { nodeName: "node-1" }, { annotations: { "kubernetes.io/config.mirror": "x" } });
  assert.equal(guard("create /pods in default", "create", mirror), "taken");
});

async function withJane(): Promise<TestAccess> {
  const lab = testAccess();
  lab.create(
    role("pods", undefined, { verbs: ["get", "list"], apiGroups: [""], resources: ["pods"] }),
    role("bind-view", undefined, {
      verbs: ["bind"],
      apiGroups: ["rbac.authorization.k8s.io"],
      resources: ["clusterroles"],
      resourceNames: ["view"],
    }),
    binding("jane", "default", "ClusterRole/pods", "User/jane"),
    binding("jane-bind", "default", "ClusterRole/bind-view", "User/jane"),
    binding("carl", undefined, "ClusterRole/cluster-admin", "User/carl"),
  );
  await lab.api.flushed();
  return lab;
}

test("nobody grants what they do not hold", async () => {
  const lab = await withJane();
  const jane = user("jane");
  const guard = (who: User, object: KubeObject, previous?: KubeObject): string => {
    const namespace = object.metadata.namespace;
    const plural = `${object.kind.toLowerCase()}s`;
    return refusal(() =>
      lab.guard({
        user: who,
        target: target(
          `create rbac.authorization.k8s.io/${plural}${namespace === undefined ? "" : ` in ${namespace}`}`,
        ),
        operation: previous === undefined ? "create" : "update",
        object,
        previous,
      }),
    );
  };
  const own = { verbs: ["get"], apiGroups: [""], resources: ["pods"] };
  const more = { verbs: ["delete"], apiGroups: [""], resources: ["pods"] };
  assert.equal(guard(jane, role("r", "default", own)), "taken");
  assert.equal(
    guard(jane, role("r", "default", own, more)),
    '403 Forbidden: roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}',
  );
  assert.match(guard(jane, role("r", "other", own)), /^403/);
  assert.equal(
    guard(jane, role("r", "default", more), role("r", "default", more)),
    "taken",
    "rules that stay are no grant",
  );
  assert.equal(guard(jane, binding("b", "default", "ClusterRole/pods", "User/x")), "taken");
  assert.equal(guard(jane, binding("b", "default", "ClusterRole/view", "User/x")), "taken", "by the verb bind");
  assert.match(guard(jane, binding("b", "default", "ClusterRole/edit", "User/x")), /^403/);
  assert.match(guard(jane, binding("b", undefined, "ClusterRole/pods", "User/x")), /^403/);
  assert.match(
    guard(jane, binding("b", "default", "Role/none", "User/x")),
    /^404 NotFound: roles.rbac.authorization.k8s.io "none" not found/,
  );
  assert.match(
    guard(jane, { ...role("r", undefined), aggregationRule: { clusterRoleSelectors: [{ matchLabels: { a: "b" } }] } }),
    /^403/,
  );
  assert.equal(guard(user("carl"), role("r", undefined, more)), "taken", "by holding everything");
  assert.equal(
    guard(user("root", "system:masters"), binding("b", undefined, "ClusterRole/cluster-admin", "User/x")),
    "taken",
  );
});

test("access reviews answer as the request itself would be", async () => {
  const lab = await withJane();
  const review = (kind: string, spec: object, who: User, namespace?: string): { allowed: boolean; reason?: string } => {
    const resource = `${kind.toLowerCase()}s.authorization.k8s.io`;
    const object = { apiVersion: "authorization.k8s.io/v1", kind, metadata: { name: "" }, spec };
    const answer = lab.answers[resource]?.({
      user: who,
      target: { ...target("create authorization.k8s.io/x"), namespace },
      object,
    });
    return (answer as KubeObject)["status"] as { allowed: boolean };
  };
  const pods = { resourceAttributes: { verb: "get", group: "", resource: "pods", namespace: "default" } };
  assert.equal(review("SelfSubjectAccessReview", pods, user("jane")).allowed, true);
  assert.match(
    review("SelfSubjectAccessReview", pods, user("jane")).reason ?? "",
    /^RBAC: allowed by RoleBinding "jane\/default"/,
  );
  assert.equal(review("SelfSubjectAccessReview", pods, user("nobody")).allowed, false);
  assert.equal(review("SubjectAccessReview", { ...pods, user: "jane" }, user("root")).allowed, true);
  assert.equal(review("SubjectAccessReview", { ...pods, groups: ["system:masters"] }, user("root")).allowed, true);
  assert.equal(
    review(
      "SubjectAccessReview",
      { nonResourceAttributes: { verb: "get", path: "/metrics" }, user: "jane" },
      user("root"),
    ).allowed,
    false,
  );
  assert.equal(review("LocalSubjectAccessReview", { ...pods, user: "jane" }, user("root"), "default").allowed, true);
  assert.match(
    refusal(() => review("LocalSubjectAccessReview", { ...pods, user: "jane" }, user("root"), "other")),
    /^422 Invalid: .*spec.resourceAttributes.namespace: Invalid value: "default": must match metadata.namespace/,
  );
  assert.match(
    refusal(() => review("SubjectAccessReview", pods, user("root"))),
    /^422 Invalid: .*at least one of user or group/,
  );
  assert.match(
    refusal(() => review("SelfSubjectAccessReview", {}, user("root"))),
    /^422 Invalid: .*exactly one of/,
  );
});

test("rules reviews list what a user may in a namespace", async () => {
  const lab = await withJane();
  const answer = lab.answers["selfsubjectrulesreviews.authorization.k8s.io"]?.({
    user: user("jane"),
    target: target("create authorization.k8s.io/selfsubjectrulesreviews"),
    object: {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectRulesReview",
      metadata: { name: "" },
      spec: { namespace: "default" },
    },
  }) as KubeObject;
  const { resourceRules, nonResourceRules, incomplete } = answer["status"] as {
    resourceRules: readonly { resources: readonly string[] }[];
    nonResourceRules: readonly object[];
    incomplete: boolean;
  };
  assert.equal(incomplete, false);
  assert.ok(resourceRules.some(({ resources }) => resources.includes("pods")));
  assert.ok(nonResourceRules.length > 0);
});

test("TokenReview and SelfSubjectReview", () => {
  const lab = testAccess();
  const account = lab.api.get({ group: "", resource: "serviceaccounts", namespace: "default", name: "default" });
  const { token } = lab.access.tokens.issue({ account: account as never, audiences: [], seconds: 600 });
  const review = (spec: object): unknown => {
    const answer = lab.answers["tokenreviews.authentication.k8s.io"]?.({
      user: user("root"),
      target: target("create authentication.k8s.io/tokenreviews"),
      object: { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", metadata: { name: "" }, spec },
    });
    return (answer as KubeObject)["status"];
  };
  const good = review({ token }) as {
    authenticated: boolean;
    user: { username: string };
    audiences: readonly string[];
  };
  assert.equal(good.authenticated, true);
  assert.equal(good.user.username, "system:serviceaccount:default:default");
  assert.deepEqual(good.audiences, [lab.access.tokens.audience]);
  assert.deepEqual(review({ token: "else" }), { user: {}, error: "invalid bearer token" });
  assert.equal((review({ token, audiences: ["vault"] }) as { authenticated?: boolean }).authenticated, undefined);
  assert.match(
    refusal(() => review({})),
    /^400 BadRequest/,
  );
  const self = lab.answers["selfsubjectreviews.authentication.k8s.io"]?.({
    user: user("jane", "team"),
    target: target("create authentication.k8s.io/selfsubjectreviews"),
    object: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview", metadata: { name: "" } },
  }) as KubeObject;
  assert.deepEqual(self["status"], { userInfo: { username: "jane", groups: ["team", "system:authenticated"] } });
});

test("refusals are worded as kube-apiserver words them", () => {
  const words = (text: string): string => forbidden(user("jane"), target(text)).message;
  assert.equal(
    words("list /pods in default"),
    'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
  );
  assert.equal(
    words("get apps/deployments/scale web in default"),
    'deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments/scale" in API group "apps" in the namespace "default"',
  );
  assert.equal(
    words("list /nodes"),
    'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope',
  );
  assert.equal(words("get path /metrics"), 'forbidden: User "jane" cannot get path "/metrics"');
});
