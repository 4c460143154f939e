package policynft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

// A machine runs the kernel's expressions of a Ruleset on one packet, in the way
// that the kernel documents. It is as slow and plain as can be.
type machine struct {
	r        *Ruleset
	iif, oif string
	packet   policy.Packet
	network  []byte // header
	transit  []byte // transport header
	state    uint32 // of connection tracking
	reply    bool
	mark     uint32
	reg      []byte
	hits     map[string]int // id of a rule -> times
	rejected string
	tear     func() // called before each lookup of an address
}

// Outcomes of rules and chains.
type outcome struct {
	kind  expr.VerdictKind
	chain string
}

const (
	next   expr.VerdictKind = 100 // the next rule
	break_                  = next + 1
)

func newMachine(r *Ruleset, k policy.Packet, iif, oif string) *machine {
	m := &machine{r: r, iif: iif, oif: oif, packet: k, state: expr.CtStateBitNEW, hits: map[string]int{}}
	size, src, dst := 20, 12, 16
	if !k.Src.Is4() {
		size, src, dst = 40, 8, 24
	}
	m.network, m.transit = make([]byte, size), make([]byte, 8)
	copy(m.network[src:], k.Src.AsSlice())
	copy(m.network[dst:], k.Dst.AsSlice())
	switch p := policy.Protocol(k.Proto); {
	case p.HasPorts():
		binary.BigEndian.PutUint16(m.transit, k.SrcPortNo)
		binary.BigEndian.PutUint16(m.transit[2:], k.DstPortNo)
	case p == policy.ICMP || p == policy.ICMPv6:
		m.transit[0], m.transit[1] = k.ICMPType, k.ICMPCode
	}
	return m
}

// run passes the packet through the chain at hook forward; false is that it is dropped.
func (m *machine) run() bool {
	out := m.rules(m.r.base()["forward"])
	return out.kind == next || out.kind == expr.VerdictAccept || out.kind == expr.VerdictReturn
}

// rules runs lines in order. A chain that ends says next.
func (m *machine) rules(lines []line) outcome {
	for _, l := range lines {
		out := m.exprs(l.exprs(func(s string) string { return s }))
		switch out.kind {
		case next, break_:
			continue
		case expr.VerdictJump:
			if inner := m.chain(out.chain); inner.kind != next && inner.kind != expr.VerdictReturn {
				return inner
			}
			continue
		case expr.VerdictGoto:
			return m.chain(out.chain)
		}
		return out
	}
	return outcome{kind: next}
}

func (m *machine) chain(name string) outcome {
	lines, ok := m.r.chains[name]
	if !ok {
		panic("no chain " + name)
	}
	out := m.rules(lines)
	if out.kind == expr.VerdictReturn {
		return outcome{kind: next}
	}
	return out
}

func (m *machine) exprs(list []expr.Any) outcome {
	for _, e := range list {
		if out := m.expr(e); out.kind != next {
			return out
		}
	}
	return outcome{kind: next}
}

func (m *machine) expr(e expr.Any) outcome {
	on := func(ok bool) outcome {
		if ok {
			return outcome{kind: next}
		}
		return outcome{kind: break_}
	}
	switch e := e.(type) {
	case *expr.Meta:
		if e.Register == 1 {
			m.reg = nil
		}
		m.reg = append(m.reg, m.meta(e.Key)...)
	case *expr.Payload:
		from := m.network
		if e.Base == expr.PayloadBaseTransportHeader {
			from = m.transit
		}
		m.reg = slices.Clone(from[e.Offset : e.Offset+e.Len])
	case *expr.Ct:
		if e.SourceRegister {
			m.mark = binary.NativeEndian.Uint32(m.reg)
			break
		}
		switch e.Key {
		case expr.CtKeySTATE:
			m.reg = native(m.state)
		case expr.CtKeyMARK:
			m.reg = native(m.mark)
		case expr.CtKeyDIRECTION:
			m.reg = []byte{0}
			if m.reply {
				m.reg[0] = 1
			}
		default:
			panic(fmt.Sprintf("ct %d", e.Key))
		}
	case *expr.Bitwise:
		for i := range m.reg {
			m.reg[i] = m.reg[i]&e.Mask[i] ^ e.Xor[i]
		}
	case *expr.Cmp:
		return on(bytes.Equal(m.reg, e.Data) == (e.Op == expr.CmpOpEq))
	case *expr.Range:
		return on(bytes.Compare(m.reg, e.FromData) >= 0 && bytes.Compare(m.reg, e.ToData) <= 0)
	case *expr.Lookup:
		if e.IsDestRegSet {
			return m.lookUp(e.SetName)
		}
		if m.tear != nil {
			m.tear()
		}
		return on(inIntervals(m.r.sets[e.SetName], m.reg) != e.Invert)
	case *expr.Objref:
		m.hits[m.r.counters[e.Name]]++
	case *expr.Limit, *expr.Log:
	case *expr.Verdict:
		return outcome{e.Kind, e.Chain}
	case *expr.Reject:
		m.rejected = "icmp"
		if e.Type == unix.NFT_REJECT_TCP_RST {
			m.rejected = "reset"
		}
		return outcome{kind: expr.VerdictDrop}
	default:
		panic(fmt.Sprintf("%T", e))
	}
	return outcome{kind: next}
}

