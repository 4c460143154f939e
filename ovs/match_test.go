package ovs_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(last byte) ovs.MAC { return ovs.MAC{2, 0x74, 0x6c, 0, 0, last} }

func TestMatchText(t *testing.T) {
	for want, m := range map[string]ovs.Match{
		"":                                  ovs.NewMatch(),
		"in_port=3,reg0=0x7":                ovs.NewMatch(ovs.Reg(0, 7), ovs.InPort(3)),
		"reg0=0x9":                          ovs.NewMatch(ovs.Reg(0, 7), ovs.Reg(0, 9)),
		"nw_proto=6,tcp_dst=80":             ovs.NewMatch(ovs.TCPDst(80)),
		"eth_type=0x800,ip_dst=10.4.0.0/16": ovs.NewMatch(ovs.IPDst(pfx("10.4.1.2/16"))),
		"eth_type=0x86dd,ipv6_src=fd00::5":  ovs.NewMatch(ovs.IPSrc(pfx("fd00::5/128"))),
		"eth_type=0x800":                    ovs.NewMatch(ovs.EthType(0x800), ovs.IPSrc(pfx("0.0.0.0/0"))),
		"vlan_vid=0x1064":                   ovs.NewMatch(ovs.VLANVID(100)),
		"vlan_vid=0x0":                      ovs.NewMatch(ovs.NoVLAN()),
		"eth_dst=01:00:00:00:00:00/01:00:00:00:00:00":               ovs.NewMatch(ovs.Multicast()),
		"eth_type=0x86dd,nw_proto=58,nd_target=fe80::1":             ovs.NewMatch(ovs.NDTarget(addr("fe80::1"))),
		"eth_type=0x806,arp_spa=10.0.0.1,arp_sha=02:74:6c:00:00:01": ovs.NewMatch(ovs.ARPSpa(pfx("10.0.0.1/32")), ovs.ARPSha(mac(1))),
		"eth_type=0x800,ct_state=-inv+trk":                          ovs.NewMatch(ovs.EthType(0x800), ovs.CTState(ovs.CTTrk, ovs.CTInv)),
		"eth_type=0x800,ct_label=0x10000000000000002":               ovs.NewMatch(ovs.EthType(0x800), ovs.CTLabel(1, 2)),
		"tun_dst=192.0.2.1":                                         ovs.NewMatch(ovs.TunDst(addr("192.0.2.1"))),
		"tun_ipv6_dst=2001:db8::1":                                  ovs.NewMatch(ovs.TunDst(addr("2001:db8::1"))),
		"eth_type=0x800,nw_proto=6,tcp_flags=+syn-ack":              ovs.NewMatch(ovs.EthType(0x800), ovs.TCPFlags(2, 0x12)),
		"reg5=0x7/0xffff":                                           ovs.NewMatch(ovs.RegMasked(5, 0x50007, 0xffff)),
	} {
		require.Equal(t, want, m.String())
	}
}

