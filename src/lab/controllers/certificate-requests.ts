// What becomes of CertificateSigningRequests: nodes' own are approved, what is approved is signed by the lab's authority, and all of them
// go after a while. Upstream: pkg/controller/certificates (approver, signer, cleaner), in one controller, as they look at the same objects.
//
// Not here: each of the three (certificate-answers.ts), which are loaded when the first request comes.

import { createRequire } from "node:module";
import { hasCondition } from "../../kube/certificate-request.ts";
import type { Authorize } from "../apiserver/hooks.ts";
import type { Issuer } from "../apiserver/tls-certificate.ts";
import { certificateSigningRequests } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

const load = createRequire(import.meta.url);
const answers = (): typeof import("./certificate-answers.ts") =>
  load("./certificate-answers.ts") as typeof import("./certificate-answers.ts");

/** The lab's authority, as a signer of what others ask for. */
export interface RequestAuthority {
  readonly issuer: Issuer;
  /** When its own certificate ends; milliseconds since 1970. */
  readonly notAfter: number;
  /** May who asks for a node's certificate have it? Nobody may before the API server has started. */
  readonly authorize: Authorize;
}

export function certificateController(authority: RequestAuthority): (cluster: Cluster) => Controller {
  return (cluster) => {
    const { objects, clock } = cluster;
    /** How often approval was refused, which may change with a role. */
    const refusals = new Map<string, number>();
    return {
      name: "certificate-controller",
      watches: [
        on(certificateSigningRequests, ({ object, previous }, enqueue) => {
          if (object === undefined) refusals.delete(previous?.metadata.name ?? "");
          else enqueue(object.metadata.name);
        }),
      ],
      reconcile(name, requeue) {
        const object = objects.get(certificateSigningRequests, undefined, name);
        if (object === undefined) return;
        const { approve, endOf, sign } = answers();
        const leftMs = endOf(object) - clock.now();
        if (leftMs <= 0) return objects.delete(certificateSigningRequests, object);
        requeue(leftMs);
        if ((object.status?.certificate ?? "") !== "") return;
        if (hasCondition(object, "Approved")) return sign(cluster, object, authority);
        if (hasCondition(object, "Denied") || approve(cluster, object, authority)) return;
        // client-go's limiter as the certificate controllers have it: 200 ms, doubling up to 1,000 s.
        const count = refusals.get(name) ?? 0;
        refusals.set(name, count + 1);
        requeue(Math.min(200 * 2 ** count, 1_000_000));
      },
    };
  };
}
