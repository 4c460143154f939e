package draw_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierloom/tierloom/examples/internal/draw"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type fixture struct {
	t    *testing.T
	objs []intent.Object
}

func (f *fixture) add(kind, id string, v any, tags ...intent.Tag) {
	o, err := model.Encode(kind, id, tags, v)
	if err != nil {
		f.t.Fatal(err)
	}
	f.objs = append(f.objs, o)
}

func (f *fixture) pod(ns, name, ip string, vlan uint16, parent string) {
	var p model.Port
	p.ID, p.DisplayName, p.Segment = "pod-"+ns+"-"+name, ns+"/"+name, "seg-"+ns
	p.Attachment = topology.Attachment{Type: topology.AttachmentChild, Parent: parent, VLAN: vlan}
	p.Addresses = []topology.AddressBinding{{IP: netip.MustParseAddr(ip)}}
	f.add(model.KindSegmentPort, p.ID, p, intent.Tag{Scope: "ncp/pod", Tag: name})
}

func (f *fixture) node(name string) {
	var p model.Port
	p.ID, p.Attachment = "parent-"+name, topology.Attachment{Type: topology.AttachmentParent, ID: "if-" + name}
	f.add(model.KindSegmentPort, p.ID, p, intent.Tag{Scope: "ncp/node_name", Tag: name})
}

func (f *fixture) namespace(name, gw string, vni uint32) {
	f.add(model.KindTier1, "t1-"+name, model.Tier1{ID: "t1-" + name, Tier0: "t0"}, intent.Tag{Scope: "ncp/project", Tag: name})
	f.add(model.KindSegment, "seg-"+name, model.Segment{ID: "seg-" + name, Tier1: "t1-" + name, VNI: vni,
		Subnets: []topology.Subnet{{Gateway: netip.MustParsePrefix(gw)}}})
}

func objects(t *testing.T) []intent.Object {
	f := &fixture{t: t}
	f.add(model.KindTier0, "t0", model.Tier0{ID: "t0", DisplayName: "main", TransitVNI: 1})
	f.namespace("shop", "10.4.0.1/24", 5001)
	f.namespace("billing", "10.4.1.1/24", 5002)
	f.namespace("ops", "172.20.0.1/24", 5003)
	for i, ns := range []string{"10.4.0.0/24", "10.4.1.0/24"} {
		f.add(model.KindNATRule, fmt.Sprint("nat", i), model.NATRule{ID: fmt.Sprint("nat", i), Gateway: "t0", Action: topology.SNAT,
			Source: netip.MustParsePrefix(ns), Translated: netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})})
	}
	for i, h := range []string{"host-a", "host-b", "edge-1"} {
		role := topology.RoleHost
		if i == 2 {
			role = topology.RoleEdge
		}
		f.add(model.KindHost, h, model.Host{ID: h, TEP: netip.AddrFrom4([4]byte{10, 200, 0, byte(i + 1)}), Role: role})
	}
	f.node("node-1")
	f.node("node-2")
	f.node("node-3")
	f.node("node-4")
	f.add(model.KindHostAttachments, "host-a", model.HostAttachments{IfaceIDs: []string{"if-node-1", "if-node-2"}})
	f.add(model.KindHostAttachments, "host-b", model.HostAttachments{IfaceIDs: []string{"if-node-3"}})
	f.pod("shop", "web-1", "10.4.0.2", 100, "parent-node-1")
	f.pod("shop", "web-2", "10.4.0.3", 100, "parent-node-2")
	f.pod("shop", "cart", "10.4.0.4", 100, "parent-node-3")
	f.pod("billing", `a<b>&"c"`, "10.4.1.2", 101, "parent-node-3")
	f.pod("ops", "a-rather-long-name-of-a-pod-7d9f8", "172.20.0.2", 101, "parent-node-1")
	f.pod("ops", "lost", "172.20.0.3", 102, "parent-gone")
	f.add(model.KindVirtualServer, "vip", model.VirtualServer{Address: netip.MustParseAddr("192.0.2.80"), Gateway: "t0"})
	return f.objs
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what, want, got string) {
	t.Helper()
	if want != got {
		t.Fatalf("%s: want\n%s\ngot\n%s", what, want, got)
	}
}

func contains(t *testing.T, s, part string) {
	t.Helper()
	if !strings.Contains(s, part) {
		t.Errorf("%q is not in\n%s", part, s)
	}
}

func build(t *testing.T, objs []intent.Object) *draw.Graph {
	t.Helper()
	g, err := draw.Build(objs)
	check(t, err)
	return g
}

func wellFormed(t *testing.T, doc []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		check(t, err)
	}
}

func TestGolden(t *testing.T) {
	g := build(t, objects(t))
	wellFormed(t, g.SVG())
	for name, got := range map[string][]byte{"topology.svg": g.SVG(), "topology.mmd": []byte(g.Mermaid())} {
		path := filepath.Join("testdata", name)
		if *update {
			check(t, os.MkdirAll("testdata", 0o755))
			check(t, os.WriteFile(path, got, 0o644))
		}
		want, err := os.ReadFile(path)
		check(t, err)
		equal(t, name, string(want), string(got))
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	objs := objects(t)
	want := build(t, objs)
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		r.Shuffle(len(objs), func(i, j int) { objs[i], objs[j] = objs[j], objs[i] })
		got := build(t, objs)
		equal(t, "SVG", string(want.SVG()), string(got.SVG()))
		equal(t, "Mermaid", want.Mermaid(), got.Mermaid())
	}
}

func TestNamesAreEscaped(t *testing.T) {
	g := build(t, objects(t))
	contains(t, string(g.SVG()), "a&lt;b&gt;&amp;&#34;c&#34;")
	contains(t, g.Mermaid(), "a#lt;b#gt;#amp;#quot;c#quot;")
	if strings.Contains(g.Mermaid(), "a<b>") {
		t.Error("name is not escaped")
	}
}

func TestPartialTopologies(t *testing.T) {
	wellFormed(t, build(t, nil).SVG())
	objs := objects(t)
	for i := range objs { // without any one object
		rest := append(append([]intent.Object{}, objs[:i]...), objs[i+1:]...)
		wellFormed(t, build(t, rest).SVG())
	}
}

func TestBuildNamesWhatIsMalformed(t *testing.T) {
	_, err := draw.Build([]intent.Object{{ResourceType: model.KindSegment, ID: "web", Body: []byte(`{"vni":"many"}`)}})
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), `Segment "web"`)
	contains(t, err.Error(), "vni")
}
