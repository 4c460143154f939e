// Command embed-policy shows package policy alone in a foreign program: who
// may talk to whom, decided by labels, and what a label that changes means for
// the ports of a host.
package main

import (
	"errors"
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
	pod := func(id, app string, n byte) policy.Member {
		return policy.Member{ID: id, Tags: []policy.Tag{{Scope: "app", Tag: app}}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 4, 0, n})}}
	}
	web, db, batch := pod("web-0", "web", 2), pod("db-0", "db", 3), pod("batch-0", "batch", 4)
	e := policy.NewEngine(policy.Config{Default: policy.Drop})
	err := errors.Join(e.SetMember(web), e.SetMember(db), e.SetMember(batch),
		e.SetGroup(policy.Group{ID: "web", Criteria: policy.TagEquals("app", "web")}),
		e.SetGroup(policy.Group{ID: "db", Criteria: policy.TagEquals("app", "db")}),
		e.SetSection(policy.Section{ID: "shop", AppliedTo: []string{"db"}, Rules: []policy.Rule{{
			ID: "sql", Sources: []string{"web"}, Direction: policy.Ingress, Action: policy.Allow,
			Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(5432)}}},
		}}}))
	if err != nil {
		return err
	}
	host := e.View("db-0") // what a host that has this port must enforce
	fmt.Fprintf(out, "rules at db-0: %d\n", len(host.Change().Rules))

	table := host.Program().Table("db-0")
	sql := policy.Packet{Src: web.IPs[0], Dst: db.IPs[0], Proto: 6, DstPortNo: 5432}
	fmt.Fprintf(out, "web-0 -> db-0:5432 %s\n", table.Lookup(policy.Ingress, &sql).Action)

	if err := e.SetMember(pod("batch-0", "web", 4)); err != nil {
		return err
	}
	for _, set := range host.Change().Sets {
		fmt.Fprintf(out, "relabelled: %v joined\n", set.Added)
	}
	return nil
}
