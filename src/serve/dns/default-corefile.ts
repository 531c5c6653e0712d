// The Corefile of a cluster whose user has none of his own: what the lab's ConfigMap `kube-system/coredns` begins with, what the chart's has
// (scripts/chart.test.ts holds it to that), and what a server without any Corefile does.

/**
 * kubeadm's, but for two values: pods' names are verified, and answers are gone five seconds after their endpoint instead of thirty.
 * Its text, for a cluster's domain.
 */
export function defaultCorefileText(domain: string): string {
  return `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes ${domain} in-addr.arpa ip6.arpa {
       pods verified
       fallthrough in-addr.arpa ip6.arpa
       ttl 5
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`;
}
