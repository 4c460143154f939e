// Package policyovs compiles a [policy.Program] into flows of Open vSwitch that
// enforce it at the ports of one bridge.
//
// Stages (tables, given by a [Layout]):
//
//	spoofguard     a port uses its own MAC and IP addresses, in ARP and ND too
//	egress-ct      IP -> ct in the zone of the source port; ARP, ND -> l2
//	egress-sets    replies -> l2; the destination's classes -> registers
//	egress-rules   rules at the source port
//	egress-verdict ct(commit) -> l2; or to the agent, or neither
//	ingress-ct     IP -> ct in the zone of the destination port; ARP, ND -> output
//	ingress-sets   replies -> output; the source's classes -> registers
//	ingress-rules  rules at the destination port
//	ingress-verdict ct(commit) -> output; or to the agent, or neither
//
// Packets come with the key of the source port in register Source (0: from a
// tunnel, already checked on its way out), that of the destination port in Dest,
// and in Zone the ct zone of the port that is about to decide. A packet whose
// key is none of the ports given is dropped in either -ct stage. What a port sends
// to itself by a service has to be turned around before, as lb/lbovs does: here it is
// tried like any other.
//
//	c, err := policyovs.NewCompiler(policyovs.DefaultLayout())
//	delta, err := c.Apply(policy.Diff(nil, program), policyovs.PortChange{Set: ports})
//	err = bridge.Update("policy", delta.Put, delta.Gone) // a *ovs.Bridge
//	report, err := bridge.Sync(ctx)
//
// From then on, each [Compiler.Apply] of a [policy.Change] returns what it
// changes. [Flows] compiles a program at once.
//
// # Updates
//
// A [Delta] belongs in one bundle, as [ovs.Bridge.Sync] sends it: then each end
// decides about a packet by the rules before it or by those after it, never by
// a mixture of both. The two ends of one packet may still differ in that, as
// they do on two hosts; and the datapath goes on by what it has cached of the flows
// before until its next sweep ("ovs-appctl revalidator/purge" makes it forget).
//
// # Established connections
//
// Packets in the direction of the first are matched with the rules each time:
// what a rule of now denies is dropped at once. Replies (+est+rpl) and related
// ICMP errors (+rel) pass without. What is allowed leaves the generation
// of the rules in the connection's ct_mark, see [Layout.Generation]. Where a change may
// deny what was allowed ([Narrows]), the generation changes, and with it which
// replies pass unseen: of the others a copy goes to the [Agent], which asks the
// rules about the first packet of their connection.
//
//   - If they allow it, the connection becomes one of this generation.
//   - If it is denied by a rule of a section that is [policy.Keep], so it does. Such
//     rules pass packets in the direction of the first, too, if the port has
//     allowed the connection before.
//   - Otherwise its entry, and no other, is removed from the port's zone. Replies are then
//     the first packets of a connection of their own.
//
// So what is denied ends for TCP with the first packet of the client, and for what
// only replies keep alive, such as a stream of datagrams, with the first reply
// that the agent looks at; what is still allowed loses no packet.
//
// Packets of a stateless section make no connection: their replies need a rule, and
// if they are not of UDP, a stateless one. For what connection tracking calls invalid
// is dropped, unless a stateless rule allows it.
//
// The switch may use what it has cached of flows for some milliseconds after they changed.
//
// # Packets for the agent
//
// Rejected packets go to the [Agent], which answers them; what is logged, as a
// copy: the first packet of a connection that is allowed, with those that the
// datapath takes in one batch with it; each that is denied or allowed by a
// stateless rule. [Layout.LogDrops] logs all that is denied, also
// where no rule was met. Each kind has a meter ([Layout.Meters]), so that a flood
// does not reach the agent; the switch counts what is above ([MeterExcess]). A rejected
// packet that is above is neither answered nor logged.
//
// # Address sets
//
// A set's addresses have one flow each in a -sets stage, whatever number of
// rules name the set, so that an address that joins or leaves is one flow. The flow
// says which class the address is in: each of the [Layout]'s class registers
// stands for some of the sets, by a hash of their ids, and a class is all
// addresses that are in the same of these. Rules match the classes that their
// sets consist of. They change only when an address is in a combination of
// sets that no other is in, or was the last in one.
//
// Prefixes of a set that are more than one address, a rule's own prefixes and
// sets that a rule excludes are matched in the rules: that one changes is a flow
// for each rule that names it, or several where it is excluded.
//
// # Flows of a rule
//
// A rule is the product of ports, classes and prefixes, and services. Where that
// is more than their sum, it becomes a conjunctive match with an id that derives
// from the rule's. Port ranges become the fewest masked matches. Rules have a
// priority of their own, but for peers (one positive [policy.Order.Rule] in
// consecutive rules of sections with one sequence number that do the same): they
// share it. Each category has a band of priorities, in which there are gaps: a
// rule keeps its priority when others come and go, unless a gap is used up,
// when the nearest neighbours make room.
//
// The cookie of a rule's flows names the rule (see [Layout.RuleCookie]): the sum
// of the counters in a table are its hits at that end, see [Counters]. Clauses
// of conjunctions and addresses of sets have a cookie of their own and count nothing.
//
// A flow holds about 4,000 conjunctions: no more rules of one priority can share
// a match in their clauses. A switch refuses the bundle then, as a whole.
//
// Flows is pure; it may be called concurrently. Equal input, in any order of
// ports, gives equal flows.
//
// All faults of the input are reported at once, each naming the port, rule or set
// and wrapping [ErrInvalid]; a program with more priorities than a band has is
// [ErrTooMany]. With an error nothing changes.
package policyovs
