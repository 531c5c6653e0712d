// Needs: ip

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";

import { conformance } from "./conformance.testing.ts";
import type { Change } from "./kernel.ts";
import { openKernel } from "./linux.ts";
import { createNetworkNamespace } from "./namespaces.ts";

conformance("the kernel of this machine", () => {
  const one = createNetworkNamespace();
  const two = createNetworkNamespace();
  const kernel = openKernel("one", one);
  const other = openKernel("two", two);
  let otherOpen = true;
  const destroyOther = (): void => {
    if (!otherOpen) return;
    otherOpen = false;
    other.close();
    two.close();
  };
  return {
    kernel,
    other,
    otherFd: two.fd,
    byHand(change) {
      const result = one.run(() => spawnSync("ip", ipArguments(change), { encoding: "utf8" }));
      assert.equal(result.status, 0, `ip ${ipArguments(change).join(" ")}: ${result.stderr}`);
    },
    destroyOther,
    close() {
      destroyOther();
      kernel.close();
      one.close();
    },
  };
});

/** What a person types. */
function ipArguments(change: Change): string[] {
  if (change.kind === "delete-route") return ["route", "del", change.to, "metric", String(change.metric)];
  if (change.kind === "delete-address") return ["addr", "del", `${change.address}/${change.bits}`, "dev", change.link];
  throw new Error(`no ip command is written here for ${change.kind}`);
}
