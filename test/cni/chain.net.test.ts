// The example of the CNI specification (1.1.0, appendix), with fairlead-cni in bridge's place and others' real plugins before and behind it.
// Needs: ip, loopback, tuning, bandwidth, portmap, iptables

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { accessSync, mkdirSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import process from "node:process";
import { describe, test } from "node:test";

import { openNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { listenTcpFd } from "../../src/kernel/sockets.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { plugin, scratchFolder, shellPlugin, startHost } from "./plugin.testing.ts";

type Json = Readonly<Record<string, any>>;

interface List {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Json[];
}

/** Where Debian or the test runner has others' plugins. */
const pluginFolder = (process.env["PATH"] ?? "").split(path.delimiter).find((folder) => {
  try {
    accessSync(path.join(folder, "portmap"));
    return true;
  } catch {
    return false;
  }
});

function run(program: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, words, { encoding: "utf8" });
  assert.equal(status, 0, `${program} ${words.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** A network configuration as a runtime executes it (section 3). */
function runtime(list: List, directory: string, netns: string, capabilities: Json) {
  const call = async (command: string, one: Json, prevResult: Json | undefined): Promise<Json | undefined> => {
    const { capabilities: wanted = {}, ...rest } = one;
    const runtimeConfig = Object.fromEntries(
      Object.entries(capabilities).filter(([name]) => (wanted as Json)[name] === true),
    );
    const type = String(one["type"]);
    const outcome = await plugin({
      command,
      directory,
      id: "example",
      netns,
      program: [type === "fairlead-cni" ? shellPlugin : path.join(pluginFolder ?? "", type)],
      config: {
        ...rest,
        cniVersion: list.cniVersion,
        name: list.name,
        runtimeConfig,
        ...(prevResult !== undefined && { prevResult }),
      },
    });
    assert.equal(outcome.exitCode, 0, `${command} ${type}: ${outcome.output}`);
    return outcome.json;
  };
  return {
    async add(): Promise<Json> {
      let result: Json | undefined;
      for (const one of list.plugins) result = await call("ADD", one, result);
      assert.ok(result);
      return result;
    },
    async check(result: Json): Promise<void> {
      // portmap 1.1 looks for an IPv6 rule that it never writes for a host port.
      for (const one of list.plugins) if (one["type"] !== "portmap") await call("CHECK", one, result);
    },
    async delete(result: Json): Promise<void> {
      for (const one of list.plugins.toReversed()) await call("DEL", one, result);
    },
  };
}

describe("fairlead-cni in a chain of plugins", () => {
  test("the specification's example: loopback, fairlead-cni, tuning with mac, bandwidth, portmap", async (t) => {
    const directory = scratchFolder(t);
    run("mount", "-t", "tmpfs", "tmpfs", "/run");
    mkdirSync("/run/netns");
    run("ip", "link", "set", "lo", "up");
    run("ip", "address", "add", "192.0.2.1/24", "dev", "lo");
    const host = await startHost({ directory });
    t.after(() => host.stop());
    run("ip", "netns", "add", "blue");
    const namespace = openNetworkNamespace("/run/netns/blue");
    t.after(() => {
      namespace.close();
      run("ip", "netns", "delete", "blue");
    });

    const mac = "00:11:22:33:44:66";
    const rates = {
      ingressRate: 800_000_000,
      ingressBurst: 8_000_000,
      egressRate: 800_000_000,
      egressBurst: 8_000_000,
    };
    const capabilities = {
      ips: ["10.244.1.5/24"],
      mac,
      bandwidth: rates,
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
    };
    const list: List = {
      // What Debian's plugins speak.
      cniVersion: "1.0.0",
      name: "dbnet",
      plugins: [
        { type: "loopback" },
        { type: "tuning", sysctl: { "net.ipv4.ip_unprivileged_port_start": "80" } },
        { type: "fairlead-cni", capabilities: { ips: true }, dns: { nameservers: ["10.1.0.1"] }, keyA: ["more"] },
        { type: "tuning", capabilities: { mac: true }, sysctl: { "net.core.somaxconn": "500" } },
        { type: "bandwidth", capabilities: { bandwidth: true } },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    };
    const chain = runtime(list, directory, "/run/netns/blue", capabilities);
    const result = await chain.add();
    const pod = result["interfaces"].find((one: Json) => one["name"] === "eth0");
    assert.deepEqual([pod.mac, pod.sandbox], [mac, "/run/netns/blue"]);
    assert.ok(result["ips"].some((ip: Json) => ip["address"] === "10.244.1.5/32" && ip["gateway"] === "10.244.1.1"));
    assert.deepEqual(result["dns"].nameservers, ["10.1.0.1"]);
    await chain.check(result);

    // The pod answers from its new hardware address, by its own address and by the host's port.
    const server = net.createServer((socket) => socket.end("hello"));
    server.listen({ fd: listenTcpFd(namespace, { port: 80 }) });
    t.after(() => server.close());
    assert.equal(await heard("10.244.1.5", 80), "hello");
    assert.equal(await heard("192.0.2.1", 8080), "hello");
    const kernel = openKernel("node", openNetworkNamespace("/proc/self/ns/net"));
    t.after(() => kernel.close());
    assert.equal(kernel.neighbours().find(({ address }) => address === "10.244.1.5")?.mac, mac);

    // Somebody deletes the pod's link: it is made again, though the runtime's call has long ended.
    const link = String(result["interfaces"].find((one: Json) => String(one["name"]).startsWith("flp"))?.["name"]);
    run("ip", "link", "delete", link);
    assert.equal(await heard("10.244.1.5", 80), "hello");

    await chain.delete(result);
    await chain.delete(result);
    assert.deepEqual(
      kernel.links().filter(({ name }) => name.startsWith("flp")),
      [],
    );
  });
});

/** What is said at an address; tried again until somebody answers. */
async function heard(host: string, port: number): Promise<string> {
  for (;;) {
    const answer = await new Promise<string>((resolve) => {
      const socket = net.connect({ host, port });
      socket.setTimeout(500, () => socket.destroy());
      let text = "";
      socket.on("data", (chunk) => (text += String(chunk)));
      socket.on("error", () => {});
      socket.on("close", () => resolve(text));
    });
    if (answer !== "") return answer;
  }
}
