// Callers and agents that die, hang, come by the hundred or leave rubbish.

import assert from "node:assert/strict";
import { closeSync, constants, openSync, readSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";

import { openAttachments } from "../../src/agent/attachments.ts";
import {
  addressesIn,
  codeOf,
  makeSandbox,
  network,
  plugin,
  scratchFolder,
  shells,
  startHost,
  startPlugin,
  type Outcome,
  type Sandbox,
} from "./plugin.testing.ts";

describe("the plugin, and callers and agents that die", () => {
  test("a hundred at once get a hundred addresses, and leave none; DEL may be repeated and needs no namespace", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const pods = Array.from({ length: 100 }, () => makeSandbox(t));
    const added = await Promise.all(
      pods.map(({ id, path: netns }) => plugin({ command: "ADD", directory, id, netns })),
    );
    const addresses = added.map(({ exitCode, json, output }) => {
      assert.equal(exitCode, 0, output);
      return String(json["ips"][0].address);
    });
    assert.equal(new Set(addresses).size, 100);
    const remove = (): Promise<Outcome[]> =>
      Promise.all(pods.map(({ id }) => plugin({ command: "DEL", directory, id, netns: "/run/netns/gone" })));
    for (const { exitCode, output } of [...(await remove()), ...(await remove())])
      assert.deepEqual([exitCode, output], [0, ""]);
    assert.deepEqual(pods.flatMap(addressesIn), []);
  });

  test("a caller killed in the middle leaves nothing behind that GC does not find, and nobody else waits for it", async (t) => {
    const directory = scratchFolder(t);
    const attachmentsFile = path.join(scratchFolder(t), "attachments.json");
    const host = await startHost({ directory, attachmentsFile });
    t.after(() => host.stop());
    for (let round = 0; round < 20; round++) {
      const sandbox = makeSandbox(t);
      const child = startPlugin({ command: "ADD", directory, id: sandbox.id, netns: sandbox.path });
      const gone = new Promise((resolve) => child.once("close", resolve));
      // From before it has said anything to after it has its answer.
      await new Promise((resolve) => void setTimeout(resolve, round));
      child.kill("SIGKILL");
      await gone;
    }
    const last = makeSandbox(t);
    assert.equal((await plugin({ command: "ADD", directory, id: last.id, netns: last.path })).exitCode, 0);
    const valid = [{ containerID: last.id, ifname: "eth0" }];
    const config = { ...network, "cni.dev/valid-attachments": valid };
    assert.equal((await plugin({ command: "GC", directory, config })).exitCode, 0);
    assert.deepEqual(
      openAttachments(attachmentsFile)
        .list()
        .map(({ id }) => id),
      [last.id],
    );
  });

  test("rubbish in the folder hurts nobody", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    writeFileSync(path.join(directory, "asked"), `\n\n99999999\n-1\n1e3\n${"x".repeat(5000)}\n1\n`);
    const [slot = ""] = readdirSync(path.join(directory, "slots"));
    writeFileSync(path.join(directory, "asks", slot), "no request at all");
    writeFileSync(path.join(directory, "asked"), `${slot}\n`);
    writeFileSync(path.join(directory, "missed", "1-0"), "no request either");
    for (const program of shells) {
      const sandbox = makeSandbox(t);
      const call = { directory, program, id: sandbox.id, netns: sandbox.path };
      assert.equal((await plugin({ ...call, command: "ADD" })).exitCode, 0);
      const huge = await plugin({ ...call, command: "CHECK", config: `{"x":"${"y".repeat(200_000)}"}` });
      assert.deepEqual(codeOf(huge), [1, 1]);
    }
  });

  test("no agent: ADD says try again and what to do, DEL succeeds and is made up for, STATUS is 50", async (t) => {
    const directory = scratchFolder(t);
    const attachmentsFile = path.join(scratchFolder(t), "attachments.json");
    const sandbox = makeSandbox(t);
    const call = { directory, id: sandbox.id, netns: sandbox.path };
    for (const program of shells) {
      const refused = await plugin({ ...call, program, command: "ADD" });
      assert.deepEqual(codeOf(refused), [1, 11]);
      assert.match(String(refused.json["details"]), /start the agent/);
      assert.deepEqual(codeOf(await plugin({ ...call, program, command: "STATUS" })), [1, 50]);
      assert.deepEqual((await plugin({ ...call, program, command: "DEL" })).exitCode, 0);
    }
    for (const [index, program] of shells.entries()) {
      const first = await startHost({ directory, attachmentsFile });
      const id = `${sandbox.id}-${index}`;
      assert.equal((await plugin({ ...call, id, program, command: "ADD" })).exitCode, 0);
      await first.stop("SIGKILL");
      assert.deepEqual(codeOf(await plugin({ ...call, program, command: "ADD" })), [1, 11]);
      assert.deepEqual((await plugin({ ...call, id, program, command: "DEL" })).exitCode, 0);
      const second = await startHost({ directory, attachmentsFile });
      assert.ok(second.log.some((line) => line.includes(`DEL ${id}: done now`)));
      assert.deepEqual(addressesIn(sandbox), []);
      assert.deepEqual(readdirSync(path.join(directory, "missed")), []);
      await second.stop();
    }
  });

  test("an agent killed under a storm of ADDs: each caller has an answer, and the next agent knows all that were told so", async (t) => {
    const directory = scratchFolder(t);
    const attachmentsFile = path.join(scratchFolder(t), "attachments.json");
    const first = await startHost({ directory, attachmentsFile });
    const pods = Array.from({ length: 40 }, () => makeSandbox(t));
    const storm = pods.map(({ id, path: netns }) => plugin({ command: "ADD", directory, id, netns }));
    await Promise.race(storm);
    await first.stop("SIGKILL");
    const outcomes = await Promise.all(storm);
    const second = await startHost({ directory, attachmentsFile });
    t.after(() => second.stop());
    const taken = new Set<string>();
    for (const [index, outcome] of outcomes.entries()) {
      const pod = pods[index] as Sandbox;
      const call = { directory, id: pod.id, netns: pod.path };
      if (outcome.exitCode === 0) {
        const config = { ...network, prevResult: outcome.json };
        const checked = await plugin({ ...call, command: "CHECK", config });
        assert.equal(checked.exitCode, 0, checked.output);
        taken.add(String(outcome.json["ips"][0].address));
      } else assert.deepEqual(codeOf(outcome), [1, 11]);
    }
    // DEL follows a failed ADD, and then all is as it was.
    for (const [index, outcome] of outcomes.entries()) {
      const pod = pods[index] as Sandbox;
      const call = { directory, id: pod.id, netns: pod.path };
      if (outcome.exitCode === 0) continue;
      assert.equal((await plugin({ ...call, command: "DEL" })).exitCode, 0);
      const again = await plugin({ ...call, command: "ADD" });
      assert.equal(again.exitCode, 0, again.output);
      const address = String(again.json["ips"][0].address);
      assert.ok(!taken.has(address), `${address} was given twice`);
      taken.add(address);
    }
  });

  test("an agent that hangs: the caller gives up by itself, and what it asked for is not done behind its back", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const environment = { FAIRLEAD_CNI_TIMEOUT: "1" };
    const pods = shells.map((program) => ({ program, sandbox: makeSandbox(t) }));
    host.process.kill("SIGSTOP");
    const outcomes = await Promise.all(
      pods.map(({ program, sandbox }) =>
        plugin({ command: "ADD", directory, program, id: sandbox.id, netns: sandbox.path, environment }),
      ),
    );
    host.process.kill("SIGCONT");
    for (const outcome of outcomes) assert.deepEqual(codeOf(outcome), [1, 11]);
    assert.equal((await plugin({ command: "STATUS", directory })).exitCode, 0);
    for (const { sandbox } of pods) {
      assert.equal((await plugin({ command: "DEL", directory, id: sandbox.id })).exitCode, 0);
      assert.deepEqual(addressesIn(sandbox), []);
    }
  });

  test("a request of the first version of fairlead-cni, which an upgrade may find under way, is answered as that one expects", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const [slot = ""] = readdirSync(path.join(directory, "slots"));
    const answer = openSync(path.join(directory, "slots", slot), constants.O_RDWR);
    t.after(() => closeSync(answer));
    const config = JSON.stringify({ cniVersion: "1.1.0" });
    writeFileSync(path.join(directory, "asks", slot), `fairlead-cni 1\0CNI_COMMAND=VERSION\0\0${config}`);
    writeFileSync(path.join(directory, "asked"), `${slot}\n`);
    const bytes = Buffer.alloc(4096);
    let text = "";
    while (text.split("\n").length <= 3) text += bytes.toString("utf8", 0, readSync(answer, bytes));
    assert.match(text, /^taken\n0\n\{"cniVersion":"1\.1\.0".*\}\n$/);
  });

  test("one agent a node", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    await assert.rejects(startHost({ directory }), /another agent answers there/);
    assert.equal((await plugin({ command: "STATUS", directory })).exitCode, 0);
  });
});
