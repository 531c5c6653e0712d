// What a container sees as its file system: a small tree of its own, with the machine's programs in it, read-only.
// Only what is named here is visible. The user's home, /var, /run, the lab's state and keys and other pods are not hidden, they are absent.
//
//   /  /etc /tmp /var /root …   a tmpfs of the container's own
//   /usr /bin /lib …            the machine's, read-only (an image mapped to a directory brings its own instead)
//   /opt/fairlead               our tools, the Node they run on, and our sources, read-only
//   /dev /proc /sys             of the container's own
//
// Runs inside a new mount namespace, synchronously (kernel/process.ts). Not here: which volumes there are (volumes.ts).

import fs from "node:fs";
import { dirname, join } from "node:path";
import {
  bindMount,
  changeRoot,
  makeReadOnly,
  mountFilesystem,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_REMOUNT,
} from "../../kernel/mounts.ts";
import { check, libc } from "../../kernel/ffi.ts";
import type { StarterCall } from "../../kernel/starter.ts";
import type { Toolbox } from "./toolbox.ts";

/** A directory or file of ours that the container sees at `target`. */
export interface RootMount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** A file of the root itself instead of a mount: the container may move or remove it. */
  readonly copied?: true;
}

export interface RootPlan {
  /** The machine's own programs, or a directory that holds a whole root. */
  readonly base: { readonly kind: "host" } | { readonly kind: "directory"; readonly path: string };
  /** An empty directory to build on; nothing of it is left afterwards. */
  readonly workDirectory: string;
  readonly readOnly: boolean;
  /** Later ones may lie inside earlier ones. */
  readonly mounts: readonly RootMount[];
  readonly toolbox: Toolbox;
}

/** Where /proc of our own pid namespace can be seen until the starter takes it away. */
export const outerProc = "/dev/.proc";

/** Builds the root and enters it. Throws KernelError or the file system's error. */
export function buildRoot(plan: RootPlan): void {
  const root = plan.workDirectory;
  if (plan.base.kind === "host") buildHostRoot(root);
  else mountImage(plan.base.path, root);
  buildDevices(root);
  for (const folder of ["proc", "sys", "opt", "etc"]) ensureFolder(join(root, folder));
  mountSys(root);
  if (plan.base.kind === "host") addTools(root, plan.toolbox);
  for (const mount of plan.mounts) addMount(root, mount);
  changeRoot(root);
  if (plan.readOnly)
    check("make the root read-only", mount(null, "/", null, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, null));
}

/** What only the first process can do: mount /proc of its pid namespace, protect the kernel's settings, let go of the outer /proc. */
export function procCalls(options: { readonly privileged: boolean }): readonly StarterCall[] {
  const quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const protect = (path: string): StarterCall[] => [
    { call: "mount", values: [path, path, 0, MS_BIND, 0], failure: "ignore" },
    { call: "mount", values: [0, path, 0, MS_REMOUNT | MS_BIND | MS_RDONLY | quiet, 0], failure: "ignore" },
  ];
  const opened: StarterCall[] = [
    { call: "mount", values: ["/proc/sys/net", "/proc/sys/net", 0, MS_BIND, 0], failure: "ignore" },
    { call: "mount", values: [0, "/proc/sys/net", 0, MS_REMOUNT | MS_BIND | quiet, 0], failure: "ignore" },
  ];
  return [
    { call: "mount", values: ["proc", "/proc", "proc", quiet, 0] },
    ...["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"].flatMap(protect),
    // A privileged container may set its own network's sysctls; all others are the machine's.
    ...(options.privileged ? opened : []),
    { call: "umount2", values: [outerProc, 2] },
    { call: "unlinkat", values: [-100, outerProc, 0x200], failure: "ignore" }, // AT_FDCWD, AT_REMOVEDIR
  ];
}

const mount = libc(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
);

