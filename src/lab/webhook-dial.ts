// How the lab's API server reaches admission webhooks: Services and addresses of the lab as a node reaches them, where there are packets.

import type { Socket } from "node:net";
import { parseAddress, type Address } from "../ip/address.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import type { Service } from "../kube/kinds.ts";
import type { DialWebhook } from "./api/admission/webhook-client.ts";
import type { ObjectApi } from "./api/api.ts";
import { dial, dialProblem } from "./apiserver/streams/dial.ts";

/** Dials from the namespace of any node that runs. */
export function webhookDial(options: {
  readonly api: () => Pick<ObjectApi, "get">;
  readonly from: () => NetworkNamespace | undefined;
}): DialWebhook {
  return async ({ service, host, port, timeoutMs }): Promise<Socket> => {
    const address = service === undefined ? addressOf(options.api(), host) : clusterAddress(options.api(), service);
    const from = options.from();
    if (from === undefined) throw new Error("no node of the lab runs");
    try {
      return await dial(from, { address, port, timeoutMs });
    } catch (error) {
      throw new Error(`dial tcp ${address.includes(":") ? `[${address}]` : address}:${port}: ${dialProblem(error)}`, {
        cause: error,
      });
    }
  };
}

/** An address, or a Service by its name in the cluster. */
function addressOf(api: Pick<ObjectApi, "get">, host: string): Address {
  const address = parseAddress(host === "localhost" ? "127.0.0.1" : host);
  if (address !== undefined) return address;
  const [name = "", namespace = "", word] = host.split(".");
  if (word === "svc") return clusterAddress(api, { namespace, name });
  throw new Error(`dial tcp: lookup ${host}: no such host`);
}

function clusterAddress(
  api: Pick<ObjectApi, "get">,
  place: { readonly namespace: string; readonly name: string },
): Address {
  const { namespace, name } = place;
  const service = api.get({ group: "", resource: "services", namespace, name }) as Service | undefined;
  if (service === undefined) throw new Error(`service ${JSON.stringify(name)} not found`);
  const address = parseAddress(service.spec.clusterIP ?? "");
  if (address === undefined) throw new Error(`service ${JSON.stringify(name)} has no cluster address`);
  return address;
}
