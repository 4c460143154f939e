package ovs_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

func named(t testing.TB, n ovs.Names) (ovs.Pipeline, error) {
	t.Helper()
	p, err := ovs.NewPipeline([]ovs.Stage{{Name: "classify", Table: 0}, {Name: "rules", Table: 31}, {Name: "l2", Table: 40}})
	require.NoError(t, err)
	return p.WithNames(n)
}

func TestNamesAreTheirOwn(t *testing.T) {
	reg := func(name string, s ovs.Subfield) ovs.Register { return ovs.Register{Name: name, Field: s} }
	for want, n := range map[string]ovs.Names{
		`register "": invalid: no such bits`:                                         {Registers: []ovs.Register{{}}},
		`register "a", NXM_NX_REG1[]: invalid: shares bits`:                          {Registers: []ovs.Register{reg("b", ovs.RegField(1).Bits(8, 8)), reg("a", ovs.RegField(1))}},
		`register "a", NXM_NX_REG2[]: invalid: another has the name`:                 {Registers: []ovs.Register{reg("a", ovs.RegField(1)), reg("a", ovs.RegField(2))}},
		`register "b", NXM_NX_REG1[]: invalid: another has the number`:               {Registers: []ovs.Register{reg("a", ovs.RegField(1)), reg("b", ovs.RegField(1))}},
		`register "x": invalid: no such bits`:                                        {Registers: []ovs.Register{reg("x", ovs.RegField(16))}},
		`zone "web", 7: invalid: another has the name`:                               {Zones: []ovs.Zone{{"web", 6}, {"web", 7}}},
		`zone "db", 7: invalid: another has the number`:                              {Zones: []ovs.Zone{{"web", 7}, {"db", 7}}},
		`feature "two words", 1: invalid: the name is empty or has spaces or commas`: {Features: []ovs.Feature{{"two words", 1}}},
		`feature "b", 1: invalid: another has the number`:                            {Features: []ovs.Feature{{"a", 1}, {"b", 1}}},
	} {
		_, err := named(t, n)
		require.ErrorIs(t, err, ovs.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
	p, err := named(t, ovs.Names{
		Registers: []ovs.Register{reg("low", ovs.RegField(1).Bits(0, 16)), reg("high", ovs.RegField(1).Bits(16, 16))},
		Zones:     []ovs.Zone{{"web", 7}}, Features: []ovs.Feature{{"web", 7}},
	})
	require.NoError(t, err, "kinds have names of their own")
	high, ok := p.Register("high")
	require.True(t, ok)
	require.Equal(t, ovs.RegField(1).Bits(16, 16), high)
	zone, ok := p.Zone("web")
	require.True(t, ok)
	require.Equal(t, uint16(7), zone)
	feature, ok := p.Feature("web")
	require.True(t, ok)
	require.Equal(t, uint8(7), feature)
	for _, found := range []bool{second(p.Register("x")), second(p.Zone("x")), second(p.Feature("x"))} {
		require.False(t, found)
	}
}

func second[T any](_ T, ok bool) bool { return ok }

func ExamplePipeline_Describe() {
	p, _ := ovs.NewPipeline([]ovs.Stage{{Name: "classify", Table: 0}, {Name: "rules", Table: 31}, {Name: "l2", Table: 40}})
	p, err := p.WithNames(ovs.Names{
		Registers: []ovs.Register{{Name: "source", Field: ovs.RegField(0)}, {Name: "zone", Field: ovs.RegField(5).Bits(0, 16)}, {Name: "segment", Field: ovs.FieldMetadata.Whole()}},
		Zones:     []ovs.Zone{{Name: "shared", Zone: 9}},
		Features:  []ovs.Feature{{Name: "policy", Feature: 3}},
	})
	fmt.Println(err)
	for _, text := range []string{
		"cookie=0x7403000000000011,table=31,priority=100,tcp,reg0=0x7,metadata=0x1000,tp_dst=31 actions=ct(commit,table=40,zone=NXM_NX_REG5[0..15])",
		"table=0,priority=1,in_port=31,ip actions=set_field:0x7->reg0,ct(commit,zone=9),resubmit(,31),goto_table:40",
		"cookie=0x31,table=7,ip,ct_zone=9 actions=set_field:0x1->reg1,ct(table=8,zone=10)",
	} {
		f, err := ovs.ParseFlow(text)
		if err != nil {
			fmt.Println(err)
		}
		fmt.Println(p.Describe(f))
	}
	// Output:
	// <nil>
	// owner=0x74,feature=policy,object=0x11,table=rules,priority=100,segment=0x1000,source=0x7,eth_type=0x800,nw_proto=6,tcp_dst=31 actions=ct(commit,table=l2,zone=zone)
	// table=classify,priority=1,in_port=31,eth_type=0x800 actions=set_field:0x7->source,ct(commit,zone=shared),resubmit(,rules),goto_table:l2
	// cookie=0x31,table=7,priority=32768,eth_type=0x800,ct_zone=shared actions=set_field:0x1->reg1,ct(table=8,zone=10)
}