// Directories of programs and libraries; on a merged-/usr system all but usr are symbolic links. nix and gnu are NixOS's and Guix's stores.
const programFolders = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"];
const emptyFolders = ["etc", "tmp", "var", "run", "root", "home", "mnt", "media", "srv", "opt", "proc", "sys", "dev"];
const innerFolders = ["var/tmp", "var/log", "var/lib", "var/cache", "var/spool", "etc/ssl", "etc/pki/tls"];
// What programs read of /etc, and nothing that is a secret: linker cache, alternatives, certificates, names of ports.
const sharedSettings = [
  "etc/alternatives",
  "etc/ld.so.cache",
  "etc/protocols",
  "etc/services",
  "etc/ssl/certs",
  "etc/ssl/openssl.cnf",
  "etc/pki/ca-trust",
  "etc/pki/tls/certs",
];
// There is one user. Debian's tcpdump gives root up for a user of its own before it opens anything.
const ownSettings: Readonly<Record<string, string>> = {
  "etc/passwd":
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
    "tcpdump:x:0:0::/nonexistent:/usr/sbin/nologin\n" +
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n",
  "etc/group": "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnogroup:x:65534:\n",
  "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
  "etc/shells": "/bin/sh\n",
  "etc/profile": "",
};

let hostEntries: readonly { name: string; link?: string }[] | undefined;

function buildHostRoot(root: string): void {
  mountFilesystem("tmpfs", root, { flags: MS_NOSUID, data: "mode=755" });
  for (const folder of emptyFolders) fs.mkdirSync(join(root, folder));
  for (const folder of innerFolders) fs.mkdirSync(join(root, folder), { recursive: true });
  for (const folder of ["tmp", "var/tmp"]) fs.chmodSync(join(root, folder), 0o1777);
  fs.chmodSync(join(root, "root"), 0o700);
  fs.symlinkSync("/run", join(root, "var/run"));
  for (const { name, link } of listPrograms()) {
    if (link !== undefined) fs.symlinkSync(link, join(root, name));
    else {
      fs.mkdirSync(join(root, name));
      bindMount(`/${name}`, join(root, name), { readOnly: true });
    }
  }
  for (const [path, text] of Object.entries(ownSettings)) fs.writeFileSync(join(root, path), text);
  fs.symlinkSync("../usr/lib/os-release", join(root, "etc/os-release"));
  fs.symlinkSync("/proc/self/mounts", join(root, "etc/mtab"));
  for (const path of sharedSettings) {
    if (fs.existsSync(`/${path}`)) addMount(root, { source: `/${path}`, target: `/${path}`, readOnly: true });
  }
}

/** What the machine has of the program folders; it does not change while the lab runs. */
function listPrograms(): NonNullable<typeof hostEntries> {
  hostEntries ??= programFolders.flatMap((name) => {
    const found = fs.lstatSync(`/${name}`, { throwIfNoEntry: false });
    if (found === undefined) return [];
    return found.isSymbolicLink() ? [{ name, link: fs.readlinkSync(`/${name}`) }] : [{ name }];
  });
  return hostEntries;
}

/** An image's directory: written to in a tmpfs on top of it where the kernel allows that, read-only otherwise. */
function mountImage(path: string, root: string): void {
  mountFilesystem("tmpfs", root, { flags: MS_NOSUID, data: "mode=755" });
  const upper = join(root, "upper");
  const work = join(root, "work");
  fs.mkdirSync(upper);
  fs.mkdirSync(work);
  const merged = join(root, "merged");
  fs.mkdirSync(merged);
  try {
    const data = `lowerdir=${path.replaceAll(/([\\:,])/g, "\\$1")},upperdir=${upper},workdir=${work},userxattr`;
    mountFilesystem("overlay", merged, { flags: MS_NOSUID, data });
    // The overlay takes the place of the tmpfs it writes to.
    bindMount(merged, root);
  } catch {
    bindMount(path, root, { readOnly: true });
    for (const folder of ["tmp", "run", "var/tmp"]) {
      if (fs.existsSync(join(root, folder))) mountFilesystem("tmpfs", join(root, folder), { data: "mode=1777" });
    }
  }
}

