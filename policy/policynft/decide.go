package policynft

import (
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/policy"
)

// decide returns the rule that decides about a packet at one end, nil for the
// default. It says what [policy.Program.Eval] does, in less time.
func decide(prog *policy.Program, d policy.Direction, port string, k policy.Packet) *policy.ProgramRule {
	own, peer := k.Src, k.Dst
	if d == policy.Ingress {
		own, peer = k.Dst, k.Src
	}
	from := 0
	for i := range prog.Rules {
		r := &prog.Rules[i]
		if r.Direction != d || r.Order.Category.Rank() < from || r.AppliedTo != nil && !slices.Contains(r.AppliedTo, port) ||
			r.Local != nil && !within(r.Local, own) || r.Peers != nil && !isPeer(prog, r.Peers, peer) ||
			r.Services != nil && !slices.ContainsFunc(r.Services, func(s policy.Service) bool { return s.Matches(k) }) {
			continue
		}
		if r.Action == policy.Pass {
			from = policy.Application.Rank()
			continue
		}
		return r
	}
	return nil
}

func isPeer(prog *policy.Program, s *policy.AddressSet, a netip.Addr) bool {
	in := within(s.Prefixes, a)
	for _, id := range s.Sets {
		set, ok := prog.Sets[id]
		if !ok && s.Excluded {
			return false
		}
		in = in || member(set, a)
	}
	return in != s.Excluded
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// member looks an address up in a sorted list without overlap.
func member(list []netip.Prefix, a netip.Addr) bool {
	i, ok := slices.BinarySearchFunc(list, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return ok || i > 0 && list[i-1].Contains(a)
}

// ends reports whether a connection that an end has allowed is to end, by the rules of now.
func ends(prog *policy.Program, d policy.Direction, port string, first policy.Packet) bool {
	r := decide(prog, d, port, first)
	if r == nil {
		return prog.Default != policy.Allow
	}
	return r.Action != policy.Allow && r.Established == policy.Reevaluate
}
