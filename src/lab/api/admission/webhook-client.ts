// Asks an admission webhook: one HTTPS request with an AdmissionReview, within its time (admission/v1; KEP-1333).

import { request as secureRequest } from "node:https";
import { isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** admissionregistration/v1 WebhookClientConfig. */
export interface ClientConfig {
  readonly url?: string;
  readonly service?: {
    readonly namespace: string;
    readonly name: string;
    readonly path?: string;
    readonly port?: number;
  };
  /** PEM in base64. */
  readonly caBundle?: string;
}

/** A connection to where a webhook listens. Rejects with why there is none. */
export type DialWebhook = (to: {
  readonly service?: { readonly namespace: string; readonly name: string };
  /** `NAME.NAMESPACE.svc` of a Service, or a URL's host. */
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
}) => Promise<Socket>;

const answerBytesMax = 4 * 1024 * 1024;

/** Where a webhook is, as messages name it. */
export function urlOf({ url, service }: ClientConfig): URL {
  if (service === undefined) return new URL(url ?? "");
  const { namespace, name, path = "/", port = 443 } = service;
  return new URL(`https://${name}.${namespace}.svc:${port}${path.startsWith("/") ? "" : "/"}${path}`);
}

/** Sends a body and gives the answer as JSON. Rejects with an Error in Go's words. */
export async function postReview(
  config: ClientConfig,
  body: string,
  options: { readonly timeoutMs: number; readonly dial: DialWebhook },
): Promise<unknown> {
  const url = urlOf(config);
  const seconds = Math.ceil(options.timeoutMs / 1000);
  url.searchParams.set("timeout", `${seconds}s`);
  // Go leaves the port out where it says nothing, and keeps it for Services.
  const shown =
    config.service === undefined || url.port !== "" ? url.href : url.href.replace(url.host, `${url.hostname}:443`);
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), options.timeoutMs);
  const timedOut = new Promise<never>((_, reject) =>
    controller.signal.addEventListener("abort", () => reject(new Error("context deadline exceeded"))),
  );
  timedOut.catch(() => undefined);
  try {
    return await Promise.race([exchange(config, url, body, { ...options, signal: controller.signal }), timedOut]);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (error instanceof AnswerError) throw error;
    throw new Error(`failed to call webhook: Post ${JSON.stringify(shown)}: ${why}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

// apimachinery api/errors NewGenericServerResponse
function refusalText(code: number, text: string): string {
  if (code === 404) return "the server could not find the requested resource";
  if (code >= 500)
    return `an error on the server (${JSON.stringify(text.slice(0, 2048).trim())}) has prevented the request from succeeding`;
  return `the server responded with the status code ${code} but did not return more information`;
}

/** The webhook answered, but not what was asked. */
class AnswerError extends Error {}

async function exchange(
  config: ClientConfig,
  url: URL,
  body: string,
  { dial, timeoutMs, signal }: { readonly dial: DialWebhook; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<unknown> {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = Number(url.port === "" ? 443 : url.port);
  const socket = await dial({
    host,
    port,
    timeoutMs,
    ...(config.service === undefined ? {} : { service: config.service }),
  });
  signal.addEventListener("abort", () => socket.destroy());
  const secure = connectTls({
    socket,
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(config.caBundle === undefined || config.caBundle === "" ? {} : { ca: Buffer.from(config.caBundle, "base64") }),
  });
  try {
    return await new Promise((resolve, reject) => {
      secure.once("error", reject);
      const outgoing = secureRequest(url, {
        createConnection: () => secure,
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, */*",
          "content-length": String(Buffer.byteLength(body)),
          "user-agent": "kube-apiserver-admission",
        },
      });
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > answerBytesMax) outgoing.destroy(new Error("the answer is too large"));
          else chunks.push(chunk);
        });
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          const { statusCode = 0 } = response;
          if (statusCode < 200 || statusCode > 206) {
            reject(new AnswerError(`failed to call webhook: ${refusalText(statusCode, text)}`));
            return;
          }
          try {
            resolve(JSON.parse(text));
          } catch (error) {
            reject(
              new AnswerError(`failed to call webhook: couldn't get version/kind; json parse error: ${String(error)}`),
            );
          }
        });
      });
      outgoing.end(body);
    });
  } finally {
    secure.destroy();
    socket.destroy();
  }
}
