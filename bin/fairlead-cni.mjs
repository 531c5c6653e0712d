#!/usr/bin/env node
// The CNI plugin where there is no shell: what bin/fairlead-cni does, over the agent's socket and at the price of a Node start.
// One file without imports of ours, as it is copied alone into a runtime's folder of plugins (there it is called fairlead-cni).
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";

const variables = [
  "CNI_COMMAND",
  "CNI_CONTAINERID",
  "CNI_NETNS",
  "CNI_IFNAME",
  "CNI_ARGS",
  "CNI_PATH",
  "CNI_NETNS_OVERRIDE",
];
const directory = process.env.FAIRLEAD_CNI_DIR ?? "/run/fairlead/cni";
const patienceMs = Number(process.env.FAIRLEAD_CNI_TIMEOUT ?? 90) * 1000;
const command = process.env.CNI_COMMAND ?? "";
const cure = "start the agent (fairlead agent, or its DaemonSet on this node)";

if (command === "") fail("", 4, "CNI_COMMAND is not set", "fairlead-cni is a CNI plugin: a container runtime calls it");
else {
  const config = readFileSync(0, "utf8");
  const values = variables.map((name) => `${name}=${process.env[name] ?? ""}\0`);
  const request = `fairlead-cni 1\0${values.join("")}\0${config}`;
  const [state, output] = (await ask(request)).split("\n");
  if (state === "0" || state === "1") {
    if (output) process.stdout.write(`${output}\n`);
    process.exitCode = Number(state);
  } else nobody(request, config);
}

/** The agent's answer; nothing where there is none. */
function ask(request) {
  return new Promise((resolve) => {
    const socket = connect(`${directory}/agent.sock`);
    let answer = "";
    const end = () => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(patienceMs, end);
    socket.setEncoding("utf8");
    socket.on("data", (text) => (answer += text));
    socket.on("end", end);
    socket.on("error", end);
    socket.end(request);
  });
}

function nobody(request, config) {
  if (command === "VERSION") {
    const supportedVersions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    process.stdout.write(`${JSON.stringify({ cniVersion: versionOf(config), supportedVersions })}\n`);
  } else if (command === "DEL") {
    // Best effort is all that DEL promises: the agent does the rest when it is back.
    try {
      mkdirSync(`${directory}/missed`, { recursive: true, mode: 0o700 });
      writeFileSync(`${directory}/missed/${process.pid}-${Date.now()}`, request, { flag: "wx", mode: 0o600 });
    } catch {
      // Without the folder no agent has been here since the machine started, and nothing is left to delete.
    }
  } else if (command === "STATUS") {
    fail(
      config,
      50,
      "the node agent of fairlead does not answer",
      `pods keep the network they have; ${cure} to add new ones`,
    );
  } else {
    fail(
      config,
      11,
      "the node agent of fairlead does not answer",
      `nothing was done: ${cure} and try again; pods that run keep the network they have`,
    );
  }
}

function fail(config, code, msg, details) {
  process.stdout.write(`${JSON.stringify({ cniVersion: versionOf(config), code, msg, details })}\n`);
  process.exitCode = 1;
}

function versionOf(config) {
  return /"cniVersion"\s*:\s*"([0-9.]+)"/.exec(config)?.[1] ?? "1.1.0";
}
