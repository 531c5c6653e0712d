import assert from "node:assert/strict";
import { test } from "node:test";

import { openKernel } from "./linux.ts";
import { createNetworkNamespace } from "./namespaces.ts";
import { receiveOffload, setReceiveOffload } from "./offload.ts";

test("receive offload is switched for one link, and a link that is not there is named", () => {
  const namespace = createNetworkNamespace();
  const kernel = openKernel("offload", namespace);
  try {
    const made = ["br0", "br1"].map(
      (name, index) => ({ kind: "create-bridge", name, mac: `02:00:00:00:00:0${index}`, mtu: 1500 }) as const,
    );
    for (const result of kernel.change(made)) assert.ok(result.ok);
    assert.equal(receiveOffload(namespace, "br0"), "on");
    setReceiveOffload(namespace, "br0", "off");
    assert.equal(receiveOffload(namespace, "br0"), "off");
    assert.equal(receiveOffload(namespace, "br1"), "on");
    setReceiveOffload(namespace, "br0", "on");
    assert.equal(receiveOffload(namespace, "br0"), "on");
    assert.throws(() => receiveOffload(namespace, "br2"), { code: "ENODEV", message: /receive offload of br2/ });
  } finally {
    kernel.close();
    namespace.close();
  }
});
