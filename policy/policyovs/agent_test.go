package policyovs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// A recorder is a switch that notes what it is asked for.
type recorder struct {
	out     []string // actions of packets
	flushed []openflow.CTFilter
	err     error
}

func (r *recorder) PacketOut(_ context.Context, _ uint32, _ []byte, actions ...ovs.Action) error {
	r.out = append(r.out, ovs.Flow{Actions: actions}.String())
	return r.err
}

func (r *recorder) FlushCT(_ context.Context, f openflow.CTFilter) error {
	r.flushed = append(r.flushed, f)
	return r.err
}

// reply is a packet of port 1 that the flows of a -sets stage hand over.
func reply(l policyovs.Layout, table uint8, w wire) openflow.PacketIn {
	reg := l.Source
	if table == l.IngressSets {
		reg = l.Dest
	}
	return openflow.PacketIn{Table: table, Cookie: ovs.MakeCookie(l.Owner, l.Feature, 0), UserData: []byte("R"), Frame: w.frame(),
		Metadata: ovs.NewMatch(ovs.Reg(reg, 1))}
}

// Of a reply's connection, exactly its entry goes, by what its first packet was.
func TestAgentEndsOneConnection(t *testing.T) {
	l := policyovs.DefaultLayout()
	l.Generation = 5
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	echo := func(typ byte) []byte { return []byte{typ, 0, 0, 0, 0, 77, 0, 1} }
	for _, c := range []struct {
		name  string
		proto uint8
		body  []byte
		want  openflow.CTTuple
	}{
		{"TCP", 6, tcp(16, 1, 1, 0), openflow.CTTuple{Src: b, Dst: a, SrcPort: 80, DstPort: 40000}},
		{"UDP", 17, udp(0), openflow.CTTuple{Src: b, Dst: a, SrcPort: 53, DstPort: 40000}},
		{"echo", 1, echo(0), openflow.CTTuple{Src: b, Dst: a, ICMPID: 77, ICMPType: 8}},
		{"timestamp", 1, echo(14), openflow.CTTuple{Src: b, Dst: a, ICMPID: 77, ICMPType: 13}},
		{"another protocol", 47, make([]byte, 4), openflow.CTTuple{Src: b, Dst: a}},
	} {
		for _, table := range []uint8{l.EgressSets, l.IngressSets} {
			sw := &recorder{}
			agent := policyovs.NewAgent(sw, l, policyovs.AgentConfig{})
			agent.Set(&policy.Program{}, []policyovs.Port{{ID: "p", Key: 1}}, 5)
			p := reply(l, table, wire{src: "10.0.0.1", dst: "10.0.0.2", proto: c.proto, body: c.body})
			require.NoError(t, agent.Handle(t.Context(), p))
			require.Empty(t, cmp.Diff([]openflow.CTFilter{{HasZone: true, Zone: 1, Proto: c.proto, Original: c.want}}, sw.flushed, cmpopts.EquateComparable(netip.Addr{})), c.name)
			require.Equal(t, policyovs.AgentStats{Ended: 1}, agent.Stats())

			agent.Set(&policy.Program{Default: policy.Allow}, []policyovs.Port{{ID: "p", Key: 1}}, 6)
			require.NoError(t, agent.Handle(t.Context(), p))
			require.Len(t, sw.flushed, 1)
			require.Len(t, sw.out, 1)
			require.Contains(t, sw.out[0], "ct(commit,zone=1,exec(set_field:0x80000006->ct_mark))")
		}
	}
}

func TestAgentIgnores(t *testing.T) {
	l := policyovs.DefaultLayout()
	w := wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0)}
	for name, change := range map[string]func(p *openflow.PacketIn){
		"a table that is not ours": func(p *openflow.PacketIn) { p.Table = 40 },
		"the cookie of another":    func(p *openflow.PacketIn) { p.Cookie++ },
		"no port":                  func(p *openflow.PacketIn) { p.Metadata = ovs.NewMatch() },
		"a port that is not known": func(p *openflow.PacketIn) { p.Metadata = ovs.NewMatch(ovs.Reg(0, 9)) },
		"a fragment that says little": func(p *openflow.PacketIn) {
			f := w
			f.more = func(ip []byte) { ip[7] = 9 }
			p.Frame = f.frame()
		},
	} {
		sw := &recorder{}
		agent := policyovs.NewAgent(sw, l, policyovs.AgentConfig{})
		agent.Set(&policy.Program{}, []policyovs.Port{{ID: "p", Key: 1}}, 0)
		p := reply(l, l.EgressSets, w)
		change(&p)
		require.NoError(t, agent.Handle(t.Context(), p), name)
		require.Empty(t, sw.out, name)
		require.Empty(t, sw.flushed, name)
	}
}

