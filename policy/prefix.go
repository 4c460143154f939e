package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Aggregate returns the same addresses in the fewest prefixes, sorted: what is
// contained in another is dropped, and two halves become one.
func Aggregate(list []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, len(list))
	for i, p := range list {
		sorted[i] = p.Masked()
	}
	slices.SortFunc(sorted, comparePrefix)
	out := sorted[:0]
	for _, p := range sorted {
		if n := len(out); n > 0 && out[n-1].Bits() <= p.Bits() && out[n-1].Contains(p.Addr()) {
			continue
		}
		out = append(out, p)
		for len(out) > 1 {
			a, b := out[len(out)-2], out[len(out)-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().Is4() != b.Addr().Is4() || !parent(a).Contains(b.Addr()) {
				break
			}
			out = append(out[:len(out)-2], parent(a))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func parent(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
}

// Subtract returns the addresses of from that are not in remove, in the
// fewest prefixes, sorted.
func Subtract(from, remove []netip.Prefix) []netip.Prefix {
	remove = Aggregate(remove)
	var out []netip.Prefix
	for _, p := range Aggregate(from) {
		out = subtract(out, p, remove)
	}
	return Aggregate(out)
}

func subtract(out []netip.Prefix, p netip.Prefix, remove []netip.Prefix) []netip.Prefix {
	var inside []netip.Prefix
	for _, r := range remove {
		if r.Bits() <= p.Bits() && r.Contains(p.Addr()) {
			return out
		}
		if p.Contains(r.Addr()) {
			inside = append(inside, r)
		}
	}
	if len(inside) == 0 {
		return append(out, p)
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	out = subtract(out, low, inside)
	return subtract(out, netip.PrefixFrom(lastOf(p), p.Bits()+1).Masked(), inside)
}

// lastOf returns the address in the upper half of p that has the half's first bit set.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Everything is all addresses of both families.
func Everything() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// containsAddr looks an address up in sorted prefixes without overlap.
func containsAddr(list []netip.Prefix, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(list, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && list[i-1].Contains(a)
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
