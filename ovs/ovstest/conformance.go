package ovstest

import (
	"strings"
	"testing"

	"github.com/tierloom/tierloom/ovs"
)

// A conformanceCase is one bundle on a switch that has [standing]; a switch
// refuses it whole or takes it whole.
type conformanceCase struct {
	name   string
	bundle ovs.Changes
	ok     bool
	// flows and groups are how many there are then.
	flows, groups int
}

// standing is what the switch of every case starts with.
var standing = ovs.Changes{
	GroupAdd: []ovs.Group{parseGroup("group_id=1,type=all,bucket=bucket_id:0,actions=output:1"),
		parseGroup("group_id=2,type=select,bucket=bucket_id:0,weight:1,actions=output:2")},
	FlowAdd: []ovs.Flow{
		parseFlow("table=0,priority=10,in_port=1 actions=group:1"),
		parseFlow("table=0,priority=10,in_port=2 actions=group:2"),
		parseFlow("table=1,priority=10,in_port=2 actions=clone(group:2),output:1"),
		parseFlow("table=1,priority=0 actions=drop"),
	},
}

func parseFlow(text string) ovs.Flow {
	f, err := ovs.ParseFlow(text)
	if err != nil {
		panic(err) // a text of this file
	}
	return f
}

// parseRefused reads a flow that may have actions its match does not allow.
func parseRefused(text string) ovs.Flow {
	if f, err := ovs.ParseFlow(text); err == nil {
		return f
	}
	match, actions, _ := strings.Cut(text, " actions=")
	f := parseFlow(match + " actions=drop")
	f.Actions = parseGroup("group_id=1,type=all,bucket=actions=" + actions).Buckets[0].Actions
	return f
}

func parseGroup(text string) ovs.Group {
	g, err := ovs.ParseGroup(text)
	if err != nil {
		panic(err)
	}
	return g
}

// TestSwitch checks that a switch takes and refuses what Open vSwitch does,
// bundles all or nothing, and that its dumps say what it took. newSwitch
// returns an empty switch without meters; it is called for every case, and may
// return the same switch again, emptied.
func TestSwitch(t *testing.T, newSwitch func(t testing.TB) ovs.Switch) {
	for _, c := range conformanceCases() {
		t.Run(c.name, func(t *testing.T) { c.run(t, newSwitch(t)) })
	}
}

func (c conformanceCase) run(t *testing.T, sw ovs.Switch) {
	if err := sw.Apply(t.Context(), standing); err != nil {
		t.Fatalf("what stands is refused: %v", err)
	}
	err := sw.Apply(t.Context(), c.bundle)
	if (err == nil) != c.ok {
		t.Fatalf("taken: %t, want %t; error %v; bundle:\n%s", err == nil, c.ok, err, c.bundle)
	}
	flows, groups := dump(t, sw)
	if !c.ok {
		if d := ovs.Diff(standing.FlowAdd, standing.GroupAdd, flows, groups); d.Len() > 0 {
			t.Fatalf("a refused bundle changed the switch; to undo it:\n%s", d)
		}
		return
	}
	if len(flows) != c.flows || len(groups) != c.groups {
		t.Fatalf("%d flows and %d groups, want %d and %d:\n%v\n%v", len(flows), len(groups), c.flows, c.groups, flows, groups)
	}
	if d := ovs.Diff(c.bundle.FlowAdd, nil, flows, nil); len(c.bundle.GroupDelete) == 0 && len(c.bundle.FlowDelete) == 0 && len(d.FlowAdd) > 0 {
		t.Fatalf("the dump lacks or changes flows that were added:\n%s", d)
	}
}

// dump returns all that a switch has.
func dump(t testing.TB, sw ovs.Switch) ([]ovs.Flow, []ovs.Group) {
	t.Helper()
	flows, err := sw.Flows(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := sw.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return flows, groups
}
