// nf_tables as values: what a transaction carries and what a dump gives (linux/netfilter/nf_tables.h).
// This is the kernel's own language: expressions over registers. The typed rules people read are program/nftables.
//
// Canonical form: what a dump gives for what a transaction installed is the same value, so that comparing is deep equality.
// Hence counts and expiry times are left out, optional fields are absent where the kernel would give a default,
// and anonymous sets are part of the rule that uses them.
//
// Not here: bytes (nftables-batch.ts, nftables-dump.ts, nftables-expressions.ts).

/** One entry of an atomic transaction, in the kernel's vocabulary. */
export type NftBatchItem =
  /** Keeps a table that is there already. */
  | { readonly kind: "add-table"; readonly family: NftKernelFamily; readonly table: string }
  /** With all it holds. */
  | { readonly kind: "delete-table"; readonly family: NftKernelFamily; readonly table: string }
  /** Deletes all rules of all its chains; sets keep their elements. */
  | { readonly kind: "flush-table"; readonly family: NftKernelFamily; readonly table: string }
  /** Keeps a chain that is there already; policy and comment are then changed, hook and type must be the same. */
  | {
      readonly kind: "add-chain";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly chain: NftChainState;
    }
  /** Its rules must be gone, and nothing may jump to it. */
  | { readonly kind: "delete-chain"; readonly family: NftKernelFamily; readonly table: string; readonly chain: string }
  /** Deletes all its rules. */
  | { readonly kind: "flush-chain"; readonly family: NftKernelFamily; readonly table: string; readonly chain: string }
  /** Appends. */
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
  /** The set must not be there in another shape. */
  | { readonly kind: "add-set"; readonly family: NftKernelFamily; readonly table: string; readonly set: NftSetState }
  /** No rule may use it. */
  | { readonly kind: "delete-set"; readonly family: NftKernelFamily; readonly table: string; readonly set: string }
  /** An element that is there already must be equal (else EEXIST): delete it first to change it. */
  | {
      readonly kind: "add-elements";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly set: string;
      readonly elements: readonly NftElementState[];
    }
  /** By key; each must be there (else ENOENT). */
  | {
      readonly kind: "delete-elements";
      readonly family: NftKernelFamily;
      readonly table: string;
      readonly set: string;
      readonly elements: readonly NftElementState[];
    };

export type NftKernelFamily = "ip" | "ip6" | "inet" | "bridge" | "netdev";

/** What the kernel holds of one table. Anonymous sets are in the rules that use them. */
export interface NftTableState {
  readonly family: NftKernelFamily;
  readonly name: string;
  readonly chains: readonly NftChainState[];
  /** By chain name, in order. Every chain has an entry. */
  readonly rules: ReadonlyMap<string, readonly NftRuleState[]>;
  readonly sets: readonly NftSetState[];
  /** By set name. Every set has an entry. */
  readonly elements: ReadonlyMap<string, readonly NftElementState[]>;
}

export interface NftChainState {
  readonly name: string;
  readonly base?: {
    /** `filter`, `nat`, `route`. */
    readonly type: string;
    /** NF_INET_*, NF_BR_* or NF_NETDEV_*, by family. */
    readonly hook: number;
    readonly priority: number;
    /** NF_DROP 0, NF_ACCEPT 1. */
    readonly policy: number;
    /** Sorted. */
    readonly devices?: readonly string[];
  };
  readonly userdata?: Uint8Array;
}

export interface NftRuleState {
  /** The kernel's name for it: given by dumps, no part of what the rule is. */
  readonly handle?: bigint;
  readonly expressions: readonly NftExpression[];
  /** Sets without a name that live and die with the rule; `lookup` expressions point at them by index. */
  readonly anonymousSets?: readonly NftAnonymousSet[];
  readonly userdata?: Uint8Array;
}

export interface NftAnonymousSet {
  /** Its name is empty. */
  readonly set: NftSetState;
  readonly elements: readonly NftElementState[];
}

/** Registers: 1 to 4 are 16 bytes each, 8 to 23 the same 64 bytes in fours; the kernel names those at a multiple of 16 by the former. */
export type NftRegister = number;

/** NFTA_VERDICT_CODE: NF_DROP 0, NF_ACCEPT 1, NFT_CONTINUE -1, NFT_BREAK -2, NFT_JUMP -3, NFT_GOTO -4, NFT_RETURN -5. */
export interface NftVerdictState {
  readonly code: number;
  /** Jump and goto only. */
  readonly chain?: string;
}

