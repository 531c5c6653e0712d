// What one Service, or a node's hostPorts, add to the sets and maps of one family: elements, and the chains they lead to.
//
// Not here: whose frontends and endpoints they are (services.ts, hostports.ts).

import { familyOf, type Address } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { Protocol } from "../model/network.ts";
import type { Piece } from "./assemble.ts";
import {
  backendsMap,
  choiceChainName,
  choiceShape,
  endpointNumbers,
  frontendNumber,
  mapNames,
  outcomeNumber,
  type ChoiceScope,
} from "./choice.ts";
import type { NftElement } from "./nftables/ruleset.ts";

/** The sets and maps that are filled. */
export const translationParts = [
  /** Map: address . protocol . port . index -> endpoint; of frontends with many endpoints in a map of their own (choice.ts). */
  "backends",
  "backends-many",
  /** Maps of session affinity: address . protocol . port . index -> number, and address . protocol . port . number -> endpoint. */
  "affine-choices",
  "affine-backends",
  /** Map, IPv6: address . protocol . port -> the frontend's number (choice.ts). */
  "affine-frontends",
  /** Set: address . protocol . port whose clients must not be seen by the endpoint. */
  "masquerade-ports",
  /** Map: address . protocol . port -> what is done with a connection to it, as a number (choice.ts). */
  "services",
  /** The same five maps for connections from inside the cluster, where those get other endpoints than all others. */
  "backends-inside",
  "backends-inside-many",
  "affine-choices-inside",
  "affine-backends-inside",
  "services-inside",
  /** Set: the keys of that map. */
  "inside-ports",
  /** Set: address . protocol . port that only the sources in the second one may connect to: address . protocol . port . source. */
  "restricted",
  "allowed",
  /** Set: addresses that belong to Services alone: their other ports are refused. */
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
  /** What connections from inside the cluster get at a frontend instead. */
  inside(frontend: Frontend, choice: Choice): void;
  /** Only these sources may connect to the frontend. */
  restrict(frontend: Frontend, sources: readonly Prefix[], origin: Origin): void;
  /** What was gathered so far. */
  readonly result: Translation;
}

const none: readonly NftElement[] = [];

function noElements(): Record<TranslationPart, readonly NftElement[]> {
  return { ...blank };
}

// Written out: an object that is copied so has its fields in itself, and there is one for each Service.
const blank: Record<TranslationPart, readonly NftElement[]> = {
  backends: none,
  "backends-many": none,
  "affine-choices": none,
  "affine-backends": none,
  "affine-frontends": none,
  "masquerade-ports": none,
  services: none,
  "backends-inside": none,
  "backends-inside-many": none,
  "affine-choices-inside": none,
  "affine-backends-inside": none,
  "services-inside": none,
  "inside-ports": none,
  restricted: none,
  allowed: none,
  "service-addresses": none,
};

export const noTranslation: Translation = { elements: noElements(), chains: [] };

/** An empty collector. */
export function collector(): Collector {
  const elements = noElements();
  let chains: readonly string[] = [];
  const add = (part: TranslationPart, added: readonly NftElement[]): void => {
    elements[part] = elements[part] === none ? added : [...elements[part], ...added];
  };
  const lead = (target: readonly string[], choice: Choice, scope: ChoiceScope): void => {
    const { chain, number } = leadOf(choice, scope);
    const maps = mapNames[scope];
    add(maps.services, [{ key: target, data: number, origin: choice.origin }]);
    if (choice.affinitySeconds === undefined) {
      add(backendsMap(choice.backends.length, scope), indexed(target, choice));
    } else {
      const numbers = endpointNumbers(choice.backends);
      add(maps.affineChoices, affineChoices(target, choice, numbers));
      add(maps.affineBackends, affineBackends(target, choice, numbers));
      if (choice.backends.length > 0 && familyOf(target[0] ?? "") === 6) {
        // Once for both scopes: a frontend is the same for whoever asks it.
        if (!elements["affine-frontends"].some(({ key }) => isSameKey(key, target)))
          add("affine-frontends", [{ key: target, data: [frontendNumber(target)], origin: choice.origin }]);
        add(backendsMap(choice.backends.length, scope), indexed(target, choice));
      }
    }
    if (chain !== undefined && !chains.includes(chain))
      chains = chains.length === 0 ? onlyChain(chain) : [...chains, chain];
  };
  return {
    address(address, origin) {
      add("service-addresses", [{ key: [address], origin }]);
    },
    frontend(frontend, choice) {
      const target = targetOf(frontend);
      if (elements.services.some(({ key }) => isSameKey(key, target))) return false;
      lead(target, choice, "all");
      return true;
    },
    inside(frontend, choice) {
      const target = targetOf(frontend);
      lead(target, choice, "inside");
      if (choice.backends.length > 0) add("inside-ports", [{ key: target, origin: choice.origin }]);
    },
    restrict(frontend, sources, origin) {
      const target = targetOf(frontend);
      add("restricted", [{ key: target, origin }]);
      add(
        "allowed",
        sources.map((source) => ({ key: [...target, source], origin })),
      );
    },
    masquerade(frontend, origin) {
      add("masquerade-ports", [{ key: targetOf(frontend), origin }]);
    },
    get result() {
      return { elements, chains };
    },
  };
}

/** Nearly every Service leads to one chain, and there are few of those: one list and one name for all. */
function onlyChain(chain: string): readonly string[] {
  let list = onlyChains.get(chain);
  if (list === undefined) onlyChains.set(chain, (list = [chain]));
  return list;
}

const onlyChains = new Map<string, readonly string[]>();

function isSameKey(a: readonly string[], b: readonly string[]): boolean {
  return a.every((part, index) => part === b[index]);
}

/** Keys are written out: an array that is spread into has room for sixteen more, and there is one for each endpoint. */
function indexed([at = "", protocol = "", asked = ""]: readonly string[], { backends }: Choice): readonly NftElement[] {
  return backends.map(({ address, port, origin }, index) => ({
    key: [at, protocol, asked, String(index)],
    data: [address, String(port)],
    origin,
  }));
}

function affineChoices(
  target: readonly string[],
  { backends }: Choice,
  numbers: readonly string[],
): readonly NftElement[] {
  return backends.map(({ origin }, index) => ({
    key: [...target, String(index)],
    data: [numbers[index] ?? ""],
    origin,
  }));
}

function affineBackends(
  target: readonly string[],
  { backends }: Choice,
  numbers: readonly string[],
): readonly NftElement[] {
  return backends.map(({ address, port, origin }, index) => ({
    key: [...target, numbers[index] ?? ""],
    data: [address, String(port)],
    origin,
  }));
}

function targetOf({ address, protocol, port }: Frontend): readonly string[] {
  return [address, protocol, String(port)];
}

/** Where a connection is led: the number of what is done with it, and the chain that chooses its endpoint, if there is one. */
interface Lead {
  readonly chain?: string;
  readonly number: readonly [string];
}

function leadOf({ backends, otherwise, affinitySeconds }: Choice, scope: ChoiceScope): Lead {
  if (backends.length === 0) return otherwise === "drop" ? dropped : refused;
  const shape = choiceShape(backends.length, scope, affinitySeconds);
  const chain = choiceChainName(shape);
  let lead = leads.get(chain);
  if (lead === undefined) leads.set(chain, (lead = { chain, number: [outcomeNumber(shape)] }));
  return lead;
}

/** There are as many as different numbers of endpoints. */
const leads = new Map<string, Lead>();
const refused: Lead = { number: [outcomeNumber("refuse")] };
const dropped: Lead = { number: [outcomeNumber("drop")] };
