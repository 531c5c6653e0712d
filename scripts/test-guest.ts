// Tests on another kernel: `npm run test:guest`. Boots Debian's own kernel in qemu (software emulation, no KVM needed) with this machine's
// files read-only below a scratch overlay, and runs the kernel conformance suite there: what we say to the kernel is said to 6.1 too; and
// SCTP through Services, which other kernels may not have.
//
//   npm run test:guest                    src/kernel/conformance, test/kernel/sctp
//   npm run test:guest -- src/kernel      other test files, by words of their paths
//
// Kernel, qemu and busybox come as Debian packages, unpacked below the user's cache once (650 MB); nothing is installed. Everything is
// 10 to 15 times slower there. Not here: the suite (src/kernel/conformance.testing.ts).

import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

const root = path.dirname(import.meta.dirname);
const cache = path.join(process.env["XDG_CACHE_HOME"] ?? path.join(os.homedir(), ".cache"), "fairlead", "guest");
const tools = path.join(cache, "tools");
const kernel = path.join(cache, "kernel");
const secondsMax = Number(process.env["FAIRLEAD_GUEST_SECONDS"] ?? 1800);

/** What the guest's first program needs to reach the host's files. */
const bootModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

if (process.arch !== "x64") fail("it knows only x86-64 guests so far");
try {
  if (!existsSync(path.join(cache, "ready"))) prepare();
} catch (error) {
  fail(
    `prepare the guest: ${error instanceof Error ? error.message : String(error)}; it needs apt-get with package lists (apt-get update)`,
  );
}
process.exit(boot(process.argv.slice(2)));

function fail(reason: string): never {
  console.error(`test:guest: ${reason}`);
  process.exit(1);
}

function run(command: string, words: readonly string[], cwd = cache): string {
  return execFileSync(command, words, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 26 });
}

/** Downloads and unpacks qemu, busybox, kmod and the kernel; makes the first file system. */
function prepare(): void {
  console.log("getting qemu and Debian's kernel, once …");
  const packages = path.join(cache, "packages");
  for (const folder of [packages, tools, kernel]) mkdirSync(folder, { recursive: true });
  // apt downloads as a user of its own, as root.
  chmodSync(packages, 0o777);
  const image = /Depends: (linux-image-\S+)/.exec(run("apt-cache", ["depends", "linux-image-amd64"]))?.[1];
  if (image === undefined) throw new Error("linux-image-amd64 names no kernel");
  const plan = run("apt-get", ["install", "-s", "--no-install-recommends", "qemu-system-x86"]);
  const wanted = [...plan.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? "");
  // What is installed already is not in the plan.
  run(
    "apt-get",
    [
      "download",
      "-qq",
      ...new Set([...wanted, "qemu-system-x86", "qemu-system-data", "seabios", "busybox-static", "kmod", image]),
    ],
    packages,
  );
  for (const file of readdirSync(packages))
    run("dpkg-deb", ["-x", path.join(packages, file), file.startsWith("linux-image") ? kernel : tools]);
  rmSync(packages, { recursive: true });
  makeInitialFiles(image.slice("linux-image-".length));
  writeFileSync(path.join(cache, "ready"), "");
}

function makeInitialFiles(version: string): void {
  // kmod is the program its name says.
  const kmod = (name: string, words: readonly string[]): string => {
    const link = path.join(cache, name);
    rmSync(link, { force: true });
    symlinkSync(path.join(tools, "bin", "kmod"), link);
    return run(link, words);
  };
  kmod("depmod", ["-b", kernel, version]);
  copyFileSync(path.join(kernel, "boot", `vmlinuz-${version}`), path.join(cache, "vmlinuz"));
  const initial = path.join(cache, "initial");
  for (const name of ["bin", "dev", "proc", "sys", "low", "up", "new", "modules"])
    mkdirSync(path.join(initial, name), { recursive: true });
  copyFileSync(path.join(tools, "bin", "busybox"), path.join(initial, "bin", "busybox"));
  const seen = new Set<string>();
  for (const module of bootModules) {
    const words = ["-d", kernel, "-S", version, "--show-depends", module];
    for (const [, file = ""] of kmod("modprobe", words).matchAll(/^insmod (\S+)/gm)) {
      const name = path.basename(file);
      if (seen.has(name)) continue;
      seen.add(name);
      copyFileSync(file, path.join(initial, "modules", name));
      appendFileSync(path.join(initial, "modules", "order"), `${name}\n`);
    }
  }
  writeFileSync(path.join(initial, "init"), initProgram(), { mode: 0o755 });
  const busybox = path.join(tools, "bin", "busybox");
  run("sh", ["-c", `cd initial && find . | ${busybox} cpio -o -H newc 2>/dev/null | gzip -1 > ../initial.gz`]);
}

