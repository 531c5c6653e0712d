import assert from "node:assert/strict";
import { test } from "node:test";

import type { Change } from "../../kernel/kernel.ts";
import { createNetworkNamespace } from "../../kernel/namespaces.ts";
import { receiveOffload } from "../../kernel/offload.ts";
import { openNodeKernel } from "./node-kernel.ts";

test("a lab node's tunnel takes packets as they come, also when it is made anew", () => {
  const namespace = createNetworkNamespace();
  const kernel = openNodeKernel("node-1", namespace);
  const mac = "02:00:00:00:00:01";
  const tunnel: Change = {
    kind: "create-vxlan",
    name: "fl.vx",
    mac,
    mtu: 1450,
    vni: 1,
    port: 4789,
    local: "127.0.0.1",
  };
  const refused: Change = { ...tunnel, name: "fl.vx.much.too.long" };
  try {
    const results = kernel.change([{ kind: "create-bridge", name: "cbr0", mac, mtu: 1450 }, refused, tunnel]);
    assert.deepEqual(
      results.map(({ ok }) => ok),
      [true, false, true],
    );
    assert.equal(receiveOffload(namespace, "fl.vx"), "off");
    assert.equal(receiveOffload(namespace, "cbr0"), "on");
    for (const { ok } of kernel.change([{ kind: "delete-link", name: "fl.vx" }, tunnel])) assert.ok(ok);
    assert.equal(receiveOffload(namespace, "fl.vx"), "off");
    assert.ok(kernel.nftBatchBytesMax > 0);
  } finally {
    kernel.close();
    namespace.close();
  }
});
