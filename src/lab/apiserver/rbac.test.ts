// Users and roles over a store: who may do what, and from when on.

import assert from "node:assert/strict";
import { test } from "node:test";
import { withDefaults } from "../../kube/defaults.ts";
import { structureProblems } from "../../kube/structure.ts";
import { validate } from "../../kube/validate.ts";
import { binding, role, target, testAccess, user } from "./access.testing.ts";
import type { Role } from "./rbac-rules.ts";
import { defaultPolicy, ensureDefaultPolicy } from "./rbac-policy.ts";

const getPods = { verbs: ["get", "list"], apiGroups: [""], resources: ["pods"] };

test("bindings give their role's rules: cluster-wide, or in their namespace", async () => {
  const lab = testAccess();
  lab.create(
    role("reader", undefined, getPods),
    role("local", "default", getPods),
    binding("everywhere", undefined, "ClusterRole/reader", "User/anna"),
    binding("here", "default", "ClusterRole/reader", "Group/team/a"),
    binding("local", "default", "Role/local", "ServiceAccount/other/default"),
  );
  await lab.api.flushed();
  const [anna, bert] = [user("anna"), user("bert", "team/a")];
  const account = user("system:serviceaccount:other:default", "system:serviceaccounts");
  assert.ok(lab.may(anna, "list /pods"));
  assert.ok(lab.may(anna, "get /pods a in other"));
  assert.ok(lab.may(bert, "get /pods a in default"));
  assert.ok(!lab.may(bert, "get /pods a in other"));
  assert.ok(!lab.may(bert, "list /pods"));
  assert.ok(lab.may(account, "get /pods a in default"));
  assert.ok(!lab.may(account, "get /pods a in other"));
  assert.equal(
    lab.authorize(anna, target("list /pods")).reason,
    'RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "anna"',
  );
  assert.equal(
    lab.authorize(account, target("get /pods a in default")).reason,
    'RBAC: allowed by RoleBinding "local/default" of Role "local" to ServiceAccount "default/other"',
  );
});

test("a binding to a role that is not there says so; a change counts once it is stored", async () => {
  const lab = testAccess();
  const anna = user("anna");
  lab.create(binding("b", "default", "Role/missing", "User/anna"));
  await lab.api.flushed();
  assert.deepEqual(lab.authorize(anna, target("get /pods a in default")), {
    allowed: false,
    reason: 'RBAC: role.rbac.authorization.k8s.io "missing" not found',
  });
  lab.create(role("missing", "default", getPods));
  assert.ok(lab.may(anna, "get /pods a in default"));
  lab.api.delete({ group: "rbac.authorization.k8s.io", resource: "rolebindings", namespace: "default", name: "b" });
  await lab.api.flushed();
  assert.ok(!lab.may(anna, "get /pods a in default"));
});

test("default roles: what everybody, viewers, editors and administrators of a namespace may", async () => {
  const lab = testAccess();
  lab.create(
    binding("v", "default", "ClusterRole/view", "User/viewer"),
    binding("e", "default", "ClusterRole/edit", "User/editor"),
    binding("a", "default", "ClusterRole/admin", "User/admin"),
  );
  await lab.api.flushed();
  const [viewer, editor, admin, nobody] = [user("viewer"), user("editor"), user("admin"), user("nobody")];
  const stranger = { username: "system:anonymous", groups: ["system:unauthenticated"] };
  const table: readonly (readonly [Parameters<typeof lab.may>[0], string, boolean])[] = [
    [nobody, "get path /api", true],
    [nobody, "get path /openapi/v3", true],
    [nobody, "get path /metrics", false],
    [nobody, "create authorization.k8s.io/selfsubjectaccessreviews", true],
    [nobody, "list /pods in default", false],
    [stranger, "get path /version", true],
    [stranger, "get path /healthz", true],
    [stranger, "get path /api", false],
    [viewer, "list /pods in default", true],
    [viewer, "get /pods/log a in default", true],
    [viewer, "get /secrets a in default", false],
    [viewer, "create /pods in default", false],
    [viewer, "create /pods/exec a in default", false],
    [viewer, "list /pods in other", false],
    [editor, "list /pods in default", true],
    [editor, "get /secrets a in default", true],
    [editor, "create /pods/exec a in default", true],
    [editor, "create apps/deployments in default", true],
    [editor, "create rbac.authorization.k8s.io/roles in default", false],
    [admin, "create rbac.authorization.k8s.io/rolebindings in default", true],
    [admin, "create /pods/portforward a in default", true],
    [admin, "update /resourcequotas a in default", false],
    [admin, "list /nodes", false],
    [user("root", "system:masters"), "escalate rbac.authorization.k8s.io/clusterroles x", true],
    [user("system:kube-scheduler"), "create /pods/binding a in default", true],
    [user("system:kube-controller-manager"), "list anything.example/things", true],
    [user("system:kube-proxy"), "watch discovery.k8s.io/endpointslices", true],
    [user("system:serviceaccount:kube-system:coredns"), "list /services", true],
    [user("system:serviceaccount:kube-system:replicaset-controller"), "create /pods in default", true],
    [user("system:serviceaccount:kube-system:replicaset-controller"), "create /secrets in default", false],
  ];
  for (const [who, text, expected] of table) assert.equal(lab.may(who, text), expected, `${who.username}: ${text}`);
});

