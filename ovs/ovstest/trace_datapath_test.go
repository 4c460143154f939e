package ovstest_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

var datapathLine = regexp.MustCompile(`(?m)^Datapath actions: (.*)$`)

// datapathOutputs carries out what ofproto/trace has the datapath do, and
// returns what leaves: the first packet, then those that connection tracking
// gave back, in order.
func datapathOutputs(t *testing.T, p ovstest.Packet, text string, ports map[string]uint32) []string {
	d := &datapath{t: t, ports: ports, out: []string{}}
	start := []ovstest.Packet{p}
	for _, m := range datapathLine.FindAllStringSubmatch(text, -1) {
		require.NotEmpty(t, start, text)
		p, start = start[0], start[1:]
		d.back = nil
		d.run(p, m[1])
		start = append(start, d.back...)
	}
	require.Empty(t, start, text)
	return d.out
}

// A datapath carries actions of the datapath out (ovs-dpctl(8)).
type datapath struct {
	t     *testing.T
	ports map[string]uint32
	out   []string
	back  []ovstest.Packet
}

func (d *datapath) run(p ovstest.Packet, list string) {
	for _, a := range splitTop(list) {
		name, arg, _ := strings.Cut(strings.TrimSuffix(a, ")"), "(")
		switch name {
		case "drop", "ct", "ct_clear":
		case "set":
			p = d.set(p, arg)
		case "push_vlan":
			p = ovstest.PushVLAN(p)
			p = d.vlan(p, arg)
		case "pop_vlan":
			p = ovstest.PopVLAN(p)
		case "clone":
			d.run(p, arg)
		case "userspace":
			d.out = append(d.out, fmt.Sprintf("%d %s", ovs.PortController, headerOf(p)))
		case "recirc":
			d.back = append(d.back, p)
		default:
			port, ok := d.ports[name]
			require.True(d.t, ok, "datapath action %q of %s", a, list)
			d.out = append(d.out, fmt.Sprintf("%d %s", port, headerOf(p)))
		}
	}
}

func (d *datapath) vlan(p ovstest.Packet, arg string) ovstest.Packet {
	for part := range strings.SplitSeq(arg, ",") {
		if v, ok := strings.CutPrefix(part, "vid="); ok {
			n, err := strconv.ParseUint(strings.SplitN(v, "/", 2)[0], 0, 16)
			require.NoError(d.t, err)
			p = ovstest.Write(p, ovs.VLANVID(uint16(n)))
		}
	}
	return p
}

// set writes the fields of set(eth(...)) and the like that a test plays with.
func (d *datapath) set(p ovstest.Packet, arg string) ovstest.Packet {
	kind, fields, _ := strings.Cut(strings.TrimSuffix(arg, ")"), "(")
	if kind == "vlan" {
		return d.vlan(p, fields)
	}
	for part := range strings.SplitSeq(fields, ",") {
		name, v, _ := strings.Cut(part, "=")
		v, _, _ = strings.Cut(v, "/")
		switch kind + "." + name {
		case "eth.src":
			f, err := ovs.ParseFlow("dl_src=" + v + ",actions=drop")
			require.NoError(d.t, err)
			m, _ := f.Match.Field(ovs.FieldEthSrc)
			p = ovstest.Write(p, m)
		case "ipv4.ttl":
			n, err := strconv.Atoi(v)
			require.NoError(d.t, err)
			p = ovstest.Write(p, ttl(byte(n)))
		}
	}
	return p
}

// splitTop splits at commas outside of parentheses.
func splitTop(s string) (parts []string) {
	depth, from := 0, 0
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, s[from:i])
				from = i + 1
			}
		}
	}
	return append(parts, s[from:])
}
