// Package topologynft translates addresses on the edge of a tier-0 with
// nftables: its NAT rules become one table of their own.
//
//	rules, err := topologynft.Compile(span.NATRules, topologynft.Config{Uplink: "up0"})
//	fmt.Print(rules)                // what will be there, as text
//	err = rules.Apply(ctx)          // one transaction; nothing if it is there
//	have, err := topologynft.List(ctx, cfg)
//
// The table has three chains: "prerouting" translates destinations (DNAT),
// "forward" drops connections that come from outside to a network that hides
// behind SNAT, unless their destination was translated, by this table or by
// another, and "postrouting" translates sources (NO_SNAT first, then SNAT).
// In each, the longest source and destination prefixes come first, so that
// the most specific rule wins. IPv4 and IPv6 live in the same table (family inet).
//
// The table belongs to this package as a whole: Apply replaces what else is in
// it. Connections that are translated already stay as they are.
//
// Concurrency: a Ruleset is immutable. Apply and List open a netlink socket
// each; two Apply at once on one table are serialised by the kernel, the later wins.
//
// Errors name the table and the step; nothing is changed when a transaction
// fails. Invalid rules are [topology.ErrInvalid].
package topologynft
