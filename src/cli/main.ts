// The command line: what `fairlead` can be told. Every command is one module, loaded when it is asked for, so that starting stays quick.
//
// Not here: what the commands do (one file each beside this one).

import { Command, Option } from "commander";
import process from "node:process";
import { fail } from "./report.ts";

const program = new Command("fairlead")
  .description("A whole Kubernetes cluster network on this machine, and an explanation of every packet.")
  .version("0.1.0")
  .showHelpAfterError("(try: fairlead --help)")
  .addHelpText(
    "after",
    `
Examples:
  fairlead up -f examples/shop                          three nodes, the shop, checked by real packets
  fairlead get pods -A -o wide
  fairlead exec -n production deploy/frontend -- curl -s http://api-server/hostname
  fairlead trace production/frontend http://api-server  where the packet goes, and whose object decided
  fairlead show services node-1                         what is programmed, and why
  fairlead down

State lives in ~/.fairlead (FAIRLEAD_HOME names another folder). Nothing on the host's network is touched.`,
  );

const nameOption = (): Option => new Option("--name <lab>", "which lab").default("default").env("FAIRLEAD_NAME");
const outputOption = (choices: readonly string[]): Option =>
  new Option("-o, --output <format>", "how to print").choices(choices);
/** One path each time it is given: what follows is an argument. */
const manifestsOption = (what: string): Option =>
  new Option("-f, --filename <path>", `${what}; may be given several times`).argParser(
    (path: string, before: readonly string[] | undefined) => [...(before ?? []), path],
  );

program
  .command("up")
  .description(
    "start the lab, or bring more manifests to the one that runs; returns when everything is ready and checked",
  )
  .option("-f, --filename <path...>", "manifests: files or folders", [])
  .option("--nodes <n>", "how many nodes (default: 3)")
  .addOption(nameOption())
  .option("--ip-families <list>", "ipv4, ipv6 or both (default: ipv4,ipv6)")
  .option("--pod-cidr <list>", "range or ranges of pods, one per family")
  .option("--service-cidr <list>", "range or ranges of Services, one per family")
  .option("--node-cidr <list>", "range or ranges of nodes, one per family")
  .addOption(
    new Option(
      "--routing <mode>",
      "between nodes: vxlan, native (routes, no tunnel) or mixed (two subnets, a tunnel between them) (default: vxlan)",
    ).choices(["vxlan", "native", "mixed"]),
  )
  .option("--domain <name>", "cluster domain (default: cluster.local)")
  .option("--api-port <port>", "of the API server on 127.0.0.1; the next free one where it is taken", "6443")
  .addOption(
    new Option("--packets <mode>", "off: everything but packets, where namespaces are forbidden")
      .choices(["on", "off", "auto"])
      .default("auto"),
  )
  .addOption(
    new Option(
      "--dns <mode>",
      "who answers DNS: the coredns pods, or node-local: each node for its own pods (default: pods)",
    ).choices(["pods", "node-local"]),
  )
  .addOption(
    new Option("--policy <mode>", "off: NetworkPolicies are stored and not enforced (default: on)").choices([
      "on",
      "off",
    ]),
  )
  .addOption(
    new Option(
      "--policy-connections <mode>",
      "what a changed policy does to connections that began before: keep lets them end by themselves, strict stops them (default: keep)",
    ).choices(["keep", "strict"]),
  )
  .addOption(
    new Option(
      "--policy-log <what>",
      "accepts: connections that policies let through are told in nodes' logs, as drops are (default: drops)",
    ).choices(["drops", "accepts"]),
  )
  .addOption(
    new Option("--controllers <whose>", "none: you bring kube-controller-manager and kube-scheduler")
      .choices(["own", "none"])
      .default("own"),
  )
  .option(
    "--nodeport-addresses <list>",
    "ranges of nodes' addresses that node ports answer at; 127.0.0.0/8 adds each node's own 127.0.0.1 (default: primary)",
  )
  .option("--service-node-port-range <ports>", "where node ports are (default: 30000-32767)")
  .option("--publish <port:service...>", "a port of 127.0.0.1 that leads to a Service: 8080:NAMESPACE/SERVICE[:PORT]")
  .option("--timeout <seconds>", "how long to wait until all is ready", "120")
  .option("--no-wait", "return as soon as the objects are stored")
  .option("--quiet", "print errors only")
  .addHelpText(
    "after",
    `
Examples:
  fairlead up                                  an empty cluster of three nodes
  fairlead up -f examples/shop --nodes 5
  fairlead up -f examples/shop --publish 8080:production/frontend   then http://127.0.0.1:8080/
  fairlead up --name second --ip-families ipv6  another lab beside it, IPv6 only`,
  )
  .action(run(() => import("./up.ts")));

