// Package policy is a distributed firewall as a value: ports with tags, groups
// by criteria, sections of rules in categories, and the compiler that turns them
// into what one host has to enforce at its ports.
//
// The model, with JSON field names of the public NSX Policy API:
//
//	Member   a port: tags, tags of its namespace, addresses, named ports
//	Group    members by an [Expr] over tags, by id, and literal prefixes
//	Section  rules in a category with a sequence number and a scope (applied-to)
//	Rule     sources, destinations, services -> ALLOW, DROP, REJECT or pass
//
// An [Engine] takes members, groups and sections as they come and go, in any
// order, and keeps who is in which group and which rules apply at which port.
// [Engine.Program] is what some ports need: an ordered list of rules for one
// direction each, with address sets and named ports resolved; [Engine.View]
// follows it, a [Change] at a time. Equal state gives an equal program,
// whatever the order of arrival.
//
//	e := policy.NewEngine(policy.Config{Default: policy.Allow})
//	err := e.SetMember(policy.Member{ID: "web-1", Tags: []policy.Tag{{Scope: "app", Tag: "web"}}, IPs: ips})
//	err = e.SetGroup(policy.Group{ID: "web", Criteria: policy.TagEquals("app", "web")})
//	err = e.SetSection(policy.Section{ID: "s", Category: policy.Infrastructure, Rules: []policy.Rule{
//		{ID: "no-web-to-web", Sources: []string{"web"}, Destinations: []string{"web"}, Action: policy.Drop}}})
//	p := e.Program([]string{"web-1"})
//	verdict := p.Table("web-1").Lookup(policy.Egress, &packet)
//
// # How it is kept
//
//	member   --has-->      profile   what members have in common: kind, namespace, tags, port names
//	group    --has-->      selector  criteria that groups have in common
//	profile  <--selects--  selector  an edge, found through an index by tag and namespace
//	rule     --applies to--> group   so that a profile has the rules of its groups, in order
//
// A label that changes takes a member from one profile to another; only where
// that is a new one, it is held against the selectors that its tags lead to. The
// cost is that of the groups and rules it enters and leaves, whatever else there is.
//
// The [Evaluator] decides from the objects alone, in the most obvious way: it is
// what all of this is tested against, and what explains a decision.
//
// # Order
//
// Rules are tried by category (Emergency, Infrastructure, Environment,
// Application, Baseline), then sequence number of the section, id of the section,
// sequence number of the rule, place in the section. The first match decides;
// without one, [Config.Default] does, and its zero value drops. A packet is
// checked twice, at the port it leaves (OUT) and at the port it reaches (IN). What a
// port sends to itself passes neither, and is always allowed.
//
// # Groups are addresses
//
// As a source or destination a group is the addresses of its members and its
// literal prefixes, and those of groups nested in it. In a scope it is its members. A rule whose groups are
// all empty matches nothing; only an absent list means any. A group that is not
// known is empty, also where it is excluded; [Engine.Missing] names it.
//
// # Concurrency
//
// An Engine may be used by many goroutines. Values passed in are copied, and
// what comes out belongs to the caller; a Program is never changed by the Engine.
//
// # Errors
//
// Validation reports all faults, each with object and field, wrapping
// [ErrInvalid]. An object that is refused changes nothing.
package policy
