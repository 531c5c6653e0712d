// What makes a container runtime use us: the plugin's executable where it looks for plugins, and a network configuration where it looks for
// those. The configuration comes last and goes first: from the moment it is there, pods are started.
//
// Not here: who answers the plugin (serve/cni).

import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface CniPlaces {
  /** `/opt/cni/bin` */
  readonly binaries: string;
  /** `/etc/cni/net.d` */
  readonly configurations: string;
  /** The folder of this installation's `bin`. */
  readonly from: string;
}

/** The first by name wins (containerd, CRI-O): before 10-… of most others. */
export const configurationName = "05-fairlead.conflist";

const executables = ["fairlead-cni", "fairlead-cni.mjs"] as const;

/** The folder that the executables look for an agent in, unless told otherwise. */
export const cniDirectoryDefault = "/run/fairlead/cni";

/**
 * Puts the executables where they are missing or others, so that they look into `directory`; true where something was written.
 * Throws the file system's errors.
 */
export function installExecutables({ binaries, from }: CniPlaces, directory: string): boolean {
  mkdirSync(binaries, { recursive: true });
  return executables
    .map((name) => {
      const text = readFileSync(join(from, name), "utf8").replaceAll(cniDirectoryDefault, directory);
      return replaceFile(join(binaries, name), text, 0o755);
    })
    .includes(true);
}

/** Writes the network configuration where it is missing or another; true where it was written. Throws the file system's errors. */
export function writeConfiguration({ configurations }: CniPlaces): boolean {
  const configuration = {
    cniVersion: "1.0.0",
    cniVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    name: "fairlead",
    plugins: [{ type: "fairlead-cni", capabilities: { portMappings: true } }],
  };
  mkdirSync(configurations, { recursive: true });
  return replaceFile(join(configurations, configurationName), `${JSON.stringify(configuration, null, 2)}\n`, 0o644);
}

/** A reader finds the old text or the new one, never a part. */
function replaceFile(file: string, text: string, mode: number): boolean {
  if (textOf(file) === text) return false;
  writeFileSync(`${file}.new`, text, { mode });
  chmodSync(`${file}.new`, mode);
  renameSync(`${file}.new`, file);
  return true;
}

/** Other programs' configurations that a runtime would take instead of ours: those before it by name. */
export function rivals({ configurations }: CniPlaces): readonly string[] {
  try {
    return readdirSync(configurations)
      .filter((name) => /\.(conf|conflist|json)$/.test(name) && name < configurationName)
      .sort();
  } catch {
    return [];
  }
}

/** Takes the configuration away, then the executables; what was there. Missing files are no error. */
export function removeCniFiles({ binaries, configurations }: CniPlaces): readonly string[] {
  const files = [join(configurations, configurationName), ...executables.map((name) => join(binaries, name))];
  return files.filter((file) => {
    // What a process that was killed had only begun.
    rmSync(`${file}.new`, { force: true });
    if (textOf(file) === undefined) return false;
    rmSync(file);
    return true;
  });
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
