// The files a server inside the daemon may read of its container: what its volumes hold, and nothing else.

import fs from "node:fs";
import { basename, dirname, join } from "node:path";
import type { RootMount } from "./root.ts";
import { isInside } from "./volumes.ts";

export interface ContainerFiles {
  /** The content of a file by its path in the container; undefined where no volume has it. */
  read(path: string): Buffer | undefined;
  /** What it is. */
  kindOf(path: string): "file" | "folder" | undefined;
  /** Names in a folder, sorted; empty where there is none. */
  list(path: string): readonly string[];
}

/** Files through a container's mounts. Links that lead out of a volume lead nowhere. */
export function containerFiles(mounts: readonly RootMount[]): ContainerFiles {
  const inner = [...mounts].reverse();
  const find = (path: string): string | undefined => {
    for (const { source, target } of inner) {
      const base = target.endsWith("/") && target !== "/" ? target.slice(0, -1) : target;
      if (!isInside(base, path)) continue;
      try {
        const root = fs.realpathSync(source);
        const real = fs.realpathSync(join(root, path.slice(base.length)));
        return isInside(root, real) ? real : undefined;
      } catch {
        return undefined;
      }
    }
    return undefined;
  };
  return {
    read(path) {
      const real = find(path);
      return real !== undefined && fs.statSync(real).isFile() ? fs.readFileSync(real) : undefined;
    },
    kindOf(path) {
      const real = find(path);
      if (real === undefined) return undefined;
      const found = fs.statSync(real);
      return found.isFile() ? "file" : found.isDirectory() ? "folder" : undefined;
    },
    list(path) {
      const real = find(path);
      const inFolder = real !== undefined && fs.statSync(real).isDirectory() ? fs.readdirSync(real) : [];
      // Single files of volumes (subPath) lie in folders that are the image's.
      const mounted = mounts.filter(({ target }) => dirname(target) === path).map(({ target }) => basename(target));
      return [...new Set([...inFolder, ...mounted])].filter((name) => !name.startsWith("..")).sort();
    },
  };
}
