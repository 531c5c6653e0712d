// The steps of writes that the controllers rely on, in their order; for createObjectApi, with the Service allocator behind them.

import type { Admission } from "../api/api.ts";
import { defaultIngressClass } from "./ingress-classes.ts";
import { namespaceLabels } from "./namespaces.ts";
import { defaultServiceAccounts } from "./service-accounts.ts";
import { defaultTolerations } from "./taint-eviction.ts";

export const admissions: readonly Admission[] = [
  namespaceLabels,
  defaultServiceAccounts,
  defaultTolerations,
  defaultIngressClass,
];
