// Package lbnft balances layer 4 connections with nftables: the frontends of
// package lb become a table of its own, in which the first packet of a
// connection to a virtual address is translated (DNAT) to one of the backends.
// The kernel tracks the connection, routes the packets and translates the
// replies back. It serves an edge, where packets come from outside of the
// cluster, and, with Config.Output, the processes of a node.
//
//	rules, err := lbnft.Compile(table.State(), lbnft.Config{Table: "edge-lb"})
//	fmt.Print(rules)                // what will be there, as text
//	err = rules.Apply(ctx)          // one transaction; nothing if it is there
//	state, err := lbnft.List(ctx, cfg)
//
// A backend is picked at random (numgen random), or, for a frontend with
// affinity, by a hash of the client's address (jhash), which gives a client the
// same backend for as long as the backends stay the same; the affinity's
// timeout does not matter. A frontend without backends resets TCP connections
// and answers other packets with ICMP port unreachable.
//
// The table belongs to this package as a whole: Apply replaces what else is in it.
//
// Concurrency: a Ruleset is immutable. Apply and List open a netlink socket
// each; two Apply at once on one table are serialised by the kernel, the later wins.
//
// Errors name the table and the step; nothing is changed when a transaction fails.
package lbnft
