// What the nodes say about their health and about that of Services, over HTTP.

import { request } from "node:http";
import { Socket } from "node:net";

import { familyOf } from "../../../src/ip/address.ts";
import { tcpSocketFd } from "../../../src/kernel/sockets.ts";
import type { OneService } from "./random.testing.ts";
import { nodeAddresses, type Place, type World } from "./world.testing.ts";

interface Question {
  readonly place: Place;
  readonly address: string;
  readonly port: number;
  readonly path: string;
}

/** Health checks' answers that differ. */
export async function compareHealth(
  worlds: readonly World[],
  services: readonly OneService[],
  before: readonly OneService[],
): Promise<{ readonly asked: number; readonly differences: readonly string[] }> {
  const ports = new Set(
    [...services, ...before]
      .filter(
        (one) => !services.some((now) => now.service.metadata.name === one.service.metadata.name && hasOthers(now)),
      )
      .flatMap(({ service }) => service.spec.healthCheckNodePort ?? []),
  );
  const questions: Question[] = [];
  for (const port of ports)
    for (const [place, address] of [
      ...nodeAddresses.map((each) => ["outside", each] as const),
      ["node", "127.0.0.1"],
      ["node", "10.244.1.1"],
    ] as const)
      questions.push({ place, address, port, path: "/" });
  for (const path of ["/healthz", "/livez", "/other"]) {
    for (const address of nodeAddresses) questions.push({ place: "outside", address, port: 10_256, path });
    questions.push({ place: "node", address: "127.0.0.1", port: 10_249, path });
  }
  questions.push({ place: "node", address: "127.0.0.1", port: 10_249, path: "/proxyMode" });
  const differences: string[] = [];
  await Promise.all(
    questions.map(async (question) => {
      const [a = "", b = ""] = await Promise.all(worlds.map((world) => answerOf(world, question)));
      const { place, address, port, path } = question;
      if (a !== b)
        differences.push(`${place} gets http ${address} ${port}${path}:\n  kube-proxy: ${a}\n  fairlead:   ${b}`);
    }),
  );
  return { asked: questions.length, differences };
}

/** Has a slice a port that the Service does not have (any more)? kube-proxy counts its endpoints, though nothing leads to them. */
function hasOthers({ service, slices }: OneService): boolean {
  const names = new Set(service.spec.ports?.map(({ name, protocol }) => `${name} ${protocol}`));
  const all = slices as readonly { readonly ports?: readonly { readonly name: string; readonly protocol: string }[] }[];
  return all.some(({ ports = [] }) => ports.some(({ name, protocol }) => !names.has(`${name} ${protocol}`)));
}

function answerOf(world: World, { place, address, port, path }: Question): Promise<string> {
  return new Promise((resolve) => {
    const asking = request(
      {
        host: address,
        port,
        path,
        timeout: 2000,
        createConnection() {
          const socket = new Socket({ fd: tcpSocketFd(world.namespaceOf(place), familyOf(address)) });
          return socket.connect({ host: address, port });
        },
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => {
          const sorted = Object.entries(response.headers)
            .filter(([name]) => !ofTheServer.has(name))
            .sort(([x], [y]) => (x < y ? -1 : 1));
          resolve(`${response.statusCode} ${JSON.stringify(sorted)} ${plain(text)}`);
        });
      },
    );
    asking.on("timeout", () => asking.destroy(new Error("silence")));
    asking.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asking.end();
  });
}

/** Headers that are between client and server alone. */
const ofTheServer = new Set(["date", "connection", "keep-alive", "content-length"]);

/** Without times; JSON without its layout. */
function plain(text: string): string {
  const withoutTimes = text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)/g, "TIME");
  try {
    return JSON.stringify(JSON.parse(withoutTimes));
  } catch {
    return withoutTimes;
  }
}
