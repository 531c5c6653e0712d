import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";

import { openAttachments } from "../../src/agent/attachments.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { cniVersions } from "../../src/serve/cni/request.ts";
import {
  addressesIn,
  codeOf,
  makeSandbox,
  network,
  plugin,
  scratchFolder,
  shells,
  startHost,
  type Outcome,
} from "./plugin.testing.ts";

describe("the plugin, with an agent", () => {
  test("a pod's life, by every way to the agent and in every version", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    for (const [way, program] of shells.entries()) {
      // The answer is made by the agent, whichever way it was asked.
      for (const cniVersion of way === 0 ? cniVersions : (["0.4.0", "1.1.0"] as const)) {
        const sandbox = makeSandbox(t);
        const call = { directory, program, id: sandbox.id, netns: sandbox.path };
        const config = { ...network, cniVersion };
        const added = await plugin({ ...call, command: "ADD", config });
        assert.equal(added.exitCode, 0, added.output);
        const { json } = added;
        assert.equal(json["cniVersion"], cniVersion);
        const [host4, pod] = json["interfaces"] as { name: string; mtu?: number; sandbox?: string }[];
        assert.match(host4?.name ?? "", /^flp/);
        assert.deepEqual([pod?.name, pod?.sandbox], ["eth0", sandbox.path]);
        assert.equal(pod?.mtu, cniVersion === "1.1.0" ? 1450 : undefined);
        const ips = json["ips"] as { version?: string; interface: number; address: string }[];
        assert.deepEqual(
          ips.map(({ version }) => version),
          cniVersion < "1.0.0" ? ["4", "6"] : [undefined, undefined],
        );
        assert.deepEqual(
          ips.map((ip) => [ip.interface, ip.address.split("/")[0]]),
          addressesIn(sandbox).map((address) => [1, address]),
        );
        if (cniVersion >= "0.4.0") {
          const checked = await plugin({ ...call, command: "CHECK", config: { ...config, prevResult: json } });
          assert.deepEqual([checked.exitCode, checked.output], [0, ""]);
        }
        const deleted = await plugin({ ...call, command: "DEL", config: { ...config, prevResult: json } });
        assert.deepEqual([deleted.exitCode, deleted.output], [0, ""]);
        assert.deepEqual(addressesIn(sandbox), []);
      }
    }
  });

  test("VERSION says the same with and without an agent", async (t) => {
    const directory = scratchFolder(t);
    const ask = (): Promise<Outcome[]> =>
      Promise.all(shells.map((program) => plugin({ command: "VERSION", directory, program, config: network })));
    const without = await ask();
    const host = await startHost({ directory });
    t.after(() => host.stop());
    for (const { exitCode, json } of [...without, ...(await ask())]) {
      assert.deepEqual([exitCode, json], [0, { cniVersion: "1.1.0", supportedVersions: cniVersions }]);
    }
  });

  test("what is wrong is told with the specification's code, and the name of it", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const sandbox = makeSandbox(t);
    const add = { command: "ADD", directory, id: "wrong", netns: sandbox.path };
    const cases: readonly (readonly [Parameters<typeof plugin>[0], number, RegExp])[] = [
      [{ ...add, command: "EAT" }, 4, /CNI_COMMAND/],
      [{ ...add, command: "" }, 4, /CNI_COMMAND/],
      [{ command: "ADD", directory, netns: sandbox.path }, 4, /CNI_CONTAINERID/],
      [{ ...add, id: "../../etc" }, 4, /CNI_CONTAINERID/],
      [{ ...add, interfaceName: "much-too-long-a-name" }, 4, /CNI_IFNAME/],
      [{ ...add, interfaceName: "a/b" }, 4, /CNI_IFNAME/],
      [{ ...add, interfaceName: "eth%d" }, 4, /CNI_IFNAME/],
      [{ ...add, interfaceName: "all" }, 4, /CNI_IFNAME/],
      [{ command: "ADD", directory, id: "wrong" }, 4, /CNI_NETNS/],
      [{ ...add, netns: "/etc/passwd" }, 4, /CNI_NETNS/],
      [{ ...add, netns: "/proc/self/ns/net" }, 4, /CNI_NETNS.*own/],
      [{ ...add, netns: "/run/netns/there-is-none" }, 3, /CNI_NETNS/],
      [{ ...add, args: "K8S_POD_NAME" }, 4, /CNI_ARGS/],
      [{ ...add, args: "argA=foo" }, 4, /CNI_ARGS.*argA/],
      [{ ...add, args: "K8S_POD_NAMESPACE=a;K8S_POD_NAME=../b" }, 4, /CNI_ARGS.*K8S_POD_NAME/],
      [{ ...add, args: "IP=10.244.1.300" }, 4, /CNI_ARGS IP="10\.244\.1\.300"/],
      [{ ...add, args: "MAC=01:00:5e:00:00:01" }, 4, /CNI_ARGS MAC="01:00/],
      [{ ...add, config: "" }, 6, /JSON/],
      [{ ...add, config: { ...network, more: "x".repeat(1_100_000) } }, 6, /longer than 1048576 bytes/],
      [{ ...add, config: "{" }, 6, /JSON/],
      [{ ...add, config: "[]" }, 6, /JSON/],
      [{ ...add, config: { ...network, cniVersion: "0.2.0" } }, 1, /0\.2\.0/],
      [{ ...add, config: { ...network, cniVersion: "2.0.0" } }, 1, /2\.0\.0/],
      [{ ...add, config: { name: "net", type: "fairlead-cni" } }, 1, /cniVersion/],
      [{ ...add, config: { ...network, name: "" } }, 7, /name/],
      [{ ...add, config: { ...network, name: "a/b" } }, 7, /name/],
      [{ ...add, config: { ...network, ipam: { type: "host-local" } } }, 2, /ipam.*host-local/],
      [{ ...add, config: { ...network, ipMasq: false } }, 2, /ipMasq.*false/],
      [{ ...add, config: { ...network, runtimeConfig: { portMappings: [{ hostPort: 80 }] } } }, 7, /portMappings/],
      [{ ...add, config: { ...network, runtimeConfig: { ips: ["10.9.9.9"] } } }, 102, /10\.9\.9\.9/],
      [{ ...add, config: { ...network, runtimeConfig: { ips: ["10.244.1.1/24"] } } }, 102, /gateway/],
      [{ ...add, config: { ...network, runtimeConfig: { mac: "01:00:5e:00:00:01" } } }, 7, /mac/],
      [{ ...add, config: { ...network, args: { cni: { ips: ["x"] } } } }, 7, /args\.cni\.ips: "x"/],
      [{ ...add, config: { ...network, dns: { nameservers: [5] } } }, 7, /dns\.nameservers/],
      [{ ...add, config: { ...network, prevResult: [] } }, 6, /prevResult/],
      [{ ...add, config: { ...network, prevResult: { routes: 5 } } }, 6, /prevResult\.routes/],
      [{ ...add, config: { ...network, prevResult: { interfaces: {} } } }, 6, /interfaces/],
      [{ ...add, command: "CHECK" }, 7, /prevResult/],
      [{ ...add, command: "CHECK", config: { ...network, cniVersion: "0.3.1" } }, 1, /CHECK/],
      [{ ...add, command: "GC", config: { ...network, cniVersion: "1.0.0" } }, 1, /GC/],
      [{ ...add, command: "STATUS", config: { ...network, cniVersion: "1.0.0" } }, 1, /STATUS/],
      [{ ...add, command: "GC", config: { ...network, "cni.dev/valid-attachments": {} } }, 7, /valid-attachments/],
    ];
    for (const [call, code, words] of cases) {
      const outcome = await plugin(call);
      assert.deepEqual(codeOf(outcome), [1, code], `${JSON.stringify(call)}: ${outcome.output}`);
      assert.match(String(outcome.json["msg"]), call.command === "" ? /CNI_COMMAND/ : words);
      assert.ok((cniVersions as readonly unknown[]).includes(outcome.json["cniVersion"]));
    }
    assert.deepEqual(addressesIn(sandbox), [], "nothing is half done");
  });

  test("capabilities and arguments: addresses, hardware address, unknown ones let pass, unused ones reported", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const sandbox = makeSandbox(t);
    const { exitCode, json, output } = await plugin({
      command: "ADD",
      directory,
      id: sandbox.id,
      netns: sandbox.path,
      args: "IgnoreUnknown=1;argA=foo;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;IP=10.244.1.99",
      config: {
        ...network,
        dns: { nameservers: ["10.96.0.10"] },
        runtimeConfig: { ips: ["10.244.1.200/24"], mac: "02:AA:BB:CC:DD:EE", bandwidth: { ingressRate: 1 } },
      },
    });
    assert.equal(exitCode, 0, output);
    const [v4, v6] = json["ips"] as { address: string }[];
    assert.deepEqual([v4?.address, v6?.address], ["10.244.1.200/32", "fd00:10:244:1::2/128"]);
    assert.equal(json["interfaces"][1].mac, "02:aa:bb:cc:dd:ee");
    assert.deepEqual(json["dns"], { nameservers: ["10.96.0.10"] });
    assert.ok(host.log.some((line) => /shop\/web-0: ignored: capability bandwidth/.test(line)));
    const again = makeSandbox(t);
    const taken = await plugin({
      command: "ADD",
      directory,
      id: again.id,
      netns: again.path,
      args: "IP=10.244.1.200",
    });
    assert.deepEqual(codeOf(taken), [1, 102]);
    assert.match(String(taken.json["msg"]), /another pod has it/);
  });

  test("a cluster of one family: IPv6 only, IPv4 only", async (t) => {
    for (const [family, range] of [
      [6, "fd00:10:244:1::/64"],
      [4, "10.244.1.0/24"],
    ] as const) {
      const directory = scratchFolder(t);
      const address = family === 6 ? "2001:db8::1" : "192.0.2.1";
      const host = await startHost({ directory, families: [family], podCidrs: [range], addresses: [address] });
      const sandbox = makeSandbox(t);
      const call = { directory, id: sandbox.id, netns: sandbox.path };
      const { json, output } = await plugin({ ...call, command: "ADD" });
      const addresses = (json["ips"] as { address: string }[]).map((ip) => ip.address.split("/")[0]);
      assert.deepEqual(addresses, family === 6 ? ["fd00:10:244:1::2"] : ["10.244.1.2"], output);
      assert.deepEqual(addressesIn(sandbox), addresses);
      assert.equal((await plugin({ ...call, command: "CHECK", config: { ...network, prevResult: json } })).exitCode, 0);
      const { exitCode, json: refused } = await plugin({
        ...call,
        command: "ADD",
        interfaceName: "net1",
        config: { ...network, runtimeConfig: { ips: [family === 6 ? "10.244.1.9" : "fd00::9"] } },
      });
      assert.deepEqual([exitCode, refused["code"]], [1, 102]);
      await host.stop();
    }
  });

  test("capabilities in the words of containerd: ports and DNS with capital letters", async (t) => {
    const directory = scratchFolder(t);
    const attachmentsFile = path.join(scratchFolder(t), "attachments.json");
    const host = await startHost({ directory, attachmentsFile });
    t.after(() => host.stop());
    const sandbox = makeSandbox(t);
    const { json, output } = await plugin({
      command: "ADD",
      directory,
      id: sandbox.id,
      netns: sandbox.path,
      config: {
        ...network,
        runtimeConfig: {
          portMappings: [{ HostPort: 8080, ContainerPort: 80, Protocol: "TCP", HostIP: "" }],
          dns: { Servers: ["10.96.0.10"], Searches: ["cluster.local"], Options: ["ndots:5"] },
        },
      },
    });
    assert.deepEqual(
      json["dns"],
      { nameservers: ["10.96.0.10"], search: ["cluster.local"], options: ["ndots:5"] },
      output,
    );
    assert.deepEqual(openAttachments(attachmentsFile).list()[0]?.hostPorts, [
      { hostPort: 8080, protocol: "tcp", port: 80 },
    ]);
  });

  test("a previous result is passed on with ours behind it; a second interface leaves the first one's way out", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const sandbox = makeSandbox(t);
    const before = {
      cniVersion: "1.1.0",
      interfaces: [{ name: "lo", sandbox: sandbox.path, socketPath: "/x" }],
      ips: [{ address: "127.0.0.1/8", interface: 0 }],
      routes: [{ dst: "192.0.2.0/24", priority: 5 }],
      dns: { domain: "example" },
    };
    const call = { directory, id: sandbox.id, netns: sandbox.path };
    const first = await plugin({ ...call, command: "ADD", config: { ...network, prevResult: before } });
    assert.equal(first.exitCode, 0, first.output);
    assert.deepEqual(first.json["interfaces"][0], before.interfaces[0]);
    assert.deepEqual(
      first.json["ips"].map((ip: { interface: number }) => ip.interface),
      [0, 2, 2],
    );
    assert.deepEqual(first.json["routes"][0], before.routes[0]);
    assert.deepEqual(first.json["dns"], before.dns);
    const second = await plugin({ ...call, command: "ADD", interfaceName: "net1" });
    assert.equal(second.exitCode, 0, second.output);
    const kernel = openKernel(sandbox.id, sandbox.namespace);
    t.after(() => kernel.close());
    const defaults = kernel.routes().filter(({ to }) => to === "0.0.0.0/0" || to === "::/0");
    assert.deepEqual(
      defaults.map(({ link }) => link),
      ["eth0", "eth0"],
    );
    const twice = await plugin({ ...call, command: "ADD", interfaceName: "net1" });
    assert.deepEqual(codeOf(twice), [1, 100]);
    // GC knows each by container and interface.
    const kept = await plugin({
      ...call,
      command: "GC",
      config: { ...network, "cni.dev/valid-attachments": [{ containerID: sandbox.id, ifname: "eth0" }] },
    });
    assert.deepEqual([kept.exitCode, kept.output], [0, ""]);
    assert.deepEqual(
      kernel
        .links()
        .map(({ name }) => name)
        .toSorted(),
      ["eth0", "lo"],
    );
  });

  test("CHECK says what is missing; an interface that is there already is refused and left alone", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory });
    t.after(() => host.stop());
    const sandbox = makeSandbox(t);
    const call = { directory, id: sandbox.id, netns: sandbox.path };
    const added = await plugin({ ...call, command: "ADD" });
    const other = await plugin({ ...call, id: "other", command: "ADD" });
    assert.deepEqual(codeOf(other), [1, 100], other.output);
    assert.equal((await plugin({ ...call, id: "other", command: "DEL" })).exitCode, 0);
    const config = { ...network, prevResult: added.json };
    assert.equal((await plugin({ ...call, command: "CHECK", config })).exitCode, 0);
    const kernel = openKernel(sandbox.id, sandbox.namespace);
    t.after(() => kernel.close());
    const [taken] = kernel.change([{ kind: "delete-address", link: "eth0", address: "10.244.1.2", bits: 32 }]);
    assert.ok(taken?.ok);
    const broken = await plugin({ ...call, command: "CHECK", config });
    assert.deepEqual(codeOf(broken), [1, 101]);
    assert.match(String(broken.json["msg"]), /10\.244\.1\.2 of the pod is gone/);
  });

  test("no address left: ADD says which range, STATUS is 51, and a DEL helps", async (t) => {
    const directory = scratchFolder(t);
    const host = await startHost({ directory, podCidrs: ["10.244.1.0/30", "fd00:10:244:1::/64"] });
    t.after(() => host.stop());
    const [a, b] = [makeSandbox(t), makeSandbox(t)];
    assert.deepEqual((await plugin({ command: "STATUS", directory })).exitCode, 0);
    assert.equal((await plugin({ command: "ADD", directory, id: a.id, netns: a.path })).exitCode, 0);
    const full = await plugin({ command: "ADD", directory, id: b.id, netns: b.path });
    assert.deepEqual(codeOf(full), [1, 11]);
    assert.match(String(full.json["msg"]), /no free address in 10\.244\.1\.0\/30: all 1/);
    assert.deepEqual(codeOf(await plugin({ command: "STATUS", directory })), [1, 51]);
    assert.equal((await plugin({ command: "DEL", directory, id: a.id })).exitCode, 0);
    assert.equal((await plugin({ command: "STATUS", directory })).exitCode, 0);
    assert.equal((await plugin({ command: "ADD", directory, id: b.id, netns: b.path })).exitCode, 0);
  });
});
