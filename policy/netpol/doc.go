// Package netpol turns NetworkPolicies of networking.k8s.io/v1 into groups and
// sections of package policy.
//
// A policy becomes a group for its podSelector, a group for each peer, and up
// to two sections of one category:
//
//	<id>            sequence AllowPriority      what the policy allows
//	<id>-isolation  sequence IsolationPriority  drop the rest, in each direction of policyTypes
//
// All allow sections come before all isolation sections, so that the union of
// policies is allowed, and each drop names a policy that caused it. Pods are
// members with their labels for tags (scope is the key), their namespace's
// labels for namespace tags, and port names for named ports.
//
//	groups, sections, err := netpol.Compile(np, netpol.Config{IDPrefix: "c1-", Tags: owned})
//
// # Empty and missing
//
// An empty podSelector selects all pods of the namespace, an empty
// namespaceSelector all namespaces of the cluster. A missing or empty list of
// rules allows nothing; a missing or empty from, to or ports of a rule is any. Missing
// policyTypes are Ingress, and Egress if there are egress rules. A port
// without protocol is TCP; without port, all of the protocol.
//
// Not part of NetworkPolicy, and so not made here: traffic of a pod with its
// own node, such as probes; it takes a rule before these.
//
// # Concurrency and errors
//
// Compile is pure and does not change its argument. All faults are reported at once
// with the path of the field, as the API server writes them, wrapping
// [policy.ErrInvalid]; nothing is returned with an error.
package netpol
