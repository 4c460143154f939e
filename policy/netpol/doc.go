// Package netpol turns the policies of Kubernetes into groups and sections of
// package policy: NetworkPolicies of networking.k8s.io/v1, ClusterNetworkPolicies of
// policy.networking.k8s.io/v1alpha2, and what holds where there are none.
//
//	groups, sections, err := netpol.Compile(np, netpol.Config{IDPrefix: "c1-", Tags: owned})
//	groups, sections, err = netpol.CompileCluster(cnp, cfg)
//	groups, sections, err = netpol.CompileNode(node, cfg)
//	groups, sections, err = netpol.CompileNamespaceBaseline(netpol.AllowNamespace, "shop", cfg)
//
// A [Compiler] does as Compile and PodMember do, for many objects in less time.
//
// The first section that matches decides, in each direction:
//
//	Infrastructure          a node to its own pods   CompileNode
//	Environment             tier Admin               CompileCluster
//	Application, allow      NetworkPolicies allow    Compile (and a pod to its own node)
//	Application, isolation  and drop the rest
//	Baseline                tier Baseline            CompileCluster
//	Baseline, last          a Baseline               CompileBaseline, CompileNamespaceBaseline
//	                        the Engine's default     Kubernetes has Allow
//
// # Members
//
// Pods are members with their labels for tags (scope is the key), their
// namespace's labels for namespace tags, and port names for named ports; nodes are
// members of kind [NodeKind]. [PodMember] and [NodeMember] make them; a caller that has
// them from elsewhere gives a pod a tag of [Config.NodeScope], and a node
// ClusterTags among its tags. A pod on its node's network is no member: no
// policy selects it, as its own or as a peer, and its traffic is the node's.
//
// # NetworkPolicy
//
// A policy becomes a group for its podSelector, a group for each peer that
// selects otherwise, and up to two sections of one category:
//
//	<id>            sequence AllowPriority      what the policy allows
//	<id>-isolation  sequence IsolationPriority  drop the rest, in each direction of policyTypes
//
// All allow sections come before all isolation sections, so that the union of
// policies is allowed, and each drop names a policy that caused it.
//
// An empty podSelector selects all pods of the namespace, an empty
// namespaceSelector all namespaces of the cluster. A missing or empty list of
// rules allows nothing; a missing or empty from, to or ports of a rule is any. Missing
// policyTypes are Ingress, and Egress if there are egress rules. A port
// without protocol is TCP; without port, all of the protocol. A named port is what
// the pod at the receiving end calls so.
//
// # ClusterNetworkPolicy
//
// A policy becomes one section, with a group for its subject and for each peer
// that is no network. Lower priorities come first, ties by id, and the rules of a
// policy in their order. Accept is final for its direction, Deny for both. Pass goes
// on with the next tier; after Baseline comes the Engine's default. domainNames are not
// supported, and fail closed: see [UnsupportedError].
//
// # Hairpins
//
// "A pod cannot block access to itself" (Kubernetes, Network Policies). Of a service
// whose endpoints are pods A and B, both isolated (the cases of network-policy-api
// issue 343):
//
//	1  A to its own address        passes
//	2  A to the service, to A      passes
//	3  A to the service, to B      as from A to B without a service: here it is dropped
//	4  masquerading                rules see A's own address, and B's address and port
//
// What a pod sends to itself passes no port: [policy.Evaluator] allows it; policynft
// lets it be; before policyovs, who balances services turns it around, as lb/lbovs does.
// So no ClusterNetworkPolicy is about it either. There their documentation differs: they are to
// hold in case 2 (network-policy-api PR 390; PR 405, not merged yet, exempts some
// implementations). To deny it would protect nothing, as case 1 is open to the pod.
//
// A new policy does not end connections of case 1 and 2. Those of case 3 are treated as
// [policy.Established] says.
//
// # Equal selectors
//
// Criteria are in one form: selectors that ask for the same terms of the same
// subject give equal values, in whatever order they are written.
//
// # Concurrency and errors
//
// All functions are pure and do not change their arguments; what they return shares
// Config.Tags. All faults of an object are reported at once with the path of the field,
// as the API server writes them, wrapping [policy.ErrInvalid]; nothing is returned
// with such an error, so that a caller keeps the last good version.
package netpol
