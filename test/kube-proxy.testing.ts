// The configuration of the real kube-proxy, where a test or a benchmark runs it on a node of its own.

export interface KubeProxySettings {
  readonly mode: "nftables" | "iptables";
  readonly kubeconfig: string;
  readonly node: string;
  readonly clusterCidr: string;
  /** Asks for JSON: a server of ours has nothing else. */
  readonly json?: boolean;
}

/** What `kube-proxy --config` reads. Limits of connection tracking are the whole machine's and stay as they are. */
export function kubeProxyConfiguration({
  mode,
  kubeconfig,
  node,
  clusterCidr,
  json = false,
}: KubeProxySettings): string {
  const types = json ? { acceptContentTypes: "application/json", contentType: "application/json" } : {};
  return JSON.stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode,
    clusterCIDR: clusterCidr,
    hostnameOverride: node,
    clientConnection: { kubeconfig, ...types },
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  });
}