function buildDevices(root: string): void {
  const dev = join(root, "dev");
  ensureFolder(dev);
  mountFilesystem("tmpfs", dev, { flags: MS_NOSUID, data: "mode=755" });
  for (const name of ["null", "zero", "full", "random", "urandom", "tty"]) {
    fs.writeFileSync(join(dev, name), "");
    bindMount(`/dev/${name}`, join(dev, name));
  }
  for (const folder of ["pts", "shm", "mqueue", ".proc"]) fs.mkdirSync(join(dev, folder));
  mountFilesystem("devpts", join(dev, "pts"), {
    flags: MS_NOSUID | MS_NOEXEC,
    data: "newinstance,ptmxmode=0666,mode=620",
  });
  mountFilesystem("tmpfs", join(dev, "shm"), { flags: MS_NOSUID | MS_NODEV, data: "mode=1777,size=64m" });
  fs.symlinkSync("pts/ptmx", join(dev, "ptmx"));
  fs.symlinkSync("/proc/self/fd", join(dev, "fd"));
  for (const [number, name] of ["stdin", "stdout", "stderr"].entries())
    fs.symlinkSync(`/proc/self/fd/${number}`, join(dev, name));
  bindMount("/proc", join(root, outerProc));
}

function mountSys(root: string): void {
  try {
    mountFilesystem("sysfs", join(root, "sys"), { flags: MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC });
  } catch {
    // Refused where the machine's own /sys is partly masked (containers): then /sys stays empty.
  }
}

function addTools(root: string, toolbox: Toolbox): void {
  const target = join(root, "opt/fairlead");
  fs.mkdirSync(target);
  for (const name of ["bin", "node", "src"]) {
    const path = join(target, name);
    if (name === "node") fs.writeFileSync(path, "");
    else fs.mkdirSync(path);
  }
  fs.writeFileSync(join(target, "package.json"), '{ "type": "module" }\n');
  bindMount(toolbox.bin, join(target, "bin"), { readOnly: true });
  bindMount(toolbox.node, join(target, "node"), { readOnly: true });
  bindMount(toolbox.sources, join(target, "src"), { readOnly: true });
  for (const { name, path } of toolbox.libraries) {
    const place = join(target, "node_modules", name);
    ensureFolder(place);
    bindMount(path, place, { readOnly: true });
  }
}

function addMount(root: string, { source, target, readOnly, copied }: RootMount): void {
  const path = insideRoot(root, target);
  if (copied === true) {
    ensureFolder(dirname(path));
    fs.copyFileSync(source, path);
    return;
  }
  if (fs.statSync(source).isDirectory()) ensureFolder(path);
  else if (!fs.existsSync(path)) {
    ensureFolder(dirname(path));
    fs.writeFileSync(path, "");
  }
  bindMount(source, path);
  if (readOnly) makeReadOnly(path);
}

/** The target below the new root, with the root's own symbolic links resolved inside it: `/var/run/x` is `/run/x`. */
function insideRoot(root: string, target: string): string {
  let path = root;
  const rest = target.split("/").filter((part) => part !== "" && part !== ".");
  for (let hops = 0; rest.length > 0;) {
    const part = rest.shift() ?? "";
    if (part === "..") {
      path = path === root ? root : dirname(path);
      continue;
    }
    const next = join(path, part);
    const found = fs.lstatSync(next, { throwIfNoEntry: false });
    if (found?.isSymbolicLink() !== true) {
      path = next;
      continue;
    }
    if (++hops > 40) throw new Error(`mount at ${target}: too many symbolic links`);
    const link = fs.readlinkSync(next);
    if (link.startsWith("/")) path = root;
    rest.unshift(...link.split("/").filter((piece) => piece !== "" && piece !== "."));
  }
  return path;
}

function ensureFolder(path: string): void {
  fs.mkdirSync(path, { recursive: true });
}
