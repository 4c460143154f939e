// Command embed-ovs shows package ovs alone in a foreign program: flows as
// values, and what it takes to get from one set to another.
package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/tierloom/tierloom/ovs"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed-ovs:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	host := func(ip string, port uint32) ovs.Flow {
		return ovs.Flow{
			Priority: 100, Match: ovs.NewMatch(ovs.IPDst(netip.MustParsePrefix(ip))),
			Actions: []ovs.Action{ovs.DecTTL(), ovs.Output(port)},
		}
	}
	have := []ovs.Flow{host("10.0.0.1/32", 1), host("10.0.0.2/32", 2)}
	want := []ovs.Flow{host("10.0.0.1/32", 1), host("10.0.0.2/32", 3), host("10.0.1.0/24", 4)}
	for _, f := range want {
		if err := f.Validate(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(out, ovs.Diff(want, nil, have, nil))
	return err
}
