// What others need to check the lab's tokens by themselves: OpenID Connect discovery. OpenID Connect Discovery 1.0, 3 and 4; KEP-1393.

import { keySet } from "./tokens-jwt.ts";
import type { Tokens } from "./tokens.ts";

/**
 * The document at a path; undefined for other paths. Readable for whom ClusterRole system:service-account-issuer-discovery is bound to.
 * @public Loaded when it is needed (access.ts).
 */
export function openIdDocument(
  tokens: Pick<Tokens, "issuer" | "key">,
  path: string,
): { readonly contentType: string; readonly body: string } | undefined {
  switch (path) {
    case "/.well-known/openid-configuration":
      return {
        contentType: "application/json",
        body: JSON.stringify({
          issuer: tokens.issuer,
          jwks_uri: `${tokens.issuer}/openid/v1/jwks`,
          response_types_supported: ["id_token"],
          subject_types_supported: ["public"],
          id_token_signing_alg_values_supported: ["ES256"],
        }),
      };
    case "/openid/v1/jwks":
      return { contentType: "application/jwk-set+json", body: JSON.stringify(keySet(tokens.key)) };
    default:
      return undefined;
  }
}