/** A kernel expression. Enumerations are the kernel's numbers; `other` is one that this program never makes. */
export type NftExpression =
  | { readonly kind: "immediate"; readonly dreg: NftRegister; readonly data: Uint8Array }
  | { readonly kind: "verdict"; readonly verdict: NftVerdictState }
  | { readonly kind: "meta-load"; readonly key: number; readonly dreg: NftRegister }
  | { readonly kind: "meta-set"; readonly key: number; readonly sreg: NftRegister }
  | { readonly kind: "ct-load"; readonly key: number; readonly direction?: number; readonly dreg: NftRegister }
  | { readonly kind: "ct-set"; readonly key: number; readonly sreg: NftRegister }
  | {
      readonly kind: "payload";
      readonly dreg: NftRegister;
      readonly base: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly kind: "fib"; readonly dreg: NftRegister; readonly result: number; readonly flags: number }
  | { readonly kind: "numgen"; readonly dreg: NftRegister; readonly modulus: number; readonly type: number }
  /** Between host and network order, in units of `size` bytes; operation NFT_BYTEORDER_NTOH 0, _HTON 1. */
  | {
      readonly kind: "byteorder";
      readonly sreg: NftRegister;
      readonly dreg: NftRegister;
      readonly operation: number;
      readonly length: number;
      readonly size: number;
    }
  | { readonly kind: "cmp"; readonly sreg: NftRegister; readonly op: number; readonly data: Uint8Array }
  | {
      readonly kind: "range";
      readonly sreg: NftRegister;
      readonly op: number;
      readonly from: Uint8Array;
      readonly to: Uint8Array;
    }
  /** dreg = (sreg & mask) ^ xor */
  | {
      readonly kind: "bitwise";
      readonly sreg: NftRegister;
      readonly dreg: NftRegister;
      readonly mask: Uint8Array;
      readonly xor: Uint8Array;
    }
  | {
      readonly kind: "lookup";
      /** Name, or index of the rule's anonymous set. */
      readonly set: string | number;
      readonly sreg: NftRegister;
      /** Maps only; 0 is the verdict. */
      readonly dreg?: NftRegister;
      readonly inverted: boolean;
    }
  | {
      readonly kind: "dynset";
      readonly set: string;
      /** NFT_DYNSET_OP_ADD 0, _UPDATE 1, _DELETE 2. */
      readonly operation: number;
      readonly keyRegister: NftRegister;
      readonly dataRegister?: NftRegister;
      readonly timeoutMs?: bigint;
    }
  | {
      readonly kind: "nat";
      /** NFT_NAT_SNAT 0, NFT_NAT_DNAT 1. */
      readonly type: number;
      /** NFPROTO_IPV4 2, NFPROTO_IPV6 10. */
      readonly family: number;
      readonly addressRegister: NftRegister;
      readonly portRegister?: NftRegister;
      /** NF_NAT_RANGE_*, but for those that follow from the registers. */
      readonly flags: number;
    }
  | { readonly kind: "masquerade"; readonly flags: number }
  | { readonly kind: "redirect"; readonly portRegister: NftRegister; readonly flags: number }
  | { readonly kind: "reject"; readonly type: number; readonly code: number }
  | { readonly kind: "log"; readonly group: number; readonly prefix: string; readonly snapLength: number }
  | { readonly kind: "limit"; readonly rate: bigint; readonly unitSeconds: bigint; readonly burst: number }
  | { readonly kind: "counter" }
  | { readonly kind: "notrack" }
  | { readonly kind: "other"; readonly name: string; readonly data: Uint8Array };

export interface NftSetState {
  readonly name: string;
  /** NFT_SET_*. */
  readonly flags: number;
  /** nft's number for the type: concatenations have 6 bits a part. The kernel only keeps it. */
  readonly keyType: number;
  readonly keyLength: number;
  /** Maps only; 0xffffff00 is a verdict. */
  readonly dataType?: number;
  readonly dataLength?: number;
  readonly timeoutMs?: bigint;
  readonly size?: number;
  /** Lengths of the fields of a concatenated interval set (NFTA_SET_DESC_CONCAT). */
  readonly fieldLengths?: readonly number[];
  /** Every element has a counter. */
  readonly counter?: boolean;
  readonly userdata?: Uint8Array;
}

/** An element. Sets with intervals over one field hold `key` to `lastKey`, over several fields `key` to `keyEnd` in each field; all inclusive. */
export interface NftElementState {
  readonly key: Uint8Array;
  /** Concatenated interval sets only (NFTA_SET_ELEM_KEY_END). */
  readonly keyEnd?: Uint8Array;
  /** Plain interval sets only: the kernel holds `key`, and where one is possible an end mark at `lastKey` + 1. */
  readonly lastKey?: Uint8Array;
  readonly data?: Uint8Array;
  readonly verdict?: NftVerdictState;
  readonly timeoutMs?: bigint;
  readonly userdata?: Uint8Array;
  /** What met the element so far, in sets with counters; absent for none. Never sent. */
  readonly packets?: bigint;
}

/** enum nft_set_flags */
export const setFlag = {
  anonymous: 0x1,
  constant: 0x2,
  interval: 0x4,
  map: 0x8,
  timeout: 0x10,
  evaluate: 0x20,
  concatenation: 0x80,
} as const;

/** enum nft_data_types: NFT_DATA_VERDICT. */
export const verdictDataType = 0xffffff00;
