// What an image name stands for. There is no registry and nothing is downloaded: a name is one of the built-in workloads (builtin.ts),
// or somebody has mapped it to a directory or program of this machine (`fairlead image add`), or it cannot be pulled, and that is said.

import fs from "node:fs";
import { basename, dirname, isAbsolute } from "node:path";
import type { BuiltinWorkload } from "../workloads/workload.ts";
import type { RootMount, RootPlan } from "../root.ts";
import { builtinImages } from "./builtin.ts";
import { matchesName, parseReference, referenceText } from "./reference.ts";

/** What a container is made from. */
export interface Image {
  /** The full reference: `docker.io/library/nginx:1.27`. */
  readonly name: string;
  readonly id: string;
  readonly base: RootPlan["base"];
  /** Files the image adds to its root. */
  readonly mounts: readonly RootMount[];
  /** Tools of ours under a path the image has them at: path → name in /opt/fairlead/bin. */
  readonly tools: Readonly<Record<string, string>>;
  /** Small files of the image: path → what is in it. */
  readonly files: Readonly<Record<string, () => string>>;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  /** A server of the image that runs in the daemon. */
  readonly workload?: BuiltinWorkload;
}

/** One name mapped to something of this machine. */
export interface ImageMapping {
  /** An image name; `*` stands for any text: `registry.example.com/shop/api:*`. Without tag and without `*`: every tag. */
  readonly name: string;
  /** Absolute: a directory that holds a root, or a program. */
  readonly path: string;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
}

export interface Images {
  /** The image of a name, or why there is none, in words for an Event. */
  lookup(name: string): { readonly image: Image } | { readonly refused: string };
  /** Maps a name, replacing what was mapped before. Throws Error for a path that is neither directory nor program. */
  add(mapping: ImageMapping): void;
  /** Forgets a mapped name; false where there was none. */
  remove(name: string): boolean;
  mappings(): readonly ImageMapping[];
  /** Names of the built-in ones, for people. */
  builtin(): readonly string[];
  /** Adds a built-in image: `registry.k8s.io/coredns/coredns`. Names match with any registry in front and any tag. */
  register(name: string, image: BuiltinImage): void;
}

/** A built-in image. What is left out: the machine's programs as root, no entrypoint, `/` as working directory. */
export interface BuiltinImage {
  readonly workload?: BuiltinWorkload;
  /** A server of another program in the image; it stays where the image's own program is mapped to a real one. */
  readonly beside?: BuiltinWorkload;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly tools?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, () => string>>;
  /** Its /bin/sh is busybox's, which knows `[[` and `echo -e`: of the machine's shells bash comes nearest, where there is one. */
  readonly shell?: "busybox";
  /** What the tag adds to the command line: hello-app:2.0 says 2.0.0. */
  readonly tagAsArgument?: true;
}

/** Images with the mappings kept in a JSON file, which other labs of the same user may change at any time. Without file: in memory. */
export function createImages(options: { readonly file?: string } = {}): Images {
  const builtin = new Map<string, BuiltinImage>(Object.entries(builtinImages));
  const kept = keptMappings(options.file);

  return {
    lookup(name) {
      const reference = parseReference(name);
      if (reference === undefined) return { refused: `couldn't parse image name "${name}": invalid reference format` };
      const full = referenceText(reference);
      const mapping = kept.all().find((candidate) => matchesMapping(candidate.name, full));
      const found = [...builtin].find(([pattern]) => matchesName(pattern, reference));
      if (mapping !== undefined) return mappedImage(mapping, full, found?.[1] ?? {});
      if (found !== undefined) return { image: builtinImage(found[0], found[1], full, reference.tag) };
      return {
        refused:
          `no image "${name}" in this lab: it is none of the built-in ones and nothing is downloaded here; ` +
          `map it with: fairlead image add ${name} PATH   (a directory with a root file system, or a program)`,
      };
    },
    add(mapping) {
      checkMapping(mapping);
      kept.save([...kept.all().filter((other) => other.name !== mapping.name), mapping]);
    },
    remove(name) {
      const rest = kept.all().filter((mapping) => mapping.name !== name);
      if (rest.length === kept.all().length) return false;
      kept.save(rest);
      return true;
    },
    mappings: () => kept.all(),
    builtin: () => [...builtin.keys()].sort(),
    register: (name, image) => void builtin.set(name, image),
  };
}

/** The command line of a container: command replaces the image's entrypoint, args its command (core/v1 Container). */
export function commandLine(
  image: Image,
  container: { readonly command?: readonly string[]; readonly args?: readonly string[] },
): readonly string[] {
  const { command = [], args = [] } = container;
  if (command.length > 0) return [...command, ...args];
  return [...image.entrypoint, ...(args.length > 0 ? args : image.command)];
}

function matchesMapping(pattern: string, full: string): boolean {
  const parsed = parseReference(pattern.replaceAll("*", "x-wildcard-x"));
  const normal = parsed === undefined ? pattern : referenceText(parsed).replaceAll("x-wildcard-x", "*");
  // Without a tag of its own a mapping holds for every tag.
  const ownTag = /:[^/]*$/.test(pattern) || pattern.includes("@");
  const wanted = ownTag ? normal : normal.replace(/:[^/:]*$/, ":*");
  const glob = (text: string): RegExp =>
    new RegExp(`^${text.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`);
  return glob(wanted).test(full) || (pattern.endsWith("*") && glob(pattern).test(full));
}

