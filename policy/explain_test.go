package policy_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

func TestExplain(t *testing.T) {
	web, db := member("web", "app=web", "10.0.0.1"), member("db", "app=db", "10.0.0.2")
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	tcp := func(port uint16) []policy.Service {
		return []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(port)}}}
	}
	set(t, e, web, db, policy.Group{ID: "db", Criteria: policy.TagEquals("app", "db")}, policy.Group{ID: "web", Criteria: policy.TagEquals("app", "web")},
		policy.Section{ID: "first", Category: policy.Emergency, Rules: []policy.Rule{{ID: "on", Action: policy.Pass, Direction: policy.Egress}}},
		policy.Section{ID: "shop", AppliedTo: []string{"db"}, Rules: []policy.Rule{
			{ID: "sql", DisplayName: "SQL", Sources: []string{"web"}, Services: tcp(5432), Action: policy.Allow, Direction: policy.Ingress},
			{ID: "office", Sources: []string{"192.0.2.0/24"}, Services: tcp(22), Action: policy.Allow, Direction: policy.Ingress},
			{ID: "far", Sources: []string{"192.0.2.0/24"}, Services: tcp(23), Action: policy.Allow, Direction: policy.Ingress},
			{ID: "rest", Action: policy.Drop, Direction: policy.Ingress}}})
	v := policy.NewEvaluator(e.Objects())
	ssh := policy.Packet{SrcPort: "web", DstPort: "db", Src: web.IPs[0], Dst: db.IPs[0], Proto: 6, SrcPortNo: 40000, DstPortNo: 22}
	x := v.Explain(ssh)
	require.Equal(t, v.Eval(ssh), x.Decision)
	require.Len(t, x.Considered, 5)
	require.Equal(t, []policy.Part{policy.PartSource, policy.PartService}, x.Considered[3].Misses)
	require.Equal(t, `TCP 10.0.0.1:40000 -> 10.0.0.2:22: DROP
  OUT at port web: ALLOW by default
    passed on: rule "on" of section "first" JUMP_TO_APPLICATION
  IN at port db: DROP by rule "rest" of section "shop"
    came close: rule "sql" of section "shop" ALLOW (SQL): another service
    came close: rule "office" of section "shop" ALLOW: another source`, x.String())

	ping := policy.Packet{DstPort: "db", Src: netip.MustParseAddr("198.51.100.1"), Dst: db.IPs[0], Proto: 1, ICMPType: 8}
	require.Equal(t, `ICMP 198.51.100.1 -> 10.0.0.2 type 8 code 0: DROP
  OUT: no port of ours
  IN at port db: DROP by rule "rest" of section "shop"`, v.Explain(ping).String())
	self := policy.Packet{SrcPort: "db", DstPort: "db", Src: db.IPs[0], Dst: db.IPs[0], Proto: 6, SrcPortNo: 40000, DstPortNo: 22}
	require.Equal(t, "TCP 10.0.0.2:40000 -> 10.0.0.2:22: ALLOW\n  port db to itself: no rule is tried", v.Explain(self).String())
	require.Equal(t, "  IN at port nobody: not tried", lastLine(v.Explain(policy.Packet{DstPort: "nobody", Src: web.IPs[0], Dst: db.IPs[0], Proto: 47}).String()))
}

func lastLine(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '\n' {
			return s[i+1:]
		}
	}
	return s
}
