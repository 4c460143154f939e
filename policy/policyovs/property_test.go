package policyovs_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// portsOf gives the local members of a world keys and MAC addresses.
func portsOf(w world.World) []policyovs.Port {
	var out []policyovs.Port
	for i, m := range w.Members {
		if slices.Contains(w.Local, m.ID) {
			out = append(out, policyovs.Port{ID: m.ID, Key: uint32(i + 1), MAC: ovs.MAC{2, 0, 0, 0, 0, byte(i + 1)}, IPs: m.IPs})
		}
	}
	return out
}

func keyOf(ports []policyovs.Port, id string) uint32 {
	for _, p := range ports {
		if p.ID == id {
			return p.Key
		}
	}
	return 0
}

func dump(flows []ovs.Flow) string {
	var b strings.Builder
	for _, f := range flows {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// fields are those of a packet that has come to the -ct stage of one end.
func fields(k policy.Packet, src, dst uint32, d policy.Direction) []ovs.FieldMatch {
	host := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	eth := uint16(0x86dd)
	if k.Src.Is4() {
		eth = 0x0800
	}
	zone := src
	if d == policy.Ingress {
		zone = dst
	}
	f := []ovs.FieldMatch{ovs.Reg(0, src), ovs.Reg(1, dst), ovs.Reg(5, zone), ovs.EthType(eth), ovs.IPSrc(host(k.Src)), ovs.IPDst(host(k.Dst)), ovs.IPProto(k.Proto)}
	switch policy.Protocol(k.Proto) {
	case policy.TCP:
		f = append(f, ovs.TCPSrc(k.SrcPortNo), ovs.TCPDst(k.DstPortNo))
	case policy.UDP:
		f = append(f, ovs.UDPSrc(k.SrcPortNo), ovs.UDPDst(k.DstPortNo))
	case policy.SCTP:
		f = append(f, ovs.SCTPSrc(k.SrcPortNo), ovs.SCTPDst(k.DstPortNo))
	case policy.ICMP:
		f = append(f, ovs.ICMPType(k.ICMPType), ovs.ICMPCode(k.ICMPCode))
	case policy.ICMPv6:
		f = append(f, ovs.ICMPv6Type(k.ICMPType), ovs.ICMPv6Code(k.ICMPCode))
	}
	return f
}

// ends returns, for each local end of a packet, the packet as that end alone
// sees it.
func ends(w world.World, k policy.Packet) map[policy.Direction]policy.Packet {
	out := map[policy.Direction]policy.Packet{}
	if slices.Contains(w.Local, k.SrcPort) {
		x := k
		x.DstPort = ""
		out[policy.Egress] = x
	}
	if slices.Contains(w.Local, k.DstPort) {
		x := k
		x.SrcPort = ""
		out[policy.Ingress] = x
	}
	return out
}

var (
	isNew   = ovs.CTState(ovs.CTTrk|ovs.CTNew, 0)
	isEst   = ovs.CTState(ovs.CTTrk|ovs.CTEst, 0)
	isReply = ovs.CTState(ovs.CTTrk|ovs.CTEst|ovs.CTRpl, 0)
	isRel   = ovs.CTState(ovs.CTTrk|ovs.CTRel|ovs.CTNew, 0)
	isInv   = ovs.CTState(ovs.CTTrk|ovs.CTInv, 0)
)

// Flows decide as the objects do, for every random packet, and count it for the rule.
func TestFlowsProperty(t *testing.T) {
	l := policyovs.DefaultLayout()
	tries, conjunctions := map[policy.Action]int{}, 0
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		prog, ports := e.Program(w.Local), portsOf(w)
		special := vary(prog, rnd)
		flows, err := policyovs.Flows(prog, ports, l)
		require.NoError(t, err, "seed %d", seed)
		checkFlows(t, flows)
		conjunctions += strings.Count(dump(flows), "conj_id=")

		rnd.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
		again, err := policyovs.Flows(prog, ports, l)
		require.NoError(t, err)
		require.Equal(t, dump(flows), dump(again), "seed %d: order of ports", seed)

		m, reference := newMachine(flows), policy.NewEvaluator(e.Objects())
		names := cookies(prog, l)
		for range 40 {
			k := w.Packet(rnd)
			for d, x := range ends(w, k) {
				want := reference.Eval(x)
				tries[want.Verdict]++
				in, out := l.EgressCT, l.L2
				if d == policy.Ingress {
					in, out = l.IngressCT, l.Output
				}
				for _, state := range []ovs.FieldMatch{isNew, isEst} {
					p := newPacket(fields(x, keyOf(ports, k.SrcPort), keyOf(ports, k.DstPort), d)...)
					if state == isEst {
						p[ovs.FieldCTMark] = ovs.CTMark(1 << 31).Value
					}
					got, err := m.run(p, in, state)
					require.NoError(t, err)
					what := func() string {
						return fmt.Sprintf("seed %d %s %+v: want %s, got table %d by\n%s\n%s", seed, d, x, want.Why, got.table, dump(got.path), dump(flows))
					}
					v := verdict(want, d)
					r := special[v.Section+"/"+v.Rule]
					if sharing(w, v) {
						r = policy.ProgramRule{}
					}
					allowed := want.Allowed() || state == isEst && r.Established == policy.Keep
					if allowed != (got.table == out) {
						require.FailNow(t, what())
					}
					if committed := allowed && !(want.Allowed() && r.Stateless); committed != (got.committed == 1) || got.committed > 1 {
						require.FailNow(t, "commit: "+what())
					}
					told := want.Verdict == policy.Reject && !allowed || r.Logged && (r.Stateless || state == isNew || !allowed)
					if told != (got.copies == 1) {
						require.FailNow(t, "copies: "+what())
					}
					by := got.decided()
					if v.Section == "" && by.Priority != 1000 || v.Section != "" && !sharing(w, v) && names[by.Cookie] != v.Section+"/"+v.Rule {
						require.FailNow(t, "counted elsewhere: "+what())
					}
				}
				v := verdict(want, d)
				stateless := want.Allowed() && special[v.Section+"/"+v.Rule].Stateless
				for _, c := range []struct {
					state ovs.FieldMatch
					pass  bool
				}{{isReply, true}, {isRel, true}, {isInv, stateless}} {
					if c.state == isInv && sharing(w, v) {
						continue // another rule may have decided
					}
					got, err := m.run(newPacket(fields(x, keyOf(ports, k.SrcPort), keyOf(ports, k.DstPort), d)...), in, c.state)
					require.NoError(t, err)
					require.Equal(t, c.pass, got.table == out, "%s", c.state)
				}
			}
		}
	}
	t.Log(tries, conjunctions)
	require.Greater(t, conjunctions, 50, "conjunctions are hardly tried")
	require.Greater(t, min(tries[policy.Allow], tries[policy.Drop], tries[policy.Reject]), 50, "an action is hardly tried")
}

// vary makes rules log, sections stateless and such as keep what is established,
// and returns the rules. Peers stay as they are: any of them may decide.
func vary(p *policy.Program, rnd *rand.Rand) map[string]policy.ProgramRule {
	sections := map[string][2]bool{}
	out := map[string]policy.ProgramRule{}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Order.Rule > 0 || r.Action == policy.Pass {
			continue
		}
		s, ok := sections[r.Section]
		if !ok {
			s = [2]bool{rnd.IntN(3) == 0, rnd.IntN(3) == 0}
			sections[r.Section] = s
		}
		r.Stateless = s[0]
		if s[1] {
			r.Established = policy.Keep
		}
		name := r.Section + "/" + r.Rule
		if old, ok := out[name]; ok {
			r.Logged = old.Logged
		} else {
			r.Logged = rnd.IntN(3) == 0
		}
		out[name] = *r
	}
	return out
}

