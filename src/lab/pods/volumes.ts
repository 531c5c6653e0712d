// A pod's volumes as folders on disk, and what of them each container sees.
// ConfigMaps, Secrets, the downward API and projections are written as the kubelet writes them (a `..data` link that is switched at once),
// so that a changed object reaches running containers without half-written files.
//
// A hostPath is a path of the lab's node, not of the machine: nodes have a small disk of their own, and only the machine's programs
// (/usr, /lib …) show through, read-only. A claim is a folder of the lab by the claim's name.

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { dirname, join, normalize, relative, sep } from "node:path";
import type { Container, DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeMount } from "../../kube/kinds.ts";
import { fieldText, resourceText, type PodFacts } from "./downward.ts";
import { expand, secretText, type Lookups } from "./env.ts";
import { ConfigError } from "./errors.ts";
import type { RootMount } from "./root.ts";

export interface VolumeFolders {
  /** This pod's own: what is in it goes when the pod goes. */
  readonly pod: string;
  /** The node's disk, for hostPath. */
  readonly nodeDisk: string;
  /** The pod's folder in memory, for what the API gave: configuration, secrets and tokens are never on a disk. `pod` unless given. */
  readonly memory?: string;
  /** Claims of the whole lab, a folder each. */
  readonly claims: string;
}

export interface TokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly audience?: string;
  readonly expirationSeconds: number;
  readonly pod: Pod;
}

export interface VolumeSources {
  readonly facts: PodFacts;
  readonly lookups: Lookups;
  readonly serviceAccountToken: (request: TokenRequest) => string;
}

/** A volume that is ready: where it lies, and whether it may be written to. */
export interface ReadyVolume {
  readonly path: string;
  readonly readOnly: boolean;
}

/**
 * Makes (or brings up to date) all volumes of a pod. Throws ConfigError naming the volume that cannot be made, in the words of the
 * kubelet's FailedMount Event.
 */
export function prepareVolumes(
  volumes: readonly Volume[],
  folders: VolumeFolders,
  sources: VolumeSources,
): ReadonlyMap<string, ReadyVolume> {
  return new Map(
    volumes.map((volume) => {
      try {
        return [volume.name, prepareVolume(volume, folders, sources)];
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        throw new ConfigError(`MountVolume.SetUp failed for volume "${volume.name}" : ${error.message}`);
      }
    }),
  );
}

/** The mounts of one container, outer ones before inner ones. Throws ConfigError for a volume or subPath there is not. */
export function containerMounts(
  container: Container,
  volumes: ReadonlyMap<string, ReadyVolume>,
  environment: Readonly<Record<string, string>>,
): readonly RootMount[] {
  return (container.volumeMounts ?? [])
    .map((mount) => oneMount(mount, volumes, environment))
    .sort((a, b) => depth(a.target) - depth(b.target));
}

/** Names of the ConfigMaps and Secrets the pod's volumes read. */
export function referencedObjects(pod: Pod): ReadonlySet<string> {
  const names = new Set<string>();
  for (const volume of pod.spec.volumes ?? []) {
    if (volume.configMap?.name !== undefined) names.add(`configmap/${volume.configMap.name}`);
    if (volume.secret?.secretName !== undefined) names.add(`secret/${volume.secret.secretName}`);
    for (const { configMap, secret } of volume.projected?.sources ?? []) {
      if (configMap?.name !== undefined) names.add(`configmap/${configMap.name}`);
      if (secret?.name !== undefined) names.add(`secret/${secret.name}`);
    }
  }
  return names;
}