// lookUp does what a map has for the interface in the register; if there are two, they
// have to be one.
func (m *machine) lookUp(name string) outcome {
	key, second := m.reg[:unix.IFNAMSIZ], m.reg[unix.IFNAMSIZ:]
	chain, ok := m.r.maps[name][string(bytes.TrimRight(key, "\x00"))]
	switch {
	case !ok, len(second) > 0 && !bytes.Equal(key, second):
		return outcome{kind: break_}
	case chain == "":
		return outcome{kind: expr.VerdictReturn}
	}
	return outcome{expr.VerdictJump, chain}
}

func (m *machine) meta(key expr.MetaKey) []byte {
	name := func(s string) []byte { return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...) }
	switch key {
	case expr.MetaKeyIIFNAME:
		return name(m.iif)
	case expr.MetaKeyOIFNAME:
		return name(m.oif)
	case expr.MetaKeyL4PROTO:
		return []byte{m.packet.Proto}
	case expr.MetaKeyNFPROTO:
		if m.packet.Src.Is4() {
			return []byte{2}
		}
		return []byte{10}
	}
	panic(fmt.Sprintf("meta %d", key))
}

// inIntervals looks a key up in a set in the way of the kernel: the last element that is
// not above it begins an interval.
func inIntervals(s set, key []byte) bool {
	list := prefixElements(s.prefixes)
	if s.family == anyFamily {
		list = portElements(s.ports)
	}
	slices.SortStableFunc(list, func(a, b nftables.SetElement) int { // at one key, an end comes before a start
		if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
			return c
		}
		if a.IntervalEnd {
			return -1
		}
		return 1
	})
	in := false
	for _, e := range list {
		if bytes.Compare(e.Key, key) <= 0 {
			in = !e.IntervalEnd
		}
	}
	return in
}

// testPorts gives the local members of a world interfaces.
func testPorts(ids []string) []Port {
	var out []Port
	for _, id := range ids {
		out = append(out, Port{ID: id, Interface: "if-" + id})
	}
	return out
}

// The expressions decide as the program does, for every random packet, and count it
// for the rule.
func TestExpressionsProperty(t *testing.T) {
	seen := map[policy.Action]int{}
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		prog, ports := e.Program(w.Local), testPorts(w.Local)
		r, err := Compile(prog, ports, Config{})
		require.NoError(t, err, "seed %d", seed)
		rnd.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
		again, err := Compile(prog, ports, Config{})
		require.NoError(t, err)
		require.Equal(t, r.String(), again.String(), "seed %d: order of ports", seed)
		for range 100 {
			k := w.Packet(rnd)
			if rnd.IntN(20) == 0 {
				k.DstPort, k.Dst = k.SrcPort, k.Src
			}
			if !slices.Contains(w.Local, k.SrcPort) {
				k.SrcPort = ""
			}
			if !slices.Contains(w.Local, k.DstPort) {
				k.DstPort = ""
			}
			want := prog.Eval(k)
			m := newMachine(r, k, "if-"+k.SrcPort, "if-"+k.DstPort)
			require.Equal(t, want.Allowed(), m.run(), "seed %d: %+v: %s\n%s", seed, k, want.Why, r)
			checkPacket(t, m, k, want, seed, prog)
			checkDecide(t, k, want, seed, prog)
			seen[want.Verdict]++
		}
	}
	require.Len(t, seen, 3, "%v", seen)
}