func TestMatchValidate(t *testing.T) {
	for want, m := range map[string]ovs.Match{
		"tcp_dst needs": ovs.NewMatch(ovs.EthType(0x800), ovs.TCPDst(80), ovs.IPProto(17)),
		"nw_proto needs eth_type=0x800 or eth_type=0x86dd": ovs.NewMatch(ovs.TCPDst(80)),
		"ip_dst needs eth_type=0x800":                      ovs.NewMatch(ovs.IPDst(pfx("10.0.0.0/8")), ovs.EthType(0x86dd)),
		"dp_hash is the switch's own":                      ovs.NewMatch(ovs.NewFieldMatch(ovs.FieldDPHash, make([]byte, 4), nil)),
		"icmpv6_type needs eth_type=0x86dd":                ovs.NewMatch(ovs.EthType(0x800), ovs.ICMPv6Type(1)),
		"no field":                                         ovs.NewMatch(ovs.Reg(16, 1)),
	} {
		err := m.Validate()
		require.ErrorIs(t, err, ovs.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, ovs.NewMatch(ovs.EthType(0x800), ovs.TCPDst(80)).Validate())
}

func TestMatchIsCanonical(t *testing.T) {
	a := ovs.NewMatch(ovs.TCPDst(80), ovs.EthType(0x800), ovs.InPort(1))
	b := ovs.NewMatch(ovs.InPort(1), ovs.IPProto(6), ovs.EthType(0x800), ovs.TCPDstMasked(80, 0xffff))
	require.True(t, a.Equal(b))
	require.Equal(t, ovs.Flow{Match: a}.Key(), ovs.Flow{Match: b}.Key())
	require.NotEqual(t, ovs.Flow{Match: a}.Key(), ovs.Flow{Match: a, Priority: 1}.Key())
	require.NotEqual(t, ovs.Flow{Match: a}.Key(), ovs.Flow{Match: a, Table: 1}.Key())
	require.False(t, a.Equal(a.With(ovs.TCPDst(81))))
	got, ok := a.Field(ovs.FieldTCPDst)
	require.True(t, ok)
	require.Equal(t, uint64(80), got.Uint())
}

func TestFlowValidate(t *testing.T) {
	zone := ovs.RegField(5)
	for want, actions := range map[string][]ovs.Action{
		"is not the last action":           {ovs.Goto(9), ovs.Output(1)},
		"is not a later table":             {ovs.Goto(4)},
		"action 0 is nil":                  {nil},
		"conjunction with other actions":   {ovs.Conjunction(1, 1, 2), ovs.Output(1)},
		"want clause 1 to n":               {ovs.Conjunction(1, 3, 2)},
		"48 bits to 32":                    {ovs.Move(ovs.EthSrcField, ovs.RegField(0))},
		"cannot be written":                {ovs.SetField(ovs.EthType(1))},
		"set_field of no field":            {ovs.SetField(ovs.Reg(99, 1))},
		"set_field of no field or no bits": {ovs.Load(1, ovs.EthSrcField.Bits(40, 9))},
		"in the exec of ct":                {ovs.SetField(ovs.CTMark(1))},
		"has not 16 bits":                  {ovs.CT(ovs.CTOptions{ZoneField: &zone})},
		"nat of source and destination":    {ovs.CT(ovs.CTOptions{Commit: true, NAT: &ovs.NAT{Src: true, Dst: true}})},
		"output:1 in the exec of ct":       {ovs.CT(ovs.CTOptions{Commit: true, Exec: []ovs.Action{ovs.Output(1)}})},
		"exec without commit":              {ovs.CT(ovs.CTOptions{Exec: []ovs.Action{ovs.SetField(ovs.CTMark(1))}})},
		"learn: a match":                   {ovs.Learn(ovs.LearnSpec{Match: []ovs.FieldMatch{ovs.RegMasked(0, 1, 5)}})},
		"learn: load of reg0 under a mask": {ovs.Learn(ovs.LearnSpec{Load: []ovs.FieldMatch{ovs.RegMasked(0, 1, 5)}})},
		"not a run of at most 32 bits":     {ovs.OutputField(ovs.EthSrcField)},
	} {
		err := ovs.Flow{Table: 4, Actions: actions}.Validate()
		require.ErrorIs(t, err, ovs.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, ovs.Flow{Table: 255}.Validate(), ovs.ErrInvalid)
}

func TestGroupValidate(t *testing.T) {
	for want, g := range map[string]ovs.Group{
		"reserved":            {ID: 0xffffff00},
		"no such type":        {Type: 9},
		"want 1":              {Type: ovs.Indirect},
		"want hash":           {Type: ovs.Select, Selection: "fair"},
		"of a group of type":  {Type: ovs.All, Selection: "hash"},
		"without selection":   {Type: ovs.Select, Fields: []ovs.Field{ovs.FieldIPv4Src}},
		"two buckets with id": {Buckets: []ovs.Bucket{{ID: 1}, {ID: 1}}},
		"goto_table:3 is":     {Buckets: []ovs.Bucket{{ID: 1, Actions: []ovs.Action{ovs.Goto(3)}}}},
	} {
		err := g.Validate()
		require.ErrorIs(t, err, ovs.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
}

func TestRunOfBits(t *testing.T) {
	s, ok := ovs.RegMasked(3, 0x50, 0xf0).Run()
	require.True(t, ok)
	require.Equal(t, ovs.RegField(3).Bits(4, 4), s)
	require.Equal(t, uint64(5), ovs.RegMasked(3, 0x50, 0xf0).RunValue(s))
	_, ok = ovs.RegMasked(3, 0x50, 0xf1).Run()
	require.False(t, ok)
	require.Equal(t, ovs.SetField(ovs.RegMasked(3, 0x50, 0xf0)), ovs.Load(5, s))
}

func TestCookie(t *testing.T) {
	c := ovs.MakeCookie(0x74, 2, 0xdeadbeef)
	require.Equal(t, uint64(0x74020000deadbeef), c)
	require.Equal(t, []any{uint8(0x74), uint8(2), uint32(0xdeadbeef)}, []any{ovs.CookieOwner(c), ovs.CookieFeature(c), ovs.CookieObject(c)})
	require.Equal(t, uint32(0x811c9dc5), ovs.ObjectHash(""), "offset basis of FNV-1a")
	require.Equal(t, uint32(0xe40c292c), ovs.ObjectHash("a"))
}

func TestMAC(t *testing.T) {
	m, err := ovs.ParseMAC("02:74:6C:00:00:01")
	require.NoError(t, err)
	require.Equal(t, mac(1), m)
	require.Equal(t, "02:74:6c:00:00:01", m.String())
	for _, bad := range []string{"", "02:74", "02:74:6c:00:00:01:02:03"} {
		_, err := ovs.ParseMAC(bad)
		require.Error(t, err)
	}
}

func TestPipeline(t *testing.T) {
	p, err := ovs.NewPipeline([]ovs.Stage{{"classify", 0, "who sent it"}, {"l2", 40, ""}, {"output", 80, "where to"}})
	require.NoError(t, err)
	require.Equal(t, "  0  classify  who sent it\n 40  l2\n 80  output    where to\n", p.String())
	table, ok := p.Table("l2")
	require.True(t, ok)
	require.Equal(t, uint8(40), table)
	next, ok := p.Next("l2")
	require.True(t, ok)
	require.Equal(t, uint8(80), next)
	_, ok = p.Next("output")
	require.False(t, ok)
	require.Equal(t, "l2", p.Name(40))
	require.Equal(t, "table 41", p.Name(41))
	for _, bad := range [][]ovs.Stage{
		{{"a", 1, ""}, {"b", 1, ""}}, {{"a", 2, ""}, {"b", 1, ""}}, {{"a", 1, ""}, {"a", 2, ""}}, {{"", 1, ""}}, {{"a", 255, ""}},
	} {
		_, err := ovs.NewPipeline(bad)
		require.ErrorIs(t, err, ovs.ErrInvalid)
	}
}
