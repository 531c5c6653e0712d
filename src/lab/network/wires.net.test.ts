import assert from "node:assert/strict";
import { test } from "node:test";

import { macOfName } from "../../ip/mac.ts";
import { mustChange, type Change, type NetworkKernel } from "../../kernel/kernel.ts";
import { openKernel } from "../../kernel/linux.ts";
import { createNetworkNamespace } from "../../kernel/namespaces.ts";
import { exchangeDatagram } from "./datagram.ts";
import { openWires, type WiredMachine } from "./wires.ts";

// RFC 792
const icmpEcho = 8;

for (const kind of ["shared", "bridged"] as const) {
  test(`wires, ${kind}: all reach all, but for whose wire is pulled, and the end of a wire answers nobody`, async () => {
    const [router, ...machines] = ["router", "a", "b"].map(openMachine);
    const [a, b] = machines;
    assert.ok(router && a && b);
    // ARP asks once a second; silence has been long enough after a third of that.
    const reaches = async (from: WiredMachine, address: string, timeoutMs = 5000): Promise<string> => {
      const bytes = Uint8Array.of(icmpEcho, 0, 0, 0, 0, 0, 0, 1);
      const answer = await exchangeDatagram(from.namespace, { kind: "ping", address, port: 0, timeoutMs, bytes });
      return answer.kind === "error" ? answer.code : answer.kind;
    };
    try {
      const switches = [{ name: "switch", mac: macOfName("switch") }];
      const wires = openWires(router.kernel, 1500, switches, kind === "bridged" ? kind : undefined);
      const made = router.kernel.links().find(({ name }) => name === "switch");
      assert.equal(made?.kind, kind === "shared" ? "macvlan" : "bridge");
      dress(router.kernel, "switch", "192.0.2.1");
      for (const [at, machine] of machines.entries()) {
        wires.plug(machine, "switch", macOfName(machine.name));
        dress(machine.kernel, "eth0", `192.0.2.${at + 2}`);
        machine.kernel.idleLinks(["eth0"]);
        router.kernel.idleLinks([...wires.portsOf(machine), "switch"]);
      }
      // Addresses are asked for by ARP here: broadcasts pass, too.
      assert.equal(await reaches(a, "192.0.2.3"), "answer");
      assert.equal(await reaches(router, "192.0.2.2"), "answer");
      assert.equal(await reaches(a, "192.0.2.1"), "answer");
      const gateway = a.kernel.neighbours().find(({ address }) => address === "192.0.2.1");
      assert.equal(gateway?.mac, macOfName("switch"));

      assert.deepEqual([wires.carries(a), wires.carries(b)], [true, true]);
      wires.setUplink(b, "down");
      assert.deepEqual([wires.carries(a), wires.carries(b)], [true, false]);
      assert.notEqual(await reaches(a, "192.0.2.3", 300), "answer");
      assert.notEqual(await reaches(b, "192.0.2.2", 300), "answer");
      assert.equal(await reaches(a, "192.0.2.1"), "answer");
      wires.setUplink(b, "up");
      b.kernel.idleLinks(["eth0"]);
      router.kernel.idleLinks([...wires.portsOf(b), "switch"]);
      assert.equal(await reaches(a, "192.0.2.3"), "answer");

      wires.unplug(b);
      assert.deepEqual([wires.carries(a), wires.carries(b)], [true, false]);
      assert.equal(b.kernel.links().length, 1);
    } finally {
      for (const { kernel, namespace } of [router, ...machines]) {
        kernel.close();
        namespace.close();
      }
    }
  });
}

function openMachine(name: string): WiredMachine {
  const namespace = createNetworkNamespace();
  return { name, namespace, kernel: openKernel(name, namespace) };
}

function dress(kernel: NetworkKernel, link: string, address: string): void {
  const changes: readonly Change[] = [
    { kind: "set-link", name: link, up: true },
    { kind: "set-address", link, address, bits: 24 },
  ];
  mustChange(kernel, changes);
}
