import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { createNetworkNamespace } from "../../kernel/namespaces.ts";
import { openHome } from "../../kernel/process.ts";
import { holdContainer, rightsOf, startContainer, startInContainer, StartError, type Command } from "./container.ts";
import type { RootPlan } from "./root.ts";
import { createSandbox, type Sandbox } from "./sandbox.ts";
import { containerPath, createToolbox } from "./toolbox.ts";

let folder = "";
let sandbox: Sandbox;

before(async () => {
  await Promise.all(["/", "/proc", "/dev", "/tmp"].map((path) => stat(path)));
  openHome();
  folder = fs.mkdtempSync(join(tmpdir(), "container-"));
  fs.mkdirSync(join(folder, "root"));
  sandbox = createSandbox({ id: "1", hostname: "web-0", network: createNetworkNamespace(), hostNetwork: false });
});

after(() => {
  sandbox.close();
  fs.rmSync(folder, { recursive: true });
});

function plan(changes: Partial<RootPlan> = {}): RootPlan {
  return {
    base: { kind: "host" },
    workDirectory: join(folder, "root"),
    readOnly: false,
    mounts: [],
    toolbox: createToolbox(folder),
    ...changes,
  };
}

function command(argv: readonly string[], changes: Partial<Command> = {}): Command {
  const env = { PATH: containerPath, HOME: "/root" };
  return { argv, env, workingDirectory: "/", terminal: false, stdin: false, ...changes };
}

const shell = (script: string, changes: Partial<Command> = {}): Command => command(["sh", "-c", script], changes);

async function run(what: Command, options: { root?: RootPlan; privileged?: boolean } = {}) {
  const container = startContainer({
    sandbox,
    root: options.root ?? plan(),
    rights: rightsOf({ privileged: options.privileged ?? false }),
    command: what,
  });
  const streams = [container.stdout, container.stderr].map((stream) => (stream ? text(stream) : Promise.resolve("")));
  const end = await container.ended;
  const [stdout = "", stderr = ""] = await Promise.all(streams);
  return { ...end, stdout, stderr };
}

test("output, errors and the exit status come back", async () => {
  const result = await run(shell("echo out; echo err >&2; echo by-name > /dev/stderr; exit 3"));
  assert.deepEqual(result, { code: 3, stdout: "out\n", stderr: "err\nby-name\n" });
});

test("it is process 1 in its own pid namespace, with the pod's host name", async () => {
  const result = await run(shell("echo $$ $(hostname); ls -d /proc/[0-9]* | wc -l"));
  assert.equal(result.stdout.split("\n")[0], "1 web-0");
  assert.ok(Number(result.stdout.split("\n")[1]) <= 3, result.stdout);
});

test("it sees neither homes nor the lab's files nor the machine's secrets", async () => {
  fs.writeFileSync(join(folder, "key"), "secret");
  const result = await run(
    shell(`ls -A /root /home /run /srv /mnt; ls ${folder} /etc/shadow /etc/ssl/private /dev/.proc 2>&1; ls -A /tmp`),
  );
  assert.ok(!result.stdout.includes("key"), result.stdout);
  assert.equal(result.stdout.match(/No such file/g)?.length, 4, result.stdout);
});

test("the machine's programs are read-only, the rest is its own", async () => {
  const result = await run(shell("touch /usr/x 2>/dev/null || echo refused; touch /x /etc/x /tmp/x && echo written"));
  assert.equal(result.stdout, "refused\nwritten\n");
  assert.equal(fs.existsSync("/x"), false);
});

test("a read-only root is read-only", async () => {
  const result = await run(shell("touch /x 2>/dev/null || echo refused; echo > /dev/null && echo null"), {
    root: plan({ readOnly: true }),
  });
  assert.equal(result.stdout, "refused\nnull\n");
});

test("capabilities are containerd's default, or all, and no new ones can be had", async () => {
  const ask = shell("grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status");
  const usual = await run(ask);
  assert.match(usual.stdout, /CapEff:\s+00000000a80425fb\nCapBnd:\s+00000000a80425fb\nNoNewPrivs:\s+1/);
  const privileged = await run(ask, { privileged: true });
  assert.match(privileged.stdout, /CapEff:\s+000001ffffffffff/);
});

