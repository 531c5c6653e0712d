// How far a rolling update may stray from the wanted size: maxSurge above, maxUnavailable below, as numbers or percentages.

import type { DeploymentStrategy, IntOrString } from "../../kube/kinds.ts";

/** The number that an IntOrString means of a whole; percentages are rounded as told. */
export function scaledValue(
  value: IntOrString | undefined,
  whole: number,
  round: "up" | "down",
  absent: IntOrString,
): number {
  const text = value ?? absent;
  if (typeof text === "number") return text;
  const exact = (Number.parseInt(text, 10) * whole) / 100;
  return round === "up" ? Math.ceil(exact) : Math.floor(exact);
}

/** How many pods more than wanted may exist during the update. */
export function surgeOf(strategy: DeploymentStrategy | undefined, replicas: number): number {
  if ((strategy?.type ?? "RollingUpdate") !== "RollingUpdate") return 0;
  return scaledValue(strategy?.rollingUpdate?.maxSurge, replicas, "up", "25%");
}

/** How many of the wanted pods may be unavailable during the update; at least one where the surge is none (ResolveFenceposts). */
export function maxUnavailableOf(strategy: DeploymentStrategy | undefined, replicas: number): number {
  if ((strategy?.type ?? "RollingUpdate") !== "RollingUpdate" || replicas === 0) return 0;
  const unavailable = scaledValue(strategy?.rollingUpdate?.maxUnavailable, replicas, "down", "25%");
  const usable = unavailable === 0 && surgeOf(strategy, replicas) === 0 ? 1 : unavailable;
  return Math.min(usable, replicas);
}
