package policy

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
)

// A Table is a Program made ready to look packets up at one port: in a time that
// does not depend on how many addresses its sets have. It never changes, and any
// number of goroutines may use it.
type Table struct {
	egress, ingress *lookup
	def             Verdict
}

// Table returns the table of a port.
func (p *Program) Table(port string) *Table {
	return &Table{egress: p.lookup(port, Egress), ingress: p.lookup(port, Ingress), def: Verdict{Action: p.Default}}
}

// Lookup returns what is decided about a packet that leaves (Egress) or reaches
// (Ingress) the port. It does not look at the names of ports in the packet.
func (t *Table) Lookup(d Direction, p *Packet) Verdict {
	l, own, peer := t.egress, p.Src, p.Dst
	if d == Ingress {
		l, own, peer = t.ingress, p.Dst, p.Src
	}
	i := l.first(own, peer, p)
	if i < 0 {
		return t.def
	}
	return l.verdicts[i]
}

// A lookup is the rules of one direction. A set of rules is a row of bits,
// one for each rule in order. What a packet matches is what all of the rows
// of its own address, its peer's and its service have in common.
type lookup struct {
	rules    []ProgramRule
	verdicts []Verdict
	width    int // words of a row
	// application is the first rule that Pass goes on with.
	application int
	locals      map[netip.Addr][]uint64 // by own address
	elsewhere   []uint64                // for any other
	hosts       hosts                   // by peer, for those that sets have as one address
	nets        []span                  // by peer, for all others
	proto       [256]uint8              // which of services, by protocol
	services    []service               // the first is of all protocols that no rule names
}

// A span is what holds from an address on.
type span struct {
	from netip.Addr
	row  []uint64
}

// A service is what holds for a protocol: rows[i] from port starts[i] on.
type service struct {
	starts []uint16
	rows   [][]uint64
}

// first returns the rule that decides, -1 if none does.
func (l *lookup) first(own, peer netip.Addr, p *Packet) int {
	a, b, c := l.local(own), l.peer(peer), l.service(p)
	from := 0
	for w := 0; w < l.width; w++ {
		x := a[w] & b[w] & c[w]
		if w*64 < from {
			if from >= w*64+64 {
				continue
			}
			x &= ^uint64(0) << (from % 64)
		}
		for ; x != 0; x &= x - 1 {
			i := w*64 + bits.TrailingZeros64(x)
			if i < from || !l.verify(i, p) {
				continue
			}
			if l.verdicts[i].Action != Pass {
				return i
			}
			from = l.application
		}
	}
	return -1
}

func (l *lookup) local(a netip.Addr) []uint64 {
	if len(l.locals) > 0 {
		if row, ok := l.locals[a]; ok {
			return row
		}
	}
	return l.elsewhere
}

func (l *lookup) peer(a netip.Addr) []uint64 {
	if row := l.hosts.row(a); row != nil {
		return row
	}
	i := sort.Search(len(l.nets), func(i int) bool { return l.nets[i].from.Compare(a) > 0 })
	return l.nets[i-1].row
}

func (l *lookup) service(p *Packet) []uint64 {
	s := &l.services[l.proto[p.Proto]]
	lo, hi := 0, len(s.starts)
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) / 2); s.starts[mid] <= p.DstPortNo {
			lo = mid
		} else {
			hi = mid
		}
	}
	return s.rows[lo]
}

// verify looks at what the rows do not tell: ICMP types, codes and families.
func (l *lookup) verify(i int, p *Packet) bool {
	if proto := Protocol(p.Proto); proto != ICMP && proto != ICMPv6 || l.rules[i].Services == nil {
		return true
	}
	return slices.ContainsFunc(l.rules[i].Services, func(s Service) bool { return s.Matches(*p) })
}

// lookup compiles the rules of one direction at a port.
func (p *Program) lookup(port string, d Direction) *lookup {
	l := &lookup{}
	for _, r := range p.Rules {
		if r.Direction == d && (r.AppliedTo == nil || slices.Contains(r.AppliedTo, port)) {
			if r.Order.Category.Rank() < Application.Rank() {
				l.application = len(l.rules) + 1
			}
			l.rules = append(l.rules, r)
			l.verdicts = append(l.verdicts, Verdict{Action: r.Action, Section: r.Section, Rule: r.Rule, Name: r.Name})
		}
	}
	l.width = (len(l.rules) + 63) / 64
	l.compileLocals()
	l.compilePeers(p)
	l.compileServices()
	return l
}

// row returns the rules for which a test holds.
func (l *lookup) row(holds func(*ProgramRule) bool) []uint64 {
	row := make([]uint64, l.width)
	for i := range l.rules {
		if holds(&l.rules[i]) {
			row[i/64] |= 1 << (i % 64)
		}
	}
	return row
}

func (l *lookup) compileLocals() {
	l.locals = map[netip.Addr][]uint64{}
	for _, r := range l.rules {
		for _, p := range r.Local {
			l.locals[p.Addr()] = nil
		}
	}
	for a := range l.locals {
		l.locals[a] = l.row(func(r *ProgramRule) bool { return r.Local == nil || slices.Contains(r.Local, hostPrefix(a)) })
	}
	l.elsewhere = l.row(func(r *ProgramRule) bool { return r.Local == nil })
}

