import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

import { explainRefusal, probeUserNamespaces, unshareFlags, type RefusalFacts } from "./refusal.ts";

const facts: RefusalFacts = {
  reached: "nothing",
  words: "unshare: unshare failed: Operation not permitted",
  unshareMissing: false,
  settings: { "user/max_user_namespaces": "15000", "kernel/unprivileged_userns_clone": "1" },
  seccomp: false,
  chroot: false,
};

void test("each cause is named with what allows it", () => {
  const reasons: readonly (readonly [Partial<RefusalFacts>, RegExp])[] = [
    [{ settings: { "user/max_user_namespaces": "0" } }, /user\.max_user_namespaces is 0: .*sysctl -w/],
    [{ settings: { "user/max_net_namespaces": "0" } }, /user\.max_net_namespaces is 0/],
    [{ settings: { "kernel/unprivileged_userns_clone": "0" } }, /unprivileged_userns_clone=1/],
    [{ settings: { "kernel/apparmor_restrict_unprivileged_userns": "1" } }, /apparmor_restrict_unprivileged_userns=0/],
    [{ seccomp: true }, /seccomp=unconfined/],
    [{ chroot: true }, /chroot/],
    [{ words: "unshare: unshare failed: No space left on device" }, /limit of namespaces/],
    [{ unshareMissing: true }, /install util-linux/],
    [{ reached: "namespaces" }, /mounting/],
    [{ reached: "mount" }, /\/proc\/sys cannot be written/],
    [{}, /Operation not permitted/],
  ];
  for (const [change, expected] of reasons) assert.match(explainRefusal({ ...facts, ...change }), expected);
});

void test("a certain cause goes before a likely one", () => {
  const reason = explainRefusal({ ...facts, seccomp: true, settings: { "user/max_user_namespaces": "0" } });
  assert.match(reason, /max_user_namespaces/);
});

void test("this machine's answer is what `unshare` does, and a refusal has a reason", () => {
  const answer = probeUserNamespaces();
  if (answer.available) assert.equal(spawnSync("unshare", [...unshareFlags, "true"]).status, 0);
  else assert.notEqual(answer.reason, "");
});