func TestAgentErrors(t *testing.T) {
	l := policyovs.DefaultLayout()
	sw := &recorder{err: errors.New("gone")}
	agent := policyovs.NewAgent(sw, l, policyovs.AgentConfig{})
	agent.Set(&policy.Program{}, []policyovs.Port{{ID: "p", Key: 1}}, 0)
	p := reply(l, l.EgressSets, wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0)})
	require.ErrorContains(t, agent.Handle(t.Context(), p), "zone 1 ends: gone")
	agent.Set(&policy.Program{Default: policy.Allow}, []policyovs.Port{{ID: "p", Key: 1}}, 0)
	require.ErrorContains(t, agent.Handle(t.Context(), p), "zone 1 goes on: gone")
	p.Frame = p.Frame[:20]
	require.ErrorIs(t, agent.Handle(t.Context(), p), policyovs.ErrInvalid)
}

// A rule that is no more when its packet comes is told from the default.
func TestAgentLogsWhatIsGone(t *testing.T) {
	l := policyovs.DefaultLayout()
	var out bytes.Buffer
	agent := policyovs.NewAgent(&recorder{}, l, policyovs.AgentConfig{Log: slog.New(slog.NewJSONHandler(&out, nil))})
	agent.Set(&policy.Program{}, []policyovs.Port{{ID: "p", Key: 1}}, 0)
	for number, want := range map[uint32]string{0: "default", 99: "gone"} {
		p := reply(l, l.EgressVerdict, wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0)})
		p.UserData, p.Metadata = []byte("V"), ovs.NewMatch(ovs.Reg(l.Source, 1), ovs.Reg(l.Scratch, 1<<8), ovs.Reg(l.Rule, number))
		out.Reset()
		require.NoError(t, agent.Handle(t.Context(), p))
		m := map[string]any{}
		require.NoError(t, json.Unmarshal(out.Bytes(), &m))
		require.Equal(t, want, m["policy"])
		require.Equal(t, "p", m["from"])
	}
}

func TestNarrows(t *testing.T) {
	allow, drop := policy.Allow, policy.Drop
	peers := func(id string, a policy.Action, set string, excluded bool) policy.ProgramRule {
		return policy.ProgramRule{ID: id, Action: a, Peers: &policy.AddressSet{Sets: []string{set}, Excluded: excluded}}
	}
	before := &policy.Program{Rules: []policy.ProgramRule{
		peers("a", policy.Allow, "friends", false), peers("d", policy.Drop, "foes", false), peers("x", policy.Allow, "some", true),
	}}
	one := []netip.Prefix{pfx("10.0.0.1/32")}
	for _, c := range []struct {
		name string
		c    policy.Change
		want bool
	}{
		{"nothing", policy.Change{}, false},
		{"default allow", policy.Change{Default: &allow}, false},
		{"default drop", policy.Change{Default: &drop}, true},
		{"one more allow", policy.Change{Rules: []policy.ProgramRule{peers("n", policy.Allow, "new", false)}}, false},
		{"one more stateless allow", policy.Change{Rules: []policy.ProgramRule{{ID: "n", Action: policy.Allow, Stateless: true}}}, true},
		{"one more drop", policy.Change{Rules: []policy.ProgramRule{peers("n", policy.Drop, "new", false)}}, true},
		{"another allow", policy.Change{Rules: []policy.ProgramRule{peers("a", policy.Allow, "new", false)}}, true},
		{"one rule less", policy.Change{Gone: []string{"d"}}, true},
		{"a friend more", policy.Change{Sets: []policy.SetChange{{ID: "friends", Added: one}}}, false},
		{"a friend less", policy.Change{Sets: []policy.SetChange{{ID: "friends", Removed: one}}}, true},
		{"a foe more", policy.Change{Sets: []policy.SetChange{{ID: "foes", Added: one}}}, true},
		{"one more that is excluded", policy.Change{Sets: []policy.SetChange{{ID: "some", Added: one}}}, true},
		{"a set gone", policy.Change{Sets: []policy.SetChange{{ID: "friends", Gone: true}}}, true},
	} {
		require.Equal(t, c.want, policyovs.Narrows(before, c.c), c.name)
	}
}

// A generation that comes later gives the flows that it would have given at once.
func TestAdvance(t *testing.T) {
	e, ports := shop(t)
	p := program(e, ports)
	l := policyovs.DefaultLayout()
	c, err := policyovs.NewCompiler(l)
	require.NoError(t, err)
	_, err = c.Apply(policy.Diff(nil, p), policyovs.PortChange{Set: ports})
	require.NoError(t, err)
	before := c.Flows()
	d := c.Advance(9)
	l.Generation = 9
	want, err := policyovs.Flows(p, ports, l)
	require.NoError(t, err)
	require.Equal(t, dump(want), dump(c.Flows()))
	require.NotEmpty(t, d.Put)
	require.Less(t, len(d.Put)+len(d.Gone), 30, "whatever number of rules")
	for _, c := range []struct {
		flows []ovs.Flow
		want  uint32
		ok    bool
	}{{before, 0, true}, {want, 9, true}, {nil, 0, false}} {
		got, ok := policyovs.GenerationOf(c.flows, l)
		require.Equal(t, c.want, got)
		require.Equal(t, c.ok, ok)
	}
	l.Generation = 1 << 31
	require.ErrorIs(t, l.Validate(), policyovs.ErrInvalid)
}