test("who gives up root's groups, of which there is one, may go on, as tcpdump does for a user of its own", async () => {
  const give = command(["setpriv", "--reuid", "tcpdump", "--regid", "0", "--init-groups", "id", "-u"]);
  for (const privileged of [false, true]) {
    const { code, stdout, stderr } = await run(give, { privileged });
    assert.deepEqual({ code, stdout }, { code: 0, stdout: "0\n" }, stderr);
  }
});

test("kernel settings are read-only; a privileged container may set those of its network", async () => {
  const ask = shell(
    "for f in kernel/panic net/ipv4/ip_forward; do (cat /proc/sys/$f > /proc/sys/$f) 2>/dev/null && echo $f; done; true",
  );
  assert.equal((await run(ask)).stdout, "");
  assert.equal((await run(ask, { privileged: true })).stdout, "net/ipv4/ip_forward\n");
});

test("mounts show files and folders, read-only or not", async () => {
  fs.mkdirSync(join(folder, "data"));
  fs.writeFileSync(join(folder, "data/a"), "A");
  const mounts = [
    { source: join(folder, "data"), target: "/var/run/data", readOnly: true },
    { source: join(folder, "data"), target: "/data", readOnly: false },
    { source: join(folder, "data/a"), target: "/etc/deep/file", readOnly: true },
  ];
  const result = await run(
    shell("cat /run/data/a /etc/deep/file; touch /run/data/b 2>/dev/null || echo -refused; echo B > /data/b"),
    { root: plan({ mounts }) },
  );
  assert.equal(result.stdout, "AA-refused\n");
  assert.equal(fs.readFileSync(join(folder, "data/b"), "utf8"), "B\n");
});

test("a program that is not there is named", () => {
  const start = (argv: readonly string[]): unknown =>
    startContainer({ sandbox, root: plan(), rights: rightsOf({}), command: command(argv) });
  assert.throws(() => start(["nosuch"]), {
    name: "StartError",
    message: 'unable to start container process: exec: "nosuch": executable file not found in $PATH',
  });
  assert.throws(() => start(["/no/such"]), /exec: "\/no\/such": no such file or directory/);
  assert.throws(() => start(["/etc/passwd"]), /permission denied/);
  assert.throws(() => start([]), StartError);
  assert.equal(fs.readlinkSync("/proc/thread-self/ns/mnt"), fs.readlinkSync(`/proc/self/ns/mnt`));
});

test("a signal's number comes back, also from outside", async () => {
  assert.equal((await run(shell("sh -c 'kill -TERM $$'; exit $?"))).code, 143);
  const container = startContainer({ sandbox, root: plan(), rights: rightsOf({}), command: command(["sleep", "100"]) });
  assert.equal(container.kill("SIGKILL"), true);
  assert.deepEqual(await container.ended, { code: 137, signal: 9 });
});

test("exec joins a running container: its processes, files and terminal", async (t) => {
  const container = startContainer({
    sandbox,
    root: plan(),
    rights: rightsOf({}),
    command: shell("echo here > /tmp/mark; echo ready; exec sleep 100"),
  });
  t.after(() => container.kill("SIGKILL"));
  await new Promise((resolve) => container.stdout?.once("data", resolve));
  const join = (what: Command) =>
    startInContainer({ pid: container.pid, sandbox, rights: rightsOf({}), command: what });
  // The container may not have become `sleep` yet when it says that it is ready.
  const script = "cat /tmp/mark; cat; until grep -x sleep /proc/1/comm; do :; done";
  const exec = join(shell(script, { stdin: true }));
  exec.stdin?.end("typed\n");
  assert.equal(await text(exec.stdout!), "here\ntyped\nsleep\n");
  assert.equal((await exec.ended).code, 0);

  const terminal = join(shell("tty; read line; stty size; echo got $line", { terminal: true }));
  terminal.resize({ columns: 91, rows: 17 });
  let seen = "";
  terminal.stdout!.on("data", (chunk: Buffer) => (seen += chunk.toString()));
  terminal.stdin!.write("abc\n");
  assert.equal((await terminal.ended).code, 0);
  assert.match(seen, /\/dev\/pts\/\d+\r\n/);
  assert.match(seen, /17 91\r\n/);
  assert.match(seen, /got abc\r\n/);
  container.kill("SIGKILL");
  await container.ended;
});