function oneMount(
  mount: VolumeMount,
  volumes: ReadonlyMap<string, ReadyVolume>,
  environment: Readonly<Record<string, string>>,
): RootMount {
  const volume = volumes.get(mount.name);
  if (volume === undefined) throw new ConfigError(`volumeMount ${mount.mountPath}: there is no volume "${mount.name}"`);
  const subPath = mount.subPathExpr === undefined ? mount.subPath : expand(mount.subPathExpr, environment);
  const readOnly = volume.readOnly || mount.readOnly === true;
  if (subPath === undefined || subPath === "") return { source: volume.path, target: mount.mountPath, readOnly };
  // What a variable stands for is known only now (pkg/kubelet makeMounts).
  if (mount.subPathExpr !== undefined && subPath.startsWith("/"))
    throw new ConfigError(`error SubPath ${JSON.stringify(subPath)} must not be an absolute path`);
  const source = join(volume.path, subPath);
  if (!isInside(volume.path, source))
    throw new ConfigError(
      `failed to prepare subPath for volumeMount "${mount.name}" of container: it leads out of the volume`,
    );
  if (!fs.existsSync(source)) {
    if (volume.readOnly)
      throw new ConfigError(
        `failed to prepare subPath for volumeMount "${mount.name}": ${subPath}: no such file or directory`,
      );
    fs.mkdirSync(source, { recursive: true });
  }
  // What a container put there may be a link that leads elsewhere.
  const real = fs.realpathSync(source);
  if (!isInside(fs.realpathSync(volume.path), real))
    throw new ConfigError(`failed to prepare subPath for volumeMount "${mount.name}": it leads out of the volume`);
  return { source: real, target: mount.mountPath, readOnly };
}

