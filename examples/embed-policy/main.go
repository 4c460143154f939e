// Command embed-policy shows package policy alone in a foreign program: who
// may talk to whom, decided by tags.
package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/tierloom/tierloom/policy"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed-policy:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	web := netip.MustParseAddr("10.4.0.2")
	db := netip.MustParseAddr("10.4.0.3")
	e := policy.NewEngine(policy.Config{Default: policy.Drop})
	for id, ip := range map[string]netip.Addr{"web": web, "db": db} {
		m := policy.Member{ID: id, Tags: []policy.Tag{{Scope: "app", Tag: id}}, IPs: []netip.Addr{ip}}
		if err := e.SetMember(m); err != nil {
			return err
		}
		if err := e.SetGroup(policy.Group{ID: id, Criteria: policy.TagEquals("app", id)}); err != nil {
			return err
		}
	}
	err := e.SetSection(policy.Section{ID: "shop", Rules: []policy.Rule{{
		ID: "web-to-db", Sources: []string{"web"}, Destinations: []string{"db"}, Action: policy.Allow,
		Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{{From: 5432, To: 5432}}}},
	}}})
	if err != nil {
		return err
	}
	for _, port := range []uint16{5432, 22} {
		d := e.Eval(policy.Packet{SrcPort: "web", DstPort: "db", Src: web, Dst: db, Proto: 6, DstPortNo: port})
		fmt.Fprintf(out, "web -> db:%d %s\n", port, d.Verdict)
	}
	fmt.Fprintf(out, "rules at db: %d\n", len(e.Program([]string{"db"}).Rules))
	return nil
}