// compilePeers finds, for each address that a set has and for each stretch
// between prefixes, which rules have it as a peer. Addresses with the same
// rules share a row.
func (l *lookup) compilePeers(p *Program) {
	var nets []netip.Prefix
	users := make([][]netip.Prefix, len(l.rules)) // prefixes that are no single address, by rule
	single := map[netip.Addr][]int{}              // rules by address
	for i, r := range l.rules {
		if r.Peers == nil {
			continue
		}
		for _, x := range p.prefixes(r.Peers) {
			if x.IsSingleIP() {
				if list := single[x.Addr()]; len(list) == 0 || list[len(list)-1] != i {
					single[x.Addr()] = append(list, i)
				}
				continue
			}
			nets, users[i] = append(nets, x), append(users[i], x)
		}
		users[i] = Aggregate(users[i])
	}
	l.hosts = newHosts(len(single))
	at := func(a netip.Addr, named []int) []uint64 {
		row := make([]uint64, l.width)
		for i := range l.rules {
			r := &l.rules[i]
			in := r.Peers == nil
			if !in && !(r.Peers.Excluded && p.lacks(r.Peers)) {
				_, is := slices.BinarySearch(named, i)
				in = (is || containsAddr(users[i], a)) != r.Peers.Excluded
			}
			if in {
				row[i/64] |= 1 << (i % 64)
			}
		}
		return row
	}
	for _, from := range boundaries(nets) {
		row := at(from, nil)
		if n := len(l.nets); n == 0 || !slices.Equal(l.nets[n-1].row, row) {
			l.nets = append(l.nets, span{from, row})
		}
	}
	for a, named := range single {
		l.hosts.put(a, at(a, named))
	}
}

// boundaries returns the addresses at which prefixes begin or have ended, in order.
func boundaries(nets []netip.Prefix) []netip.Addr {
	out := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	for _, p := range nets {
		out = append(out, p.Addr())
		if after := lastAddr(p).Next(); after.IsValid() {
			out = append(out, after)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// lastAddr is the last address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// prefixes are all that a set names, whether excluded or not.
func (p *Program) prefixes(s *AddressSet) []netip.Prefix {
	list := slices.Clone(s.Prefixes)
	for _, id := range s.Sets {
		list = append(list, p.Sets[id]...)
	}
	return list
}

// lacks reports whether a set names one that the program lacks.
func (p *Program) lacks(s *AddressSet) bool {
	return slices.ContainsFunc(s.Sets, func(id string) bool { _, ok := p.Sets[id]; return !ok })
}

func (l *lookup) compileServices() {
	starts := map[Protocol][]uint16{}
	for _, r := range l.rules {
		for _, s := range r.Services {
			if s.Protocol == 0 {
				continue
			}
			starts[s.Protocol] = append(starts[s.Protocol], 0)
			for _, x := range s.Ports {
				starts[s.Protocol] = append(starts[s.Protocol], x.From)
				if x.To < 65535 {
					starts[s.Protocol] = append(starts[s.Protocol], x.To+1)
				}
			}
		}
	}
	l.services = []service{l.compileService(0, []uint16{0})}
	for proto, list := range starts {
		slices.Sort(list)
		l.proto[proto] = uint8(len(l.services)) // of 255 at most, as 0 is not among them
		l.services = append(l.services, l.compileService(proto, slices.Compact(list)))
	}
}

// compileService finds the rules for a protocol, by port; ICMP types are left
// to verify.
func (l *lookup) compileService(proto Protocol, starts []uint16) service {
	v := service{starts: starts}
	for _, from := range starts {
		v.rows = append(v.rows, l.row(func(r *ProgramRule) bool {
			return r.Services == nil || slices.ContainsFunc(r.Services, func(s Service) bool {
				return s.Protocol == 0 || s.Protocol == proto &&
					(len(s.Ports) == 0 || slices.ContainsFunc(s.Ports, func(x PortRange) bool { return x.Contains(from) }))
			})
		}))
	}
	return v
}

// A hosts is a row for each of some addresses. Those of IPv4 are in a table
// with open addressing, at most half full, so that most are found at the first
// try. Equal rows are there once.
type hosts struct {
	slots []slot
	shift int
	v6    map[netip.Addr]uint32
	rows  [][]uint64
	known map[string]uint32 // rows by content
}

// A slot is an address and which of the rows it has, from 1; 0 is a free slot.
type slot struct{ addr, row uint32 }

func newHosts(n int) hosts {
	size := bits.Len(uint(2*n + 1))
	return hosts{slots: make([]slot, 1<<size), shift: 32 - size, v6: map[netip.Addr]uint32{}, known: map[string]uint32{}}
}

// at returns the slot of an IPv4 address, or the free one where it belongs.
func (h *hosts) at(addr uint32) *slot {
	for i := addr * 0x9e3779b1 >> h.shift; ; i++ {
		s := &h.slots[int(i)&(len(h.slots)-1)]
		if s.row == 0 || s.addr == addr {
			return s
		}
	}
}

func (h *hosts) put(a netip.Addr, row []uint64) {
	var key []byte
	for _, w := range row {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	n, ok := h.known[string(key)]
	if !ok {
		h.rows = append(h.rows, row)
		n = uint32(len(h.rows))
		h.known[string(key)] = n
	}
	if !a.Is4() {
		h.v6[a] = n
		return
	}
	b := a.As4()
	addr := binary.BigEndian.Uint32(b[:])
	*h.at(addr) = slot{addr, n}
}

// row returns the row of an address, nil if it has none.
func (h *hosts) row(a netip.Addr) []uint64 {
	var n uint32
	if a.Is4() {
		b := a.As4()
		n = h.at(binary.BigEndian.Uint32(b[:])).row
	} else {
		n = h.v6[a]
	}
	if n == 0 {
		return nil
	}
	return h.rows[n-1]
}