function checkMapping({ name, path }: ImageMapping): void {
  if (!isAbsolute(path)) throw new Error(`image add ${name}: ${path}: give an absolute path`);
  const found = fs.statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new Error(`image add ${name}: ${path}: no such file or directory`);
  if (parseReference(name.replaceAll("*", "x")) === undefined) throw new Error(`image add: "${name}" is no image name`);
  if (found.isDirectory()) return;
  if ((found.mode & 0o111) === 0)
    throw new Error(`image add ${name}: ${path}: is neither a directory nor executable; try: chmod +x ${path}`);
}

/**
 * A program that is mapped to a built-in image's name lies where that image has its own tools, and is started as that image starts:
 * the real agnhost is /agnhost, and pauses when it is told nothing.
 */
function mappedImage(
  mapping: ImageMapping,
  full: string,
  standIn: BuiltinImage,
): { readonly image: Image } | { readonly refused: string } {
  const found = fs.statSync(mapping.path, { throwIfNoEntry: false });
  if (found === undefined)
    return {
      refused: `image "${full}" is mapped to ${mapping.path}, which is not there; map it again with: fairlead image add ${mapping.name} PATH`,
    };
  const program = `/app/${basename(mapping.path)}`;
  const isDirectory = found.isDirectory();
  const places = [program, ...Object.keys(standIn.tools ?? {})];
  const known = places.length > 1 ? standIn : {};
  return {
    image: {
      name: full,
      id: `file://${mapping.path}`,
      base: isDirectory ? { kind: "directory", path: mapping.path } : { kind: "host" },
      mounts: isDirectory
        ? []
        : [
            ...(standIn.shell === "busybox" ? busyboxShell() : []),
            ...places.map((target) => ({ source: mapping.path, target, readOnly: true })),
          ],
      tools: {},
      files: isDirectory ? {} : (standIn.files ?? {}),
      entrypoint: mapping.entrypoint ?? (isDirectory ? [] : (known.entrypoint ?? [program])),
      command: mapping.command ?? (isDirectory ? [] : (known.command ?? [])),
      env: mapping.env ?? {},
      workingDirectory: mapping.workingDirectory ?? "/",
      ...(isDirectory || standIn.beside === undefined ? {} : { workload: standIn.beside }),
    },
  };
}

function busyboxShell(): readonly RootMount[] {
  const bash = ["/bin/bash", "/usr/bin/bash"].find((path) => fs.existsSync(path));
  return bash === undefined ? [] : [{ source: fs.realpathSync(bash), target: "/bin/sh", readOnly: true }];
}

function bothWorkloads(
  own: BuiltinWorkload | undefined,
  beside: BuiltinWorkload | undefined,
): BuiltinWorkload | undefined {
  if (own === undefined || beside === undefined) return own ?? beside;
  return {
    ...own,
    serves: (argv) => beside.serves(argv) || own.serves(argv),
    start: (context) => (beside.serves(context.args) ? beside : own).start(context),
  };
}

function builtinImage(name: string, image: BuiltinImage, full: string, tag: string): Image {
  const command = image.command ?? [];
  const workload = bothWorkloads(image.workload, image.beside);
  return {
    name: full,
    id: `fairlead.dev/builtin/${name}`,
    base: { kind: "host" },
    mounts: image.shell === "busybox" ? busyboxShell() : [],
    tools: image.tools ?? {},
    files: image.files ?? {},
    entrypoint: image.entrypoint ?? [],
    command: image.tagAsArgument === true ? [...command, tag] : command,
    env: image.env ?? {},
    workingDirectory: image.workingDirectory ?? "/",
    ...(workload === undefined ? {} : { workload }),
  };
}

function keptMappings(file: string | undefined): {
  all(): readonly ImageMapping[];
  save(mappings: readonly ImageMapping[]): void;
} {
  let mappings: readonly ImageMapping[] = [];
  let readAt: number | undefined;
  return {
    all() {
      if (file === undefined) return mappings;
      const changed = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
      if (changed !== undefined && changed !== readAt) mappings = parseMappings(file);
      if (changed === undefined) mappings = [];
      readAt = changed;
      return mappings;
    },
    save(next) {
      mappings = next;
      if (file === undefined) return;
      fs.mkdirSync(dirname(file), { recursive: true });
      fs.writeFileSync(`${file}.new`, `${JSON.stringify(next, null, 2)}\n`, { mode: 0o600 });
      fs.renameSync(`${file}.new`, file);
      readAt = undefined;
    },
  };
}

function parseMappings(file: string): readonly ImageMapping[] {
  try {
    return JSON.parse(fs.readFileSync(file, "utf8")) as readonly ImageMapping[];
  } catch (error) {
    throw new Error(`read the image mappings of ${file}: ${(error as Error).message}; repair or remove the file`, {
      cause: error,
    });
  }
}