test("a list of one name is a request for that name", async () => {
  const lab = testAccess();
  lab.create(
    role("one", "default", {
      verbs: ["list", "watch"],
      apiGroups: [""],
      resources: ["configmaps"],
      resourceNames: ["one"],
    }),
    binding("b", "default", "Role/one", "User/anna"),
  );
  await lab.api.flushed();
  const ask = (selector: string): boolean =>
    lab.authorize(user("anna"), {
      ...target("list /configmaps in default"),
      query: new URLSearchParams({ fieldSelector: selector }),
    }).allowed;
  assert.ok(ask("metadata.name=one"));
  assert.ok(!ask("metadata.name=two"));
  assert.ok(!ask("metadata.name!=one"));
  assert.ok(!ask(""));
});

test("aggregated roles follow the labels of others", async () => {
  const lab = testAccess();
  lab.create({
    ...role("widgets", undefined, { verbs: ["get"], apiGroups: ["example.org"], resources: ["widgets"] }),
    metadata: { name: "widgets", labels: { "rbac.authorization.k8s.io/aggregate-to-view": "true" } },
  });
  lab.create(
    binding("v", "default", "ClusterRole/view", "User/viewer"),
    binding("a", "default", "ClusterRole/admin", "User/admin"),
  );
  await lab.api.flushed();
  // view collects it, then edit collects view, then admin edit: each by the event of the one before.
  for (let round = 0; round < 4; round++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
    await lab.api.flushed();
  }
  assert.ok(lab.may(user("viewer"), "get example.org/widgets a in default"));
  assert.ok(lab.may(user("admin"), "get example.org/widgets a in default"));
});

test("the default policy comes once, and gives back what was taken away unless told not to", () => {
  const lab = testAccess();
  const before = lab.api.revision;
  ensureDefaultPolicy(lab.api);
  assert.equal(lab.api.revision, before);
  const key = { group: "rbac.authorization.k8s.io", resource: "clusterroles" };
  const change = (name: string, edit: (found: Role) => Role): void =>
    void lab.api.update(edit(lab.api.get({ ...key, name }) as Role));
  const extra = { verbs: ["get"], apiGroups: ["example.org"], resources: ["extra"] };
  change("system:discovery", (found) => ({ ...found, rules: [extra] }));
  change("system:basic-user", (found) => ({
    ...found,
    rules: [],
    metadata: { ...found.metadata, annotations: { "rbac.authorization.kubernetes.io/autoupdate": "false" } },
  }));
  ensureDefaultPolicy(lab.api);
  const discovery = lab.api.get({ ...key, name: "system:discovery" }) as Role;
  assert.deepEqual(discovery.rules?.[0], extra);
  assert.equal(discovery.rules?.length, 2);
  assert.deepEqual((lab.api.get({ ...key, name: "system:basic-user" }) as Role).rules ?? [], []);
});

test("the default policy is stored as it is: valid, and with its defaults", () => {
  for (const object of defaultPolicy()) {
    assert.deepEqual(structureProblems(object), []);
    assert.deepEqual(validate(object), []);
    assert.deepEqual(withDefaults(object), object);
  }
});

test("every role that is bound is there, and every line of the table is a rule", () => {
  const objects = defaultPolicy();
  const roles = new Set(
    objects
      .filter(({ kind }) => kind.endsWith("Role"))
      .map(({ kind, metadata }) => `${kind}/${metadata.namespace ?? ""}/${metadata.name}`),
  );
  for (const object of objects) {
    if (!("roleRef" in object)) {
      for (const { verbs, apiGroups, resources, nonResourceURLs } of object.rules ?? []) {
        assert.ok(verbs.length > 0 && verbs.every((verb) => /^(\*|[a-z]+)$/.test(verb)), object.metadata.name);
        assert.ok(
          (nonResourceURLs?.length ?? 0) > 0 !== ((apiGroups?.length ?? 0) > 0 && (resources?.length ?? 0) > 0),
        );
      }
      continue;
    }
    const { kind, name } = object.roleRef as { kind: string; name: string };
    assert.ok(
      roles.has(`${kind}/${kind === "Role" ? (object.metadata.namespace ?? "") : ""}/${name}`),
      object.metadata.name,
    );
  }
});
