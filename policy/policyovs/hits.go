package policyovs

import (
	"cmp"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/policy"
)

// Hits are the packets that met a rule at the ports of a bridge.
type Hits struct {
	Direction policy.Direction `json:"direction"`
	// Section and Rule are empty for packets that met none.
	Section string        `json:"section,omitempty"`
	Rule    string        `json:"rule,omitempty"`
	Name    string        `json:"display_name,omitempty"`
	Action  policy.Action `json:"action"`
	Packets uint64        `json:"packets"`
	Bytes   uint64        `json:"bytes"`
}

// Counters adds up the counters of flows by rule: all packets in the direction
// of a connection's first that the rule decided about. Replies count for none.
// Rules come in the order of the program, those of each direction followed by
// what met none.
//
// Counters begin with the flow: where a change gives a rule another priority,
// from zero. Two rules whose cookies are equal by chance (one pair in 2^32) are
// counted together, as the first of them.
func Counters(p *policy.Program, l Layout, stats []openflow.FlowStat) []Hits {
	type key struct {
		dir    policy.Direction
		cookie uint64
	}
	at := map[key]int{}
	var out []Hits
	for _, dir := range []policy.Direction{policy.Egress, policy.Ingress} {
		for i := range p.Rules {
			r := &p.Rules[i]
			k := key{dir, l.RuleCookie(*r)}
			if _, ok := at[k]; !ok && r.Direction == dir {
				at[k] = len(out)
				out = append(out, Hits{Direction: dir, Section: r.Section, Rule: r.Rule, Name: cmp.Or(r.Name, r.Section), Action: r.Action})
			}
		}
		at[key{dir, 0}] = len(out)
		out = append(out, Hits{Direction: dir, Action: p.Default})
	}
	for _, s := range stats {
		k := key{cookie: s.Flow.Cookie}
		switch s.Flow.Table {
		case l.EgressRules:
			k.dir = policy.Egress
		case l.IngressRules:
			k.dir = policy.Ingress
		}
		if ovs.CookieOwner(k.cookie) == l.Owner && ovs.CookieFeature(k.cookie) == l.Feature+FeatureStage && s.Flow.Priority == prioDefault {
			k.cookie = 0
		}
		if i, ok := at[k]; ok {
			out[i].Packets += s.Packets
			out[i].Bytes += s.Bytes
		}
	}
	return slices.Clip(out)
}