program
  .command("down")
  .description("stop the lab and remove everything of it")
  .addOption(nameOption())
  .option("--keep", "stop it, but keep its objects for the next up")
  .option("--all", "every lab of this user")
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead down\n  fairlead down --keep          the next up goes on with the same objects\n  fairlead down --name second",
  )
  .action(run(() => import("./down.ts")));

program
  .command("status")
  .description("how the lab is: nodes, pods, problems, and what had to be put back")
  .addOption(nameOption())
  .addOption(outputOption(["text", "json"]))
  .addHelpText("after", "\nExamples:\n  fairlead status\n  fairlead status -o json")
  .action(run(() => import("./status.ts")));

program
  .command("apply")
  .description("bring manifests to the running lab; all of them are checked before the first is stored")
  .requiredOption("-f, --filename <path...>", "files or folders; - reads standard input")
  .option("-n, --namespace <name>", "for objects that name none", "default")
  .option("--dry-run", "check only")
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead apply -f shop.yaml\n  fairlead apply -f manifests/ --dry-run\n  cat pod.yaml | fairlead apply -n production -f -",
  )
  .action(run(() => import("./apply.ts")));

program
  .command("delete")
  .description("delete objects by manifest or by name")
  .argument("[resource]", "pod, svc/name …")
  .argument("[names...]")
  .option("-f, --filename <path...>", "files or folders; - reads standard input")
  .option("-n, --namespace <name>", "namespace", "default")
  .option("--now", "without a grace period")
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead delete -f shop.yaml\n  fairlead delete pod postgres-0 -n production --now\n  fairlead delete svc/frontend -n production",
  )
  .action(run(() => import("./delete.ts")));

program
  .command("get")
  .description("list objects")
  .argument("<resource>", "pods, services, deploy/name, all …")
  .argument("[names...]")
  .option("-n, --namespace <name>", "namespace", "default")
  .option("-A, --all-namespaces", "every namespace")
  .option("-l, --selector <labels>", "label selector, such as app=frontend")
  .option("-w, --watch", "go on printing changes")
  .addOption(outputOption(["wide", "json", "yaml", "name"]))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead get pods -A -o wide\n  fairlead get svc -n production\n  fairlead get deploy/frontend -n production -o yaml",
  )
  .action(run(() => import("./get.ts")));

program
  .command("exec")
  .description("run a command in a container, or in a node's network")
  .argument("<pod>", "pod, deploy/name …, node/name")
  .argument("<command...>", "after --")
  .option("-n, --namespace <name>", "namespace", "default")
  .option("-c, --container <name>", "container")
  .option("-i, --stdin", "pass standard input")
  .option("-t, --tty", "with a terminal")
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead exec -n production deploy/frontend -- curl -s http://api-server/hostname\n  fairlead exec -it -n staging debug -- sh\n  fairlead exec node/node-1 -- ip route",
  )
  .action(run(() => import("./exec.ts")));

program
  .command("logs")
  .description("print a container's log")
  .argument("<pod>", "pod, deploy/name …")
  .option("-n, --namespace <name>", "namespace", "default")
  .option("-c, --container <name>", "container")
  .option("-f, --follow", "go on")
  .option("-p, --previous", "of the container before its last restart")
  .option("--tail <lines>", "only the last lines")
  .option("--timestamps", "with times")
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead logs -n production deploy/frontend -f\n  fairlead logs -n production postgres-0 -p --tail 20\n  fairlead logs -n kube-system deploy/coredns",
  )
  .action(run(() => import("./logs.ts")));

program
  .command("node")
  .description("stop, start, add or delete a node")
  .addOption(new Option("--dummy").hideHelp())
  .argument("<action>", "stop, start, add or delete")
  .argument("[node]", "its name, such as node-2")
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead node stop node-2     cut it off: its link goes down, its kubelet stops; after 40 s it is NotReady and its pods leave the Services\n  fairlead node start node-2\n  fairlead node add\n  fairlead node delete node-4",
  )
  .action(run(() => import("./node.ts")));

program
  .command("image")
  .description("give an image name a root folder or a static program, or list what is known")
  .argument("<action>", "list, add or remove")
  .argument("[image]", "such as example.org/app:*")
  .argument("[path]", "root folder or static program")
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .action(run(() => import("./image.ts")));

program
  .command("kubeconfig")
  .description("print the kubeconfig of the lab, for kubectl and other clients")
  .option("--merge", "join it to ~/.kube/config and make it the current context")
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead kubeconfig > lab.kubeconfig\n  fairlead kubeconfig --merge && kubectl get pods",
  )
  .action(run(() => import("./kubeconfig.ts")));

