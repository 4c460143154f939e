// Package policyovs compiles a [policy.Program] into flows of Open vSwitch that
// enforce it at the ports of one bridge.
//
// Stages (tables, given by a [Layout]):
//
//	spoofguard     a port uses its own MAC and IP addresses, in ARP and ND too
//	egress-ct      IP -> ct in the zone of the source port; ARP, ND -> l2
//	egress-rules   rules at the source port -> ct(commit) -> l2
//	ingress-ct     IP -> ct in the zone of the destination port; ARP, ND -> output
//	ingress-rules  rules at the destination port -> ct(commit) -> output
//
// Packets come with the key of the source port in register Source (0: from a
// tunnel, already checked on its way out), that of the destination port in Dest,
// and in Zone the ct zone of the port that is about to decide. A packet whose
// key is none of the ports given is dropped in either -ct stage.
//
//	flows, err := policyovs.Flows(program, ports, policyovs.DefaultLayout())
//	err = bridge.Set("policy", flows, nil) // a *ovs.Bridge
//	report, err := bridge.Sync(ctx)
//
// # Established connections
//
// Packets in the direction of the first are matched with the rules each time,
// so that a new drop ends what is established. Replies (+est+rpl) and related
// ICMP errors (+rel) pass without: what only replies keep alive, such as a
// stream of datagrams, goes on until the connection's zone is flushed. Invalid
// packets are dropped.
//
// # Flows of a rule
//
// A rule is the product of ports, addresses and services. Where that is more
// than their sum, it becomes a conjunctive match with an id that derives from
// the rule's. Port ranges become the fewest masked matches, and addresses the
// fewest prefixes. Rules have a priority of their own, but for peers (one positive
// [policy.Order.Rule] in consecutive rules of sections with one sequence number
// that do the same): they share it, so that one more of them changes
// nothing else. Each category has a band of priorities.
//
// The cookie of a rule's flows names the rule (see [Layout.RuleCookie]): the sum
// of the counters in a table are its hits at that end. Clauses of conjunctions
// have a cookie of their own and count nothing.
//
// Reject is compiled to a drop: the sender is not told. Logged is not acted upon.
//
// Flows is pure; it may be called concurrently. Equal input, in any order of
// ports, gives equal flows.
//
// All faults of the input are reported at once, each naming the port or rule
// and wrapping [ErrInvalid]; a program with more priorities than a band has is
// [ErrTooMany].
package policyovs
