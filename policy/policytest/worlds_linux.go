package policytest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

// Times that probes have to be answered in: those that ought to be refused silently, and
// those that ought to pass when they are tried again.
const (
	silent = 100 * time.Millisecond
	again  = 30 * time.Second
)

// probesPerWorld is how many connections are tried in each world.
const probesPerWorld = 60

func worlds(t *testing.T, cfg Config, backend func(testing.TB, *Lab) Backend) {
	lab := NewLab(t, cfg.Routed)
	b := backend(t, lab)
	s := serve(t, lab)
	p := &prober{lab: lab}
	seed := world.Number(t, "TIERLOOM_SEED", 1)
	counts := map[string]int{}
	for i := range world.Worlds(t, uint64(cmp.Or(cfg.Worlds, 30))) {
		one := seed<<32 + i
		tryWorld(t, cfg, one, b, s, p, counts)
		if t.Failed() {
			t.Fatalf("seed %d (world %d)", one, i)
		}
	}
	t.Logf("probes: %v", counts)
	if counts["answered"] == 0 || counts["no answer"] == 0 {
		t.Fatalf("the worlds are no test: %v", counts)
	}
}

// vary gives some sections what the generator leaves out.
func vary(rnd *rand.Rand, cfg Config, w *world.World) {
	for i := range w.Sections {
		w.Sections[i].Stateless = rnd.IntN(4) == 0 && cfg.Stateless
		for j := range w.Sections[i].Rules {
			r := &w.Sections[i].Rules[j]
			if r.Logged = rnd.IntN(4) == 0; r.Logged {
				r.LogLabel = "label"
			}
		}
	}
}

// An oracle says what ought to become of a connection.
type oracle struct {
	prog      *policy.Program
	local     []string
	stateless map[string]bool // section
}

// passes reports whether a packet passes an end, and whether replies must do then, or may.
func (o *oracle) passes(v *policy.Verdict, back policy.Packet) (forth, must, may bool) {
	if v == nil {
		return true, true, true
	}
	if v.Action != policy.Allow {
		return false, false, false
	}
	if !o.stateless[v.Section] {
		return true, true, true
	}
	d := o.prog.Eval(back)
	by := cmp.Or(d.Egress, d.Ingress)
	// What a stateful rule allows is the beginning of a connection, which any datagram may
	// be; a backend may let pass what begins none, or drop it.
	begins := by == nil || o.stateless[by.Section] || policy.Protocol(back.Proto) == policy.UDP
	return true, d.Allowed() && begins, d.Allowed()
}

// ours returns the packet with the ids of ports that have rules only.
func (o *oracle) ours(k policy.Packet) policy.Packet {
	if !slices.Contains(o.local, k.SrcPort) {
		k.SrcPort = ""
	}
	if !slices.Contains(o.local, k.DstPort) {
		k.DstPort = ""
	}
	return k
}

// reverse is the first packet back.
func reverse(k policy.Packet) policy.Packet {
	k.Src, k.Dst, k.SrcPort, k.DstPort, k.SrcPortNo, k.DstPortNo = k.Dst, k.Src, k.DstPort, k.SrcPort, k.DstPortNo, k.SrcPortNo
	switch policy.Protocol(k.Proto) {
	case policy.ICMP:
		k.ICMPType = 0
	case policy.ICMPv6:
		k.ICMPType = 129
	}
	return k
}

// expect returns whether the first packet arrives, whether the connection must be
// answered, or may be, and the decision.
func (o *oracle) expect(k policy.Packet) (arrives, must, may bool, d policy.Decision) {
	k = o.ours(k)
	d = o.prog.Eval(k)
	back := reverse(k)
	leaves, reaches := back, back
	leaves.DstPort, reaches.SrcPort = "", ""
	outForth, outMust, outMay := o.passes(d.Egress, reaches) // the end that sent first is the one a reply reaches
	inForth, inMust, inMay := o.passes(d.Ingress, leaves)
	arrives = d.Allowed() && outForth && inForth
	return arrives, arrives && outMust && inMust, arrives && outMay && inMay, d
}

