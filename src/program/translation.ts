// What one Service, or a node's hostPorts, add to the sets and maps of one family: elements, and the chains they lead to.
//
// Not here: whose frontends and endpoints they are (services.ts, hostports.ts).

import type { Address } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import type { Protocol } from "../model/network.ts";
import type { Piece } from "./assemble.ts";
import { choiceChainName, endpointNumbers } from "./choice.ts";
import type { NftElement, NftVerdict } from "./nftables/ruleset.ts";

/** The sets and maps that are filled. */
export const translationParts = [
  /** Map: address . protocol . port . index -> endpoint. */
  "backends",
  /** Maps of session affinity: address . protocol . port . index -> number, and address . protocol . port . number -> endpoint. */
  "affine-choices",
  "affine-backends",
  /** Set: address . protocol . port whose clients must not be seen by the endpoint. */
  "masquerade-ports",
  /** Map: address . protocol . port -> what is done with a connection to it. */
  "services",
  /** Map: addresses that belong to Services alone -> their other ports are refused. */
  "service-addresses",
] as const;
export type TranslationPart = (typeof translationParts)[number];

export type Translation = Piece<TranslationPart>;

/** An address and port that clients connect to. */
export interface Frontend {
  readonly address: Address;
  readonly protocol: Protocol;
  readonly port: number;
}

/** What a connection to a frontend gets. */
export interface Choice {
  readonly backends: readonly { readonly address: Address; readonly port: number; readonly origin: Origin }[];
  /** Without backends: `refuse`, or `drop` where another node could serve it (traffic policy Local). */
  readonly otherwise: "refuse" | "drop";
  readonly affinitySeconds?: number;
  readonly origin: Origin;
}

/** Gathers elements. */
export interface Collector {
  /** An address of Services alone. */
  address(address: Address, origin: Origin): void;
  /** False where the frontend is there already: the first keeps it, so that keys stay unique whatever the objects say. */
  frontend(frontend: Frontend, choice: Choice): boolean;
  masquerade(frontend: Frontend, origin: Origin): void;
  /** What was gathered so far. */
  readonly result: Translation;
}

export const noTranslation: Translation = {
  elements: {
    backends: [],
    "affine-choices": [],
    "affine-backends": [],
    "masquerade-ports": [],
    services: [],
    "service-addresses": [],
  },
  chains: [],
};

/** An empty collector. */
export function collector(): Collector {
  const elements: Record<TranslationPart, NftElement[]> = {
    backends: [],
    "affine-choices": [],
    "affine-backends": [],
    "masquerade-ports": [],
    services: [],
    "service-addresses": [],
  };
  const chains: string[] = [];
  const seen = new Set<string>();
  return {
    address(address, origin) {
      elements["service-addresses"].push({ key: [address], data: { kind: "goto", chain: "refuse" }, origin });
    },
    frontend(frontend, choice) {
      const target = targetOf(frontend);
      const name = target.join(" ");
      if (seen.has(name)) return false;
      seen.add(name);
      const verdict = verdictOf(choice);
      elements.services.push({ key: target, data: verdict, origin: choice.origin });
      if (choice.affinitySeconds === undefined) elements.backends.push(...indexed(target, choice));
      else addAffine(elements, target, choice);
      if (choice.backends.length > 0 && "chain" in verdict && !chains.includes(verdict.chain))
        chains.push(verdict.chain);
      return true;
    },
    masquerade(frontend, origin) {
      elements["masquerade-ports"].push({ key: targetOf(frontend), origin });
    },
    result: { elements, chains },
  };
}

function indexed(target: readonly string[], { backends }: Choice): readonly NftElement[] {
  return backends.map(({ address, port, origin }, index) => ({
    key: [...target, String(index)],
    data: [address, String(port)],
    origin,
  }));
}

function addAffine(
  elements: Record<TranslationPart, NftElement[]>,
  target: readonly string[],
  { backends }: Choice,
): void {
  const numbers = endpointNumbers(backends);
  for (const [index, { address, port, origin }] of backends.entries()) {
    const number = numbers[index] ?? "";
    elements["affine-choices"].push({ key: [...target, String(index)], data: [number], origin });
    elements["affine-backends"].push({ key: [...target, number], data: [address, String(port)], origin });
  }
}

function targetOf({ address, protocol, port }: Frontend): readonly string[] {
  return [address, protocol, String(port)];
}

function verdictOf({ backends, otherwise, affinitySeconds }: Choice): NftVerdict {
  if (backends.length === 0) return otherwise === "drop" ? { kind: "drop" } : { kind: "goto", chain: "refuse" };
  const shape = { count: backends.length, ...(affinitySeconds === undefined ? {} : { affinitySeconds }) };
  return { kind: "goto", chain: choiceChainName(shape) };
}