/** Is `path` the folder itself or below it? Both normal paths. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, normalize(path));
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !way.startsWith(sep));
}

function depth(path: string): number {
  return path.split("/").filter((part) => part !== "").length;
}

interface File {
  readonly path: string;
  readonly data: Uint8Array | string;
  readonly mode: number;
}

const builtIn = new Set(["name", "configMap", "secret", "downwardAPI", "projected", "emptyDir", "hostPath"]);

function prepareVolume(volume: Volume, folders: VolumeFolders, sources: VolumeSources): ReadyVolume {
  const given = join(folders.memory ?? folders.pod, "volumes", volume.name);
  if (volume.configMap !== undefined)
    return written(given, configMapFiles(volume.configMap, volume.configMap.defaultMode ?? 0o644, sources));
  if (volume.secret !== undefined) {
    const { secretName, ...rest } = volume.secret;
    const source = secretName === undefined ? rest : { ...rest, name: secretName };
    return written(given, secretFiles(source, volume.secret.defaultMode ?? 0o644, sources));
  }
  if (volume.downwardAPI !== undefined)
    return written(
      given,
      downwardFiles(volume.downwardAPI.items ?? [], volume.downwardAPI.defaultMode ?? 0o644, sources),
    );
  if (volume.projected !== undefined) return written(given, projectedFiles(volume, sources));
  if (volume.hostPath !== undefined)
    return nodePath(volume.hostPath.path, volume.hostPath.type ?? "", folders.nodeDisk);
  const claim = volume["persistentVolumeClaim"] as { claimName?: string; readOnly?: boolean } | undefined;
  if (claim !== undefined) {
    const path = join(folders.claims, `${sources.facts.pod.metadata.namespace ?? ""}_${claim.claimName ?? ""}`);
    return { path: made(path), readOnly: claim.readOnly === true };
  }
  const other = Object.keys(volume).find((key) => !builtIn.has(key));
  if (volume.emptyDir === undefined && other !== undefined && other !== "ephemeral")
    throw new ConfigError(`the lab has no volumes of type ${other}`);
  const folder = join(folders.pod, "volumes", volume.name);
  fs.mkdirSync(folder, { recursive: true });
  fs.chmodSync(folder, 0o777);
  return { path: folder, readOnly: false };
}

function made(path: string): string {
  fs.mkdirSync(path, { recursive: true });
  return path;
}

type Keyed = { readonly name?: string; readonly items?: readonly KeyToPath[]; readonly optional?: boolean };

function configMapFiles(source: Keyed, mode: number, { lookups }: VolumeSources): readonly File[] {
  const configMap = lookups.configMap(source.name ?? "");
  if (configMap === undefined && source.optional !== true)
    throw new ConfigError(`configmap "${source.name ?? ""}" not found`);
  const binary = Object.entries(configMap?.binaryData ?? {}).map(
    ([key, value]) => [key, Buffer.from(value, "base64")] as const,
  );
  return keyedFiles(
    "configmap",
    new Map<string, Uint8Array | string>([...Object.entries(configMap?.data ?? {}), ...binary]),
    source,
    mode,
  );
}

function secretFiles(source: Keyed, mode: number, { lookups }: VolumeSources): readonly File[] {
  const secret = lookups.secret(source.name ?? "");
  if (secret === undefined && source.optional !== true)
    throw new ConfigError(`secret "${source.name ?? ""}" not found`);
  const binary = Object.entries(secret?.data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64")] as const);
  const plain = Object.keys(secret?.stringData ?? {}).map((key) => [key, secretText(secret, key) ?? ""] as const);
  return keyedFiles("secret", new Map<string, Uint8Array | string>([...binary, ...plain]), source, mode);
}

function keyedFiles(
  kind: string,
  data: ReadonlyMap<string, Uint8Array | string>,
  source: Keyed,
  mode: number,
): readonly File[] {
  if (source.items === undefined || source.items.length === 0)
    return [...data].map(([path, value]) => ({ path, data: value, mode }));
  return source.items.flatMap((item) => {
    const value = data.get(item.key);
    if (value !== undefined) return [{ path: item.path, data: value, mode: item.mode ?? mode }];
    if (source.optional === true) return [];
    throw new ConfigError(`references non-existent ${kind} key: ${item.key}`);
  });
}

function downwardFiles(
  items: readonly DownwardAPIVolumeFile[],
  mode: number,
  { facts }: VolumeSources,
): readonly File[] {
  return items.map((item) => {
    const data =
      item.fieldRef !== undefined
        ? fieldText(facts, item.fieldRef)
        : item.resourceFieldRef !== undefined
          ? resourceText(facts, item.resourceFieldRef, "")
          : "";
    return { path: item.path, data, mode: item.mode ?? mode };
  });
}

function projectedFiles(volume: Volume, sources: VolumeSources): readonly File[] {
  const mode = volume.projected?.defaultMode ?? 0o644;
  return (volume.projected?.sources ?? []).flatMap((source): readonly File[] => {
    if (source.configMap !== undefined) return configMapFiles(source.configMap, mode, sources);
    if (source.secret !== undefined) return secretFiles(source.secret, mode, sources);
    if (source.downwardAPI !== undefined) return downwardFiles(source.downwardAPI.items ?? [], mode, sources);
    if (source.serviceAccountToken === undefined) return [];
    const { path, audience, expirationSeconds = 3600 } = source.serviceAccountToken;
    const { pod } = sources.facts;
    const data = sources.serviceAccountToken({
      namespace: pod.metadata.namespace ?? "",
      serviceAccount: pod.spec.serviceAccountName ?? "default",
      ...(audience === undefined ? {} : { audience }),
      expirationSeconds,
      pod,
    });
    return [{ path, data, mode: 0o600 }];
  });
}

/**
 * Writes files the way the kubelet's AtomicWriter does: into `..<time>`, with `..data` switched over by a rename, and links for what people
 * name. Nothing is written when nothing has changed.
 */
