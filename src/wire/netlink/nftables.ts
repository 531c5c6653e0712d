// nf_tables messages as values: what a transaction carries and what a dump gives (linux/netfilter/nf_tables.h).
// This is the kernel's own language: expressions over registers. The typed rules people read are program/nftables.

/** One entry of an atomic transaction, in the kernel's vocabulary. */
export type NftBatchItem =
  | { readonly kind: "add-table"; readonly family: NftKernelFamily; readonly table: string }
  | { readonly kind: "delete-table"; readonly family: NftKernelFamily; readonly table: string }
  | {
      readonly kind: "add-chain";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly chain: NftChainState;
    }
  | { readonly kind: "delete-chain"; readonly family: NftKernelFamily; readonly table: string; readonly chain: string }
  | { readonly kind: "flush-chain"; readonly family: NftKernelFamily; readonly table: string; readonly chain: string }
  | {
      readonly kind: "add-rule";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly chain: string;
      readonly rule: NftRuleState;
    }
  | {
      readonly kind: "delete-rule";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly chain: string;
      readonly handle: bigint;
    }
  | { readonly kind: "add-set"; readonly family: NftKernelFamily; readonly table: string; readonly set: NftSetState }
  | { readonly kind: "delete-set"; readonly family: NftKernelFamily; readonly table: string; readonly set: string }
  | {
      readonly kind: "add-elements";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly set: string;
      readonly elements: readonly NftElementState[];
    }
  | {
      readonly kind: "delete-elements";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly set: string;
      readonly elements: readonly NftElementState[];
    };

export type NftKernelFamily = "ip" | "ip6" | "inet" | "bridge" | "netdev";

export interface NftTableState {
  readonly family: NftKernelFamily;
  readonly name: string;
  readonly chains: readonly NftChainState[];
  /** By chain name, in order. */
  readonly rules: ReadonlyMap<string, readonly NftRuleState[]>;
  readonly sets: readonly NftSetState[];
  /** By set name. */
  readonly elements: ReadonlyMap<string, readonly NftElementState[]>;
}

export interface NftChainState {
  readonly name: string;
  readonly base?: { readonly type: string; readonly hook: number; readonly priority: number; readonly policy: number };
}

export interface NftRuleState {
  readonly handle?: bigint;
  readonly expressions: readonly NftExpression[];
  readonly userdata?: Uint8Array;
}

/** A kernel expression: its name and its attributes (NFTA_*), nested as the kernel nests them. The codec's owner refines this into a closed union. */
export interface NftExpression {
  readonly name: string;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface NftSetState {
  readonly name: string;
  readonly flags: number;
  readonly keyType: number;
  readonly keyLength: number;
  readonly dataType?: number;
  readonly dataLength?: number;
  readonly timeoutMs?: bigint;
  readonly size?: number;
  /** Lengths of the fields of a concatenated interval set (NFTA_SET_DESC_CONCAT). */
  readonly fieldLengths?: readonly number[];
  readonly userdata?: Uint8Array;
}

export interface NftElementState {
  readonly key: Uint8Array;
  readonly keyEnd?: Uint8Array;
  readonly flags?: number;
  readonly data?: Uint8Array;
  readonly verdict?: { readonly code: number; readonly chain?: string };
  readonly timeoutMs?: bigint;
  readonly userdata?: Uint8Array;
}
