// Where a lab keeps what it has: one folder per lab name below ~/.fairlead (or FAIRLEAD_HOME), readable by its owner only.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

export interface LabPaths {
  readonly folder: string;
  /** LabConfig as JSON. */
  readonly config: string;
  readonly store: string;
  readonly control: string;
  /** Pid and start time of the outermost process, as JSON. */
  readonly pid: string;
  readonly log: string;
  /** Sandboxes, addresses and container logs, a folder a node. */
  readonly nodes: string;
  readonly kubeconfig: string;
  /** Certificates and keys of the API server and of its authority. */
  readonly pki: string;
  readonly images: string;
}

const nameForm = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;

/** The folder all labs of this user live in. */
export function labsFolder(): string {
  return process.env["FAIRLEAD_HOME"] ?? join(homedir(), ".fairlead");
}

/** The paths of one lab. Throws where the name could leave the folder. */
export function labPaths(name: string): LabPaths {
  if (!nameForm.test(name))
    throw new Error(
      `lab name ${JSON.stringify(name)}: must be 1 to 32 lower-case letters, digits or '-', such as --name demo`,
    );
  const folder = join(labsFolder(), name);
  const socket = join(folder, "control.sock");
  return {
    folder,
    config: join(folder, "lab.json"),
    store: join(folder, "store.db"),
    // unix(7): sun_path holds 108 bytes. A longer path moves to the temporary folder under a name only this path gives.
    control: Buffer.byteLength(socket) < 104 ? socket : join(tmpdir(), `fairlead-${digest(folder)}.sock`),
    pid: join(folder, "daemon.pid"),
    log: join(folder, "daemon.log"),
    nodes: join(folder, "nodes"),
    kubeconfig: join(folder, "kubeconfig"),
    pki: join(folder, "pki"),
    images: join(labsFolder(), "images.json"),
  };
}

/** Makes the lab's folder, for its owner only. */
export function makeLabFolder(paths: LabPaths): void {
  try {
    mkdirSync(paths.folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(
      `make the lab's folder ${paths.folder}: ${code}: let FAIRLEAD_HOME name one that this user may write`,
      {
        cause: error,
      },
    );
  }
}

/** Names of the labs that have a folder; what else lies beside them is no lab. */
export function labNames(): readonly string[] {
  try {
    return readdirSync(labsFolder(), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && nameForm.test(entry.name))
      .map((entry) => entry.name)
      .sort();
  } catch {
    return [];
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