/** The guest's first program: modules, the host's files below an overlay in memory, and on to the second. */
function initProgram(): string {
  return `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
second=$($B sed 's/.*fairlead.second=\\([^ ]*\\).*/\\1/' /proc/cmdline)
for m in $($B cat /modules/order); do $B insmod /modules/$m; done
$B mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /low || $B poweroff -f
$B mount -t tmpfs -o mode=755 up /up; $B mkdir /up/upper /up/work
$B mount -t overlay -o lowerdir=/low,upperdir=/up/upper,workdir=/up/work root /new || $B poweroff -f
for d in proc sys dev; do $B mount -o move /$d /new/$d; done
exec $B switch_root /new /bin/sh $second
`;
}

/** The second: modules on demand, a place to run in, the tests, their result on the third serial line. */
function secondProgram(words: readonly string[]): string {
  const test = [
    process.execPath,
    "scripts/test.ts",
    ...(words.length === 0 ? ["src/kernel/conformance", "test/kernel/sctp"] : words),
  ];
  return `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root FAIRLEAD_TEST_SECONDS=900
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run; mkdir -p /run/netns /run/lock
mount -t cgroup2 cgroup /sys/fs/cgroup
rm -rf /lib/modules; mkdir -p /lib/modules; mount --bind ${kernel}/lib/modules /lib/modules
ln -s ${path.join(tools, "bin", "kmod")} /run/modprobe; echo /run/modprobe > /proc/sys/kernel/modprobe
ip link set lo up; hostname guest
cd ${root}
uname -r > /dev/ttyS1
${test.map((word) => `'${word}'`).join(" ")} < /dev/null > /dev/ttyS1 2>&1
echo $? > /dev/ttyS2
${path.join(tools, "bin", "busybox")} poweroff -f
`;
}

function boot(words: readonly string[]): number {
  const work = mkdtempSync(path.join(cache, "run-"));
  try {
    const second = path.join(work, "second.sh");
    writeFileSync(second, secondProgram(words));
    const lib = (folder: string): string => path.join(tools, folder, "x86_64-linux-gnu");
    const file = (name: string): string => path.join(work, name);
    const { signal } = spawnSync(
      path.join(tools, "usr", "bin", "qemu-system-x86_64"),
      [
        "-L",
        path.join(tools, "usr/share/qemu"),
        "-L",
        path.join(tools, "usr/share/seabios"),
        "-M",
        "pc,usb=off",
        "-accel",
        "tcg,thread=multi,tb-size=512",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "3072",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-nic",
        "none",
        "-kernel",
        path.join(cache, "vmlinuz"),
        "-initrd",
        path.join(cache, "initial.gz"),
        "-append",
        `console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable fairlead.second=${second}`,
        "-fsdev",
        "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device",
        "virtio-9p-pci,fsdev=root,mount_tag=root",
        "-serial",
        `file:${file("console")}`,
        "-serial",
        "stdio",
        "-serial",
        `file:${file("status")}`,
      ],
      {
        stdio: ["ignore", "inherit", "inherit"],
        timeout: secondsMax * 1000,
        killSignal: "SIGKILL",
        env: { ...process.env, LD_LIBRARY_PATH: `${lib("usr/lib")}:${lib("lib")}` },
      },
    );
    const status = existsSync(file("status")) ? readFileSync(file("status"), "utf8").trim() : "";
    if (status !== "") return Number(status);
    const console_ = readFileSync(file("console"), "utf8").split("\n").slice(-20).join("\n");
    console.error(
      `${console_}\ntest:guest: ${signal === null ? "the guest ended without a result" : `not done after ${secondsMax} s`}`,
    );
    return 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
