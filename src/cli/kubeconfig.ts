// `fairlead kubeconfig [--merge]`: the lab's kubeconfig on standard output, or joined to the one kubectl reads by itself.

import {
  closeSync,
  chmodSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { contextName, mergeKubeconfig, withoutLab } from "../lab/apiserver/kubeconfig.ts";
import { labPaths } from "../lab/paths.ts";

export default async function kubeconfig(options: {
  readonly name: string;
  readonly merge?: boolean;
}): Promise<number> {
  const text = kubeconfigOf(options.name);
  if (options.merge !== true) {
    process.stdout.write(text);
    return 0;
  }
  const file = join(homedir(), ".kube", "config");
  const previous = await mergeInto(file, text);
  const context = contextName(options.name);
  process.stdout.write(`${context} is in ${file} and is the current context\n`);
  if (previous !== undefined && previous !== context)
    process.stdout.write(`back to the one before: kubectl config use-context ${previous}\n`);
  return 0;
}

function kubeconfigOf(lab: string): string {
  const { kubeconfig: file } = labPaths(lab);
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new Error(`lab ${JSON.stringify(lab)} has no kubeconfig: start it with fairlead up --name ${lab}`, {
      cause: error,
    });
  }
}

/**
 * Takes a lab that ends out of the kubeconfig that kubectl reads by itself, where it was merged into it; whether it was.
 * Labs of one name in other folders have other certificates: their entries stay.
 */
export async function forgetLab(lab: string, kubeconfigFile: string): Promise<boolean> {
  const path = join(homedir(), ".kube", "config");
  const file = targetOf(path);
  const [certificate] = /(?<=certificate-authority-data: )\S+/.exec(readIfThere(kubeconfigFile) ?? "") ?? [];
  const isMerged = (): boolean => certificate !== undefined && (readIfThere(file) ?? "").includes(certificate);
  if (!isMerged()) return false;
  return locked(file, async () => {
    const text = await withoutLab(readIfThere(file) ?? "", lab).catch((error: unknown) => {
      throw new Error(`take ${contextName(lab)} out of ${path}: ${(error as Error).message}: mend the file`, {
        cause: error,
      });
    });
    if (text !== undefined) replaceFile(file, text);
    return text !== undefined;
  });
}

/** Merges into the file, whole or not at all; what was the current context. */
async function mergeInto(path: string, added: string): Promise<string | undefined> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const file = targetOf(path);
  return locked(file, async () => {
    const { text, previous } = await mergeKubeconfig(readIfThere(file) ?? "", added).catch((error: unknown) => {
      throw new Error(`merge into ${path}: ${(error as Error).message}: mend the file, or use the printed one`, {
        cause: error,
      });
    });
    replaceFile(file, text);
    return previous;
  });
}

/** Whole or not at all; the file's mode stays. */
function replaceFile(file: string, text: string): void {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0o600;
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, text, { mode: 0o600 });
  chmodSync(draft, mode & 0o777);
  renameSync(draft, file);
}

/** Where a symbolic link leads, so that the link stays one. */
function targetOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

// client-go clientcmd locks a kubeconfig by a file of the same name with .lock behind it; so kubectl and we do not write over each other.
async function locked<T>(file: string, work: () => Promise<T>): Promise<T> {
  const lock = `${file}.lock`;
  try {
    closeSync(openSync(lock, "wx", 0o600));
  } catch (error) {
    throw new Error(`lock ${file}: ${lock} is there: another program writes the file; remove it if none does`, {
      cause: error,
    });
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}