function written(folder: string, files: readonly File[]): ReadyVolume {
  // Nothing there yet, as for every pod that starts: nothing to compare with, and nobody who reads meanwhile.
  const isFresh = fs.mkdirSync(folder, { recursive: true }) !== undefined;
  if (isFresh) return writtenFresh(folder, files);
  const dataLink = join(folder, "..data");
  const old = fs.lstatSync(dataLink, { throwIfNoEntry: false }) === undefined ? undefined : fs.readlinkSync(dataLink);
  if (old !== undefined && sameFiles(join(folder, old), files)) return { path: folder, readOnly: true };
  const version = join(folder, versionName());
  fs.mkdirSync(version, { mode: 0o755 });
  for (const file of files) {
    const path = join(version, file.path);
    if (!isInside(version, path)) throw new ConfigError(`invalid path ${file.path}`);
    fs.mkdirSync(dirname(path), { recursive: true });
    fs.writeFileSync(path, file.data);
    fs.chmodSync(path, file.mode);
  }
  fs.symlinkSync(version.slice(folder.length + 1), join(folder, "..data_tmp"));
  fs.renameSync(join(folder, "..data_tmp"), dataLink);
  const wanted = topNames(files);
  for (const entry of fs.readdirSync(folder))
    if (!entry.startsWith("..") && !wanted.has(entry)) fs.rmSync(join(folder, entry));
  for (const top of wanted)
    if (fs.lstatSync(join(folder, top), { throwIfNoEntry: false }) === undefined)
      fs.symlinkSync(`..data/${top}`, join(folder, top));
  if (old !== undefined) fs.rmSync(join(folder, old), { recursive: true, force: true });
  return { path: folder, readOnly: true };
}

function writtenFresh(folder: string, files: readonly File[]): ReadyVolume {
  const version = versionName();
  const made = new Set<string>();
  for (const file of files) {
    const path = join(folder, version, file.path);
    if (!isInside(join(folder, version), path)) throw new ConfigError(`invalid path ${file.path}`);
    if (!made.has(dirname(path))) fs.mkdirSync(dirname(path), { recursive: true });
    made.add(dirname(path));
    fs.writeFileSync(path, file.data, { mode: file.mode });
    // The process' mask may have taken something away.
    if ((file.mode & ~0o644) !== 0) fs.chmodSync(path, file.mode);
  }
  if (made.size === 0) fs.mkdirSync(join(folder, version));
  fs.symlinkSync(version, join(folder, "..data"));
  for (const top of topNames(files)) fs.symlinkSync(`..data/${top}`, join(folder, top));
  return { path: folder, readOnly: true };
}

function versionName(): string {
  return `..${new Date().toISOString().replaceAll(/[-:.]/g, "_")}.${randomBytes(3).toString("hex")}`;
}

/** What people name in the folder. */
function topNames(files: readonly File[]): ReadonlySet<string> {
  return new Set(files.map((file) => file.path.split("/").find((part) => part !== "") ?? ""));
}

function sameFiles(version: string, files: readonly File[]): boolean {
  const there = fs.readdirSync(version, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  if (there.length !== files.length) return false;
  return files.every((file) => {
    try {
      return fs.readFileSync(join(version, file.path)).equals(Buffer.from(file.data as Uint8Array));
    } catch {
      return false;
    }
  });
}

const machineFolders = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

// core/v1 HostPathType: what must be there, and what is made where it is missing.
function nodePath(path: string, type: string, nodeDisk: string): ReadyVolume {
  if (machineFolders.some((folder) => isInside(folder, path)) && fs.existsSync(path)) return { path, readOnly: true };
  const own = join(nodeDisk, normalize(`/${path}`));
  const found = fs.statSync(own, { throwIfNoEntry: false });
  const wantsFile = type === "File" || type === "FileOrCreate";
  if (found === undefined) {
    if (type === "" || type === "DirectoryOrCreate") return { path: made(own), readOnly: false };
    if (type !== "FileOrCreate")
      throw new ConfigError(`hostPath type check failed: ${path} is not a ${wantsFile ? "file" : typeText(type)}`);
    made(dirname(own));
    fs.writeFileSync(own, "");
  } else if (type !== "" && found.isDirectory() === wantsFile) {
    throw new ConfigError(`hostPath type check failed: ${path} is not a ${wantsFile ? "file" : "directory"}`);
  }
  return { path: own, readOnly: false };
}

function typeText(type: string): string {
  return type === "Directory" ? "directory" : type.toLowerCase();
}