// checkPacket checks what the packet did besides being let through.
func checkPacket(t *testing.T, m *machine, k policy.Packet, want policy.Decision, seed uint64, prog *policy.Program) {
	t.Helper()
	rejected := map[bool]string{true: "reset", false: "icmp"}[policy.Protocol(k.Proto) == policy.TCP]
	if want.Verdict != policy.Reject {
		rejected = ""
	}
	require.Equal(t, rejected, m.rejected, "seed %d: %+v", seed, k)
	marks := uint32(0)
	for _, end := range []struct {
		v      *policy.Verdict
		bit    uint32
		none   string
		suffix policy.Direction
	}{{want.Egress, DefaultEgressMark, DefaultOut, policy.Egress}, {want.Ingress, DefaultIngressMark, DefaultIn, policy.Ingress}} {
		if end.v == nil {
			continue
		}
		if end.v.Action == policy.Allow {
			marks |= end.bit
		}
		hits := 0
		for _, r := range prog.Rules {
			if r.Section == end.v.Section && r.Rule == end.v.Rule && r.Direction == end.suffix {
				hits += m.hits[r.ID]
			}
		}
		if end.v.Section == "" {
			hits = m.hits[end.none]
		}
		require.Equal(t, 1, hits, "seed %d: %+v: %v", seed, k, m.hits)
	}
	require.Equal(t, marks, m.mark, "seed %d: %+v", seed, k)
}

// checkDecide checks that an update would decide so about an established connection.
func checkDecide(t *testing.T, k policy.Packet, want policy.Decision, seed uint64, prog *policy.Program) {
	t.Helper()
	for _, end := range []struct {
		v    *policy.Verdict
		d    policy.Direction
		port string
	}{{want.Egress, policy.Egress, k.SrcPort}, {want.Ingress, policy.Ingress, k.DstPort}} {
		if end.v == nil {
			continue
		}
		got := policy.Verdict{Action: prog.Default}
		if r := decide(prog, end.d, end.port, k); r != nil {
			got = policy.Verdict{Action: r.Action, Section: r.Section, Rule: r.Rule, Name: r.Name}
		}
		require.Equal(t, *end.v, got, "seed %d: %+v", seed, k)
		require.Equal(t, end.v.Action != policy.Allow, ends(prog, end.d, end.port, k), "seed %d: %+v", seed, k)
	}
}

// few returns a program of few rules, with all that matters to a change of its sets, at
// the ports m0 and m1.
func few(rnd *rand.Rand) *policy.Program {
	sets := map[string][]netip.Prefix{}
	for i := range 3 {
		var list []netip.Prefix
		for a := range 6 {
			if rnd.IntN(2) == 0 {
				list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(a)}), 32))
			}
		}
		sets[fmt.Sprintf("g%d", i)] = list
	}
	some := func(list ...policy.Action) policy.Action { return list[rnd.IntN(len(list))] }
	kinds := [][]policy.Action{{policy.Allow}, {policy.Drop, policy.Reject}, {policy.Allow, policy.Drop}, {policy.Allow, policy.Drop, policy.Pass}}[rnd.IntN(4)]
	dirs := [][]policy.Direction{{policy.Ingress}, {policy.Egress}, {policy.Ingress, policy.Egress}}[rnd.IntN(3)]
	negations := rnd.IntN(2) == 0
	var rules []policy.ProgramRule
	for i := range 1 + rnd.IntN(5) {
		r := policy.ProgramRule{ID: fmt.Sprint("r", i), Section: "s", Rule: fmt.Sprint("r", i), Action: some(kinds...), Direction: dirs[rnd.IntN(len(dirs))],
			Order: policy.Order{Category: policy.Categories()[rnd.IntN(5)], Position: i}}
		if r.Action == policy.Pass {
			r.Order.Category = policy.Emergency
		}
		if rnd.IntN(8) == 0 {
			r.Established = policy.Keep
		}
		if rnd.IntN(5) > 0 {
			r.Peers = &policy.AddressSet{Sets: []string{fmt.Sprintf("g%d", rnd.IntN(3))}, Excluded: negations && rnd.IntN(2) == 0}
		}
		if rnd.IntN(3) == 0 {
			r.Services = []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(80)}}}
		}
		rules = append(rules, r)
	}
	return policy.NewProgram([]policy.Action{policy.Allow, policy.Drop}[rnd.IntN(2)], rules, sets)
}

// A change of sets by element never passes a state in which a packet is decided about in
// another way than before or after, whichever sets are looked up in which state.
func TestStepsProperty(t *testing.T) {
	const tries = 1200
	counts := map[string]int{}
	for seed := range uint64(tries) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		prog, other := few(rnd), few(rnd)
		next := &policy.Program{Rules: prog.Rules, Default: prog.Default, Sets: maps.Clone(prog.Sets)}
		for range 1 + rnd.IntN(2) {
			id := fmt.Sprintf("g%d", rnd.IntN(3))
			next.Sets[id] = other.Sets[id]
		}
		change := policy.Diff(prog, next)
		before, err := Compile(prog, testPorts([]string{"m0", "m1"}), Config{})
		require.NoError(t, err)
		after, err := Compile(next, testPorts([]string{"m0", "m1"}), Config{})
		require.NoError(t, err)
		steps, ok := before.steps(change.Sets)
		counts[fmt.Sprintf("%t in %d", ok, len(steps))]++
		if ok {
			checkSteps(t, rnd, before, after, steps, seed)
		}
	}
	t.Logf("changes: %v", counts)
	for _, kind := range []string{"true in 1", "true in 2", "false in 0"} {
		require.Greater(t, counts[kind], tries/20, kind)
	}
}