program
  .command("show")
  .description("what is programmed on the nodes, each entry with the object that caused it")
  .argument("<what>", "routes, services, policies, dns, nft, pods, ipam, program or drift")
  .argument("[node]", "one node only")
  .option("--here", "of the agent that runs on this machine (docs/agent.md); unasked where no lab runs")
  .option("--cni-dir <path>", "of that agent, where it is not /run/fairlead/cni")
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead show services node-1\n  fairlead show routes -o json\n  fairlead show policies          what each policy let through and dropped\n  fairlead show drift             what others changed and was put back\n  fairlead show ipam --here       on a node of a real cluster",
  )
  .action(run(() => import("./show.ts")));

const placeOptions: readonly Option[] = [
  new Option("--state-dir <path>", "what outlives the agent: pods' places").default("/var/lib/fairlead"),
  new Option("--cni-dir <path>", "where the CNI plugin finds the agent").default("/run/fairlead/cni"),
  new Option("--cni-bin-dir <path>", "where the runtime looks for plugins").default("/opt/cni/bin"),
  new Option("--cni-conf-dir <path>", "where the runtime looks for network configurations").default("/etc/cni/net.d"),
];

const agentCommand = program
  .command("agent")
  .description("the agent of the Kubernetes node this machine is: pod network, Services and policies, or Services only")
  .argument("[action]", "run, or cleanup: remove what it made from this machine's kernel", "run")
  .option("--kubeconfig <file>", "how to reach the API server (default: $KUBECONFIG, else the pod's service account)")
  .option("--context <name>", "of the kubeconfig (default: the current one)")
  .option("--node <name>", "the Node's name (default: the host's name)")
  .option("--hostname-override <name>", "the same, as kube-proxy calls it")
  .addOption(new Option("--only <part>", "kube-proxy's place, beside any CNI plugin").choices(["services"]))
  .option("--cluster-cidr <list>", "ranges of pods, one per family")
  .option("--service-cidr <list>", "ranges of Services, one per family (default: what ServiceCIDR objects say)")
  .option(
    "--detect-local-mode <mode>",
    "with --only services, how to know this node's pods: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix (default: ClusterCIDR)",
  )
  .option("--pod-bridge-interface <link>", "for BridgeInterface, such as cni0")
  .option("--pod-interface-name-prefix <text>", "for InterfaceNamePrefix, such as cali")
  .option(
    "--nodeport-addresses <list>",
    "ranges of this node's addresses that node ports answer at; 127.0.0.0/8 adds 127.0.0.1, for this node alone (default: primary)",
  )
  .option(
    "--service-node-port-range <ports>",
    "where kube-apiserver has node ports, if it was told: no external address takes them (default: 30000-32767)",
  )
  .option("--healthz-bind-address <address>", "for /healthz and /livez", "0.0.0.0:10256")
  .option("--metrics-bind-address <address>", "for /metrics and /proxyMode", "127.0.0.1:10249")
  .option("--domain <name>", "cluster domain", "cluster.local")
  .addOption(
    new Option("--dns <mode>", "node-local: this node answers its pods' questions for names itself")
      .choices(["pods", "node-local"])
      .default("pods"),
  )
  .option("--dns-conf <file>", "the Corefile of --dns node-local", "/etc/coredns/Corefile")
  .addOption(
    new Option(
      "--routing <mode>",
      "how this node reaches other nodes' pods; written on its Node object (default: what stands there, else vxlan)",
    ).choices(["vxlan", "native", "mixed"]),
  )
  .option(
    "--pod-cidr <list>",
    "this node's pods' ranges, one per family, in a cluster that gives nodes none; written on its Node object",
  )
  .option(
    "--allocate-node-cidrs",
    "take this node's pods' ranges out of --cluster-cidr, in a cluster that gives nodes none; all agents alike",
  )
  .option("--node-cidr-mask-size-ipv4 <bits>", "of each node's IPv4 range", "24")
  .option("--node-cidr-mask-size-ipv6 <bits>", "of each node's IPv6 range", "64");
for (const option of placeOptions) agentCommand.addOption(option);
agentCommand
  .addHelpText(
    "after",
    `
Examples:
  fairlead agent --kubeconfig /etc/kubernetes/fairlead.conf
  fairlead agent --kubeconfig /etc/kubernetes/kube-proxy.conf --only services --cluster-cidr 10.244.0.0/16
  fairlead agent cleanup
docs/agent.md says what each of them does to a node.`,
  )
  .action(run(() => import("./agent.ts")));

const uninstallCommand = program
  .command("uninstall")
  .description(
    "take everything of Fairlead away from the Kubernetes node this machine is; its pods lose their network",
  );