func verdict(d policy.Decision, dir policy.Direction) *policy.Verdict {
	if dir == policy.Ingress {
		return d.Ingress
	}
	return d.Egress
}

// sharing reports whether a rule has peers, so that another may be counted.
func sharing(w world.World, v *policy.Verdict) bool {
	for _, s := range w.Sections {
		for _, r := range s.Rules {
			if s.ID == v.Section && r.ID == v.Rule {
				return r.Sequence > 0
			}
		}
	}
	return false
}

func cookies(p *policy.Program, l policyovs.Layout) map[uint64]string {
	out := map[uint64]string{}
	for _, r := range p.Rules {
		out[l.RuleCookie(r)] = r.Section + "/" + r.Rule
	}
	return out
}

// checkFlows wants what a switch wants: valid flows with a key each, and no
// two of one priority that a packet can match both.
func checkFlows(t *testing.T, flows []ovs.Flow) {
	t.Helper()
	seen := map[ovs.Key]ovs.Flow{}
	for _, f := range flows {
		if err := f.Validate(); err != nil {
			require.NoError(t, err)
		}
		if other, ok := seen[f.Key()]; ok {
			require.FailNow(t, "two flows with one match", "%s\n%s", other, f)
		}
		seen[f.Key()] = f
	}
	bridge := ovs.NewBridge(nil, ovs.Share{})
	require.NoError(t, bridge.Set("policy", flows, nil))
	for c := range bridge.Overlaps() {
		require.FailNow(t, "a packet may meet either", c.String())
	}
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	return string(b)
}