// checkSteps has packets pass while sets change one after another, in any order, between
// one look at a set and the next.
func checkSteps(t *testing.T, rnd *rand.Rand, before, after *Ruleset, steps [][]elements, seed uint64) {
	now := maps.Clone(before.sets)
	apply := func(to map[string]set, e elements) {
		s := to[e.set]
		s.prefixes = changed(slices.Clone(s.prefixes), policy.SetChange{Removed: e.gone, Added: e.come})
		to[e.set] = s
	}
	for _, step := range steps {
		for range 60 {
			during := *before
			during.sets = maps.Clone(now)
			left := slices.Clone(step)
			rnd.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
			at := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(6))}) }
			k := policy.Packet{Src: at(), Dst: at(), Proto: uint8(policy.TCP), DstPortNo: uint16(80 + rnd.IntN(2))}
			marks := []uint32{0, DefaultEgressMark, DefaultIngressMark, DefaultEgressMark | DefaultIngressMark}[rnd.IntN(4)]
			machine := func(r *Ruleset) *machine {
				m := newMachine(r, k, "if-m0", "if-m1")
				m.mark = marks
				return m
			}
			m := machine(&during)
			m.tear = func() {
				for len(left) > 0 && rnd.IntN(2) == 0 {
					apply(during.sets, left[0])
					left = left[1:]
				}
			}
			got := m.run()
			require.True(t, got == machine(before).run() || got == machine(after).run(), "seed %d: %+v: %v\n%s", seed, k, steps, before)
		}
		for _, e := range step {
			apply(now, e)
		}
	}
	for name, s := range after.sets {
		require.Equal(t, fmt.Sprint(s.prefixes), fmt.Sprint(now[name].prefixes), "seed %d: set %s", seed, name)
	}
}

func FuzzConnection(f *testing.F) {
	tuple := func(src, dst []byte) []byte {
		ip, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctaIPv4Src, Data: src}, {Type: ctaIPv4Dst, Data: dst}})
		require.NoError(f, err)
		proto, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctaProtoNum, Data: []byte{17}}, {Type: ctaProtoSrcPort, Data: []byte{0, 53}}})
		require.NoError(f, err)
		b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctaTupleIP, Data: ip}, {Type: ctaTupleProto, Data: proto}})
		require.NoError(f, err)
		return b
	}
	all, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NLA_F_NESTED | ctaTupleOrig, Data: tuple([]byte{10, 0, 0, 1}, []byte{10, 0, 0, 9})}, {Type: unix.NLA_F_NESTED | ctaTupleReply, Data: tuple([]byte{10, 0, 0, 2}, []byte{10, 0, 0, 1})}})
	require.NoError(f, err)
	all = append([]byte{2, 0, 0, 0}, all...)
	c, err := parseConnection(all)
	require.NoError(f, err)
	require.Equal(f, policy.Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: 17, SrcPortNo: 53, DstPortNo: 53}, c.first)
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseConnection(b); err == nil {
			require.Equal(t, c.first.Src.Is4(), c.first.Dst.Is4())
		}
	})
}

func FuzzElements(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0}, uint8(8), []byte{10, 255, 255, 255})
	f.Add([]byte{255, 255, 255, 255}, uint8(32), []byte{255, 255, 255, 255})
	f.Add([]byte{0, 0, 0, 0}, uint8(0), []byte{1, 2, 3, 4})
	f.Add(make([]byte, 16), uint8(0), bytes.Repeat([]byte{0xff}, 16))
	f.Fuzz(func(t *testing.T, prefix []byte, bits uint8, key []byte) {
		a, ok := netip.AddrFromSlice(prefix)
		b, ok2 := netip.AddrFromSlice(key)
		if !ok || !ok2 || a.Is4() != b.Is4() || int(bits) > a.BitLen() {
			return
		}
		p := netip.PrefixFrom(a, int(bits)).Masked()
		s := set{prefixes: []netip.Prefix{p}, family: ipv4}
		require.Equal(t, p.Contains(b), inIntervals(s, key), "%s in %s", b, p)
	})
}