test("a held container keeps files between runs, reaps orphans, and dies at once", async () => {
  const held = holdContainer({ sandbox, root: plan(), rights: rightsOf({}) });
  const exec = async (script: string): Promise<string> => {
    const child = startInContainer({ pid: held.pid, sandbox, rights: rightsOf({}), command: shell(script) });
    const output = await text(child.stdout!);
    await child.ended;
    return output;
  };
  await exec("echo kept > /tmp/a; (sleep 0.01 &) ; true");
  assert.equal(await exec("cat /tmp/a"), "kept\n");
  held.kill("SIGKILL");
  assert.equal((await held.ended).signal, 9);
});

test("a container that is joined in its first moment has its own /proc and not ours", async () => {
  for (let round = 0; round < 10; round++) {
    const held = holdContainer({ sandbox, root: plan(), rights: rightsOf({}) });
    const child = startInContainer({
      pid: held.pid,
      sandbox,
      rights: rightsOf({}),
      command: shell("ls -d /proc/1; ls -A /dev/.proc 2>/dev/null; true"),
    });
    const [output, errors] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
    const end = await child.ended;
    held.kill("SIGKILL");
    await held.ended;
    assert.deepEqual({ ...end, output, errors }, { code: 0, output: "/proc/1\n", errors: "" });
  }
});

test("containers are in the sandbox's network, and two sandboxes are apart", async () => {
  const other = createSandbox({ id: "2", hostname: "other", network: createNetworkNamespace(), hostNetwork: false });
  const ask = async (where: Sandbox): Promise<string> => {
    const child = startContainer({
      sandbox: where,
      root: plan(),
      rights: rightsOf({}),
      command: command(["readlink", "/proc/self/ns/net"]),
    });
    const output = await text(child.stdout!);
    await child.ended;
    return output.trim();
  };
  assert.equal(await ask(sandbox), sandbox.network.id);
  assert.equal(await ask(other), other.network.id);
  other.close();
  const elsewhere = createNetworkNamespace();
  assert.notEqual(elsewhere.id, sandbox.network.id);
  elsewhere.close();
});

test("an image directory is a root of its own; writes stay in the container", async () => {
  const image = join(folder, "image");
  for (const path of ["bin", "lib", "lib64"]) fs.mkdirSync(join(image, path), { recursive: true });
  const node = fs.realpathSync("/bin/sh");
  fs.cpSync(node, join(image, "bin/sh"));
  copyLibraries(node, image);
  const root = plan({ base: { kind: "directory", path: image } });
  const result = await run(shell("echo x > /file; echo *; echo /dev/n*"), { root });
  assert.match(result.stdout, /^bin dev etc file lib lib64 opt proc sys( usr)?\n\/dev\/null\n$/);
  assert.equal(fs.existsSync(join(image, "file")), false);
});

function copyLibraries(program: string, image: string): void {
  // The loader and libc of /bin/sh, where the dynamic linker says they are.
  const maps = fs.readFileSync("/proc/self/maps", "utf8");
  const libraries = new Set([...maps.matchAll(/\S*\/(?:libc\.so|ld-linux)\S*/g)].map((match) => match[0]));
  assert.ok(libraries.size >= 2, program);
  for (const path of libraries) {
    fs.mkdirSync(join(image, path, ".."), { recursive: true });
    fs.cpSync(path, join(image, path));
    for (const folder of ["lib", "lib64"]) fs.cpSync(path, join(image, folder, path.slice(path.lastIndexOf("/") + 1)));
  }
}