// tryWorld puts one random world in force and tries connections in it.
func tryWorld(t *testing.T, cfg Config, seed uint64, b Backend, s *servers, p *prober, counts map[string]int) {
	rnd := source(seed)
	w := world.New(rnd)
	vary(rnd, cfg, &w)
	e, err := w.Engine(rnd)
	require(t, err)
	o := &oracle{prog: e.Program(w.Local), local: w.Local, stateless: map[string]bool{}}
	for _, sec := range w.Sections {
		o.stateless[sec.ID] = sec.Stateless
	}
	if err := b.Sync(t.Context(), o.prog, w.Local); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	s.forget()
	var list []*probe
	defer func() { closeAll(list) }()
	for range probesPerWorld {
		one, err := p.start(connection(rnd, w))
		require(t, err)
		list = append(list, one)
	}
	var hopeful, hopeless []*probe
	for _, one := range list {
		if _, must, _, _ := o.expect(one.packet); must {
			hopeful = append(hopeful, one)
		} else {
			hopeless = append(hopeless, one)
		}
	}
	require(t, wait(hopeful, 2*time.Second))
	require(t, wait(hopeless, silent))
	wrong := 0
	for _, one := range list {
		if want, got := e.Eval(o.ours(one.packet)), o.prog.Eval(o.ours(one.packet)); want.Verdict != got.Verdict {
			t.Errorf("the objects say %s, the program %s\n%+v", want.Why, got.Why, one.packet)
		}
		if msg := o.judge(one, s, p); msg != "" {
			t.Errorf("%s\n%+v", msg, one.packet)
			if wrong++; wrong == 3 {
				return // each takes its time
			}
		}
		counts[string(one.result)]++
	}
}

// connection returns the first packet of a connection between two pods of a world.
func connection(rnd *rand.Rand, w world.World) policy.Packet {
	for {
		src, dst := w.Members[rnd.IntN(len(w.Members))], w.Members[rnd.IntN(len(w.Members))]
		k := policy.Packet{SrcPort: src.ID, DstPort: dst.ID, Src: src.IPs[rnd.IntN(len(src.IPs))], Dst: dst.IPs[rnd.IntN(len(dst.IPs))]}
		if src.ID == dst.ID || k.Src.Is4() != k.Dst.Is4() {
			continue
		}
		switch rnd.IntN(5) {
		case 0:
			k.Proto, k.ICMPType = uint8(policy.ICMP), 8
			if !k.Src.Is4() {
				k.Proto, k.ICMPType = uint8(policy.ICMPv6), 128
			}
		case 1, 2:
			k.Proto, k.DstPortNo = uint8(policy.UDP), ports[rnd.IntN(len(ports))]
		default:
			k.Proto, k.DstPortNo = uint8(policy.TCP), ports[rnd.IntN(len(ports))]
		}
		return k
	}
}

// judge compares what became of a probe with what ought to, and says what is wrong.
func (o *oracle) judge(one *probe, s *servers, p *prober) string {
	arrives, must, may, d := o.expect(one.packet)
	if policy.Protocol(one.packet.Proto) == policy.UDP && !arrives {
		if s.came(netip.AddrPortFrom(one.packet.Src, one.packet.SrcPortNo)) {
			return fmt.Sprintf("a datagram got through: %s", d.Why)
		}
	}
	if one.result == answered && !may {
		return fmt.Sprintf("a connection was answered (the first packet ought to arrive: %t): %s", arrives, d.Why)
	}
	if one.result != answered && must {
		first := one.result
		retry, err := p.start(one.packet)
		if err != nil {
			return err.Error()
		}
		defer closeAll([]*probe{retry})
		if err := wait([]*probe{retry}, again); err != nil {
			return err.Error()
		}
		if retry.result != answered {
			return fmt.Sprintf("a connection ought to pass: %s, then %s: %s", first, retry.result, d.Why)
		}
		one.result = answered
	}
	return ""
}