for (const option of placeOptions) uninstallCommand.addOption(option);
uninstallCommand.action(run(() => import("./uninstall.ts")));

program
  .command("trace")
  .description("explain where a packet goes, from name to socket, and which object decided")
  .argument("<from>", "NAMESPACE/POD, deploy name, node/NAME or internet")
  .argument("<to>", "NAMESPACE/SERVICE[:PORT], pod, URL, DNS name, node/NAME:PORT or ADDRESS:PORT")
  .option("-n, --namespace <name>", "of names that say none", "default")
  .addOption(new Option("--protocol <protocol>", "transport").choices(["tcp", "udp", "sctp"]).default("tcp"))
  .option("--full", "every rule and table passed")
  .option("--minimal", "one line, as tests have it")
  .option("--live", "send the real packet too and compare; names of others are asked")
  .addOption(manifestsOption("explain manifests without a lab"))
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead trace production/frontend http://api-server\n  fairlead trace production/frontend production/postgres:5432 --live\n  fairlead trace internet node/node-1:30080\nExit status 1 when the packet does not arrive.",
  )
  .action(run(() => import("./trace.ts")));

program
  .command("policy")
  .description("say in plain words what a NetworkPolicy or ClusterNetworkPolicy does, and to which pods today")
  .argument("<action>", "explain")
  .argument("<policy>", "NAME or NAMESPACE/NAME; cnp/NAME for a ClusterNetworkPolicy")
  .option("-n, --namespace <name>", "of a name that says none", "default")
  .addOption(manifestsOption("explain manifests without a lab"))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead policy explain production/db-security-policy\n  fairlead policy explain deny-all -n production -f manifests/",
  )
  .action(run(() => import("./policy.ts")));

program
  .command("matrix")
  .description("who may reach whom: every kind of pod against every port that pods declare")
  .option("-n, --namespace <name...>", "only pods of these namespaces")
  .option("-f, --filename <path...>", "of manifests, without a lab")
  .addOption(outputOption(["text", "json"]))
  .addOption(nameOption())
  .addHelpText("after", "\nExamples:\n  fairlead matrix -n production\n  fairlead matrix -f manifests/ -o json")
  .action(run(() => import("./matrix.ts")));

program
  .command("test")
  .description("check expectations: who may reach whom, and by which policy")
  .argument("<files...>", "YAML: a list tests of {from, to, protocol, expect: allow|deny, by}")
  .option("-n, --namespace <name>", "of names that say none", "default")
  .addOption(manifestsOption("of manifests, without a lab"))
  .option("--live", "send the real packets too")
  .addOption(outputOption(["tap", "junit"]).default("tap"))
  .addOption(nameOption())
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead test expectations.yaml -f manifests/       in CI: no privileges, no lab\n  fairlead test expectations.yaml --live             real packets in the lab\nExit status 1 when an expectation is not met.",
  )
  .action(run(() => import("./test.ts")));

program
  .command("dns")
  .description(
    "cluster DNS of a real cluster, in CoreDNS's place: reads a Corefile and an API server, runs until told to end",
  )
  .option("--conf <file>", "the Corefile; also as CoreDNS's -conf", "/etc/coredns/Corefile")
  .option("--dns.port <port>", "for server blocks that name none; also as CoreDNS's -dns.port", "53")
  .option(
    "--workers <count>",
    "threads that answer, 25 MB each, or auto: as many as there are processors, at most 4",
    "1",
  )
  .option("--kubeconfig <file>", "how to reach the API server (default: $KUBECONFIG, the pod's own, ~/.kube/config)")
  .option("--context <name>", "of the kubeconfig")
  .addHelpText(
    "after",
    "\nExamples:\n  fairlead dns --conf Corefile --kubeconfig admin.conf --dns.port 1053\n  fairlead dns -conf /etc/coredns/Corefile    in a pod (deploy/)",
  )
  .action(run(() => import("./dns.ts")));

// `fairlead … | head`: the reader has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

// Go's flags have one dash for long names too: manifests written for CoreDNS go on working.
const goFlag = /^-(?=(?:conf|dns\.port)(?:=|$))/;
await program.parseAsync(
  process.argv[2] === "dns" ? process.argv.map((word) => word.replace(goFlag, "--")) : process.argv,
);

interface CommandModule {
  readonly default: (...given: never[]) => Promise<number>;
}

/** Loads the command's module, runs it with commander's arguments, and turns what it throws into words and an exit status. */
function run(load: () => Promise<CommandModule>): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command;
    try {
      const module = await load();
      // commander passes arguments, options and the command itself.
      process.exitCode = await module.default(...(given.slice(0, -1) as never[]));
    } catch (error) {
      process.exitCode = fail(command.name(), error);
    }
  };
}
