// Package policynft enforces a [policy.Program] with nftables at ports that are
// interfaces of one network namespace, which forwards between them.
//
//	f, err := policynft.New(policynft.Config{})
//	err = f.Sync(ctx, program, []policynft.Port{{ID: "web-1", Interface: "veth1"}})
//	err = f.Apply(ctx, change) // elements only, where only address sets differ
//	hits, err := f.Counters(ctx)
//
// # The table
//
// One table of family inet, so of IPv4 and IPv6 alike, belongs to the package as a
// whole; nothing else in nftables is touched.
//
//	chain forward.0      iifname . oifname vmap @to-itself, iifname vmap @egress, oifname vmap @ingress
//	map to-itself        what goes out by the interface it came in by is let be
//	map egress, ingress  interface -> chain, shared by ports with the same rules
//	chain egress-…       rules up to category Environment, then goto egress-app-…
//	chain egress-app-…   rules from category Application on, then the default
//	set group4-…         IPv4 addresses of a group; group6-… those of IPv6
//	counter rule-…       packets and bytes of a rule, at all ports together
//
// Names of maps, chains and sets end in the number of the update that made them. Rules
// have the id of the policy's rule as comment, sets that of the group.
//
// A packet that comes in by the interface of a port has left that port, and is
// subject to its rules of direction OUT; one that goes out by it reaches the port,
// and is subject to its rules of direction IN. A packet at no port is let be,
// and so is one that the namespace sends or receives itself, unless [Config.Host]
// is set. So is one that goes from a port to the same one, as what a pod sends to a
// service that picks that pod.
//
// # Updates
//
// No packet passes that the rules of before and those of after both drop, and none
// is dropped that both let pass, not even while an update is under way.
//
// An address that joins or leaves a group is one element in one set, whatever the number
// of rules that name the group. The kernel does not change all sets of a
// transaction at one instant, so that a packet may meet one set as it was and another as
// it is. Addresses are changed in place only where that makes no difference, in one
// transaction or in two: where all that rules come to do allows more, or all allows less
// (see [Firewall.Apply]).
//
// All else, and what refers to it, is made anew beside what is there, in one transaction;
// a second has the base chains turn to it, which is one instant for each packet;
// a third removes what has no use any more. What is the same stays. A new Firewall that
// finds its table there does so with all of it; counters of rules survive that.
//
// # Connections
//
// An end (the port where a connection leaves, the port where it arrives) that
// allows a connection says so in two bits of its ct mark, see [Config.EgressMark].
// Replies, and ICMP errors about the connection, pass an end that has. Packets in
// the direction of the first are matched with the rules each time:
//
//   - If a rule that is RE_EVALUATE, or the default, drops one, the end's bit is
//     cleared: from then on replies are dropped too, unless a rule allows them.
//     An update clears the bits of the connections that it ends itself, where it
//     knows the addresses of ports ([Port.IPs]). Without, replies do pass until
//     there is a packet in the direction of the first.
//   - If the rule that drops is of a section that is KEEP, and the end has allowed the
//     connection before, the packet passes.
//
// A stateless rule sets no bit: replies need a rule of their own. What connection
// tracking calls invalid is dropped at a port.
//
// Reject answers TCP with a reset and all else with ICMP "administratively
// prohibited". Logged rules send packets to an nflog group, rate-limited, see [Prefix]:
// what is dropped, and of what is allowed the packets before the end's bit is set.
//
// # Concurrency
//
// A Firewall may be used by many goroutines; updates are serialised. Two
// Firewalls must not share a table.
//
// # Errors
//
// All faults of the input are reported at once, each naming the port, rule or set and
// wrapping [ErrInvalid]; then the rules of before are in force. So they are when the kernel
// refuses a transaction. After any error but a fault the next update replaces everything.
package policynft
