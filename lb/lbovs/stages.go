package lbovs

import (
	"slices"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/ovs"
)

// Priorities within the stages.
const (
	prioNeighbor = 400 // service-ct: neighbor discovery is nobody's connection
	prioInbound  = 380 // service-ct: from the uplink
	prioToSelf   = 350 // service-ct: to the hairpin address
	prioTrack    = 300 // service-ct: from a pod, untracked
	prioKnown    = 250 // service-ct: established, related
	prioNew      = 200 // service-ct: the rest, once tracked

	prioSticky   = 300 // service: the backend that affinity remembers
	prioFrontend = 200 // service: VIP, protocol, port
	prioVIP      = 100 // service: a cluster IP's other packets

	prioReply    = 300 // hairpin: replies
	prioStray    = 290 // hairpin: to the hairpin address without a connection
	prioHairpin  = 200 // hairpin: from a pod to itself
	prioToPod    = 200 // mux
	prioToUplink = 100 // mux
	prioPort     = 100 // classify
)

const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	protoICMP6 = 58
)

// compiler collects flows and groups.
type compiler struct {
	Layout
	uplink Uplink
	flows  []ovs.Flow
	groups []ovs.Group
}

func (c *compiler) add(table uint8, priority uint16, feature uint8, object string, m ovs.Match, actions ...ovs.Action) {
	var hash uint32
	if object != "" {
		hash = ovs.ObjectHash(object)
	}
	c.flows = append(c.flows, ovs.Flow{Table: table, Priority: priority, Cookie: ovs.MakeCookie(c.Owner, feature, hash), Match: m, Actions: actions})
}

// common adds the flows that do not depend on pods and services.
func (c *compiler) common() {
	shared := func(table uint8, priority uint16, m ovs.Match, actions ...ovs.Action) {
		c.add(table, priority, FeaturePipeline, "", m, actions...)
	}
	all := ovs.NewMatch()
	shared(c.Classify, 0, all) // unknown port, VLAN or tag: dropped
	shared(c.ServiceCT, 0, all, ovs.Goto(c.Mux))
	for kind := uint8(133); kind <= 137; kind++ { // RFC 4861, section 4
		shared(c.ServiceCT, prioNeighbor, ovs.NewMatch(ovs.EthType(etherIPv6), ovs.IPProto(protoICMP6), ovs.ICMPv6Type(kind)), ovs.Goto(c.Mux))
	}
	for _, ether := range []uint16{etherIPv4, etherIPv6} {
		ip, self := ovs.EthType(ether), c.Hairpin4
		if ether == etherIPv6 {
			self = c.Hairpin6
		}
		untracked := ovs.CTState(0, ovs.CTTrk)
		shared(c.ServiceCT, prioInbound, ovs.NewMatch(ip, untracked, ovs.Reg(c.SourceReg, 0)), c.ct(c.Mux, nil))
		shared(c.ServiceCT, prioToSelf, ovs.NewMatch(untracked, ovs.IPDst(host(self))),
			ovs.CT(ovs.CTOptions{Zone: c.HairpinZone(), HasTable: true, Table: c.Hairpin, NAT: &ovs.NAT{}}))
		shared(c.ServiceCT, prioTrack, ovs.NewMatch(ip, untracked), c.ct(c.ServiceCT, nil))
		shared(c.ServiceCT, prioKnown, ovs.NewMatch(ip, ovs.CTState(ovs.CTTrk|ovs.CTEst, 0)), ovs.Goto(c.Hairpin))
		shared(c.ServiceCT, prioKnown, ovs.NewMatch(ip, ovs.CTState(ovs.CTTrk|ovs.CTRel, 0)), ovs.Goto(c.Hairpin))
		shared(c.ServiceCT, prioNew, ovs.NewMatch(ip, ovs.CTState(ovs.CTTrk, 0)), ovs.Resubmit(c.Affinity), ovs.Resubmit(c.Service))
		shared(c.Hairpin, prioStray, ovs.NewMatch(ip, ovs.CTZone(c.HairpinZone())))
	}
	shared(c.Service, 0, all, ovs.Goto(c.Hairpin))
	shared(c.Hairpin, 0, all, ovs.Goto(c.Mux))
	shared(c.Mux, 0, all)
}

// ct sends a packet through the zone of the pod, translating what is known;
// with nat, it commits a new connection with that translation.
func (c *compiler) ct(next uint8, nat *ovs.NAT) ovs.Action {
	zone := ovs.RegField(c.ZoneReg).Bits(0, 16)
	o := ovs.CTOptions{ZoneField: &zone, HasTable: true, Table: next, NAT: &ovs.NAT{}}
	if nat != nil {
		o.Commit, o.NAT = true, nat
	}
	return ovs.CT(o)
}

// pod adds what a pod needs: its way in, its way out, its way to itself.
func (c *compiler) pod(p Pod) {
	key, zone := uint32(p.VLAN), uint32(c.Zone(p.VLAN))
	c.add(c.Classify, prioPort, FeaturePod, p.ID, ovs.NewMatch(ovs.InPort(p.OFPort), ovs.NoVLAN()),
		ovs.SetField(ovs.Reg(c.SourceReg, key)), ovs.SetField(ovs.Reg(c.ZoneReg, zone)), ovs.Goto(c.ServiceCT))
	c.add(c.Classify, prioPort, FeaturePod, p.ID, ovs.NewMatch(ovs.InPort(c.uplink.OFPort), ovs.VLANVID(p.VLAN)),
		ovs.PopVLAN(), ovs.SetField(ovs.Reg(c.DestReg, key)), ovs.SetField(ovs.Reg(c.ZoneReg, zone)), ovs.Goto(c.ServiceCT))
	// A hairpin packet leaves by the port it came in by, which takes a cleared in_port.
	c.add(c.Mux, prioToPod, FeaturePod, p.ID, ovs.NewMatch(ovs.Reg(c.DestReg, key)), ovs.ClearInPort(), ovs.Output(p.OFPort))
	c.add(c.Mux, prioToUplink, FeaturePod, p.ID, ovs.NewMatch(ovs.Reg(c.SourceReg, key)),
		ovs.PushVLAN(), ovs.SetField(ovs.VLANVID(p.VLAN)), ovs.Output(c.uplink.OFPort))

	back := []ovs.Action{ovs.SetField(ovs.Reg(c.DestReg, key)), ovs.Move(ovs.EthDstField, ovs.EthSrcField), ovs.SetField(ovs.EthDst(p.MAC))}
	families := map[bool]bool{}
	for _, a := range p.IPs {
		self, ether := c.Hairpin4, uint16(etherIPv4)
		if !a.Is4() {
			self, ether = c.Hairpin6, etherIPv6
		}
		to := ovs.CT(ovs.CTOptions{Commit: true, Zone: c.HairpinZone(), HasTable: true, Table: c.Mux, NAT: &ovs.NAT{Src: true, Min: self}})
		c.add(c.Hairpin, prioHairpin, FeatureHairpin, p.ID,
			ovs.NewMatch(ovs.Reg(c.SourceReg, key), ovs.IPSrc(host(a)), ovs.IPDst(host(a))), append(slices.Clip(back), to)...)
		if families[a.Is4()] {
			continue
		}
		families[a.Is4()] = true
		c.add(c.Hairpin, prioReply, FeatureHairpin, p.ID,
			ovs.NewMatch(ovs.EthType(ether), ovs.Reg(c.SourceReg, key), ovs.CTZone(c.HairpinZone()), ovs.CTState(ovs.CTTrk|ovs.CTRpl, 0)),
			append(slices.Clip(back), c.ct(c.Mux, nil))...)
	}
}

// frontend adds the flows and the group of a frontend.
func (c *compiler) frontend(f lb.Frontend, group uint32) {
	name := f.Key.String()
	to := []ovs.FieldMatch{ovs.IPDst(host(f.Key.Addr)), ovs.IPProto(f.Key.Proto), dstPort(f.Key)}
	if len(f.Backends) == 0 {
		c.add(c.Service, prioFrontend, FeatureNoBackend, name, ovs.NewMatch(to...))
		return
	}
	fresh := append(to, ovs.CTState(ovs.CTTrk|ovs.CTNew, 0))
	c.add(c.Service, prioFrontend, FeatureFrontend, name, ovs.NewMatch(fresh...), ovs.ToGroup(group))
	ids := bucketIDs(f.Backends)
	g := ovs.Group{ID: group, Type: ovs.Select, Selection: c.Selection}
	if f.Affinity > 0 {
		g.Selection, g.Fields = "hash", []ovs.Field{sourceField(f.Key)}
	}
	for b, id := range ids {
		nat := c.ct(c.Hairpin, &ovs.NAT{Dst: true, Min: b.Addr, PortMin: b.Port, PortMax: b.Port})
		bucket := ovs.Bucket{ID: id, Weight: 100, Actions: []ovs.Action{nat}}
		if f.Affinity > 0 {
			bucket.Actions = []ovs.Action{c.remember(f, id), nat}
			chosen := append(slices.Clip(fresh), ovs.Reg(c.BackendReg, id))
			c.add(c.Service, prioSticky, FeatureFrontend, name, ovs.NewMatch(chosen...), nat)
		}
		g.Buckets = append(g.Buckets, bucket)
	}
	slices.SortFunc(g.Buckets, func(a, b ovs.Bucket) int { return int(int64(a.ID) - int64(b.ID)) })
	c.groups = append(c.groups, g)
}

func dstPort(k lb.Key) ovs.FieldMatch {
	switch k.Proto {
	case lb.UDP:
		return ovs.UDPDst(k.Port)
	case lb.SCTP:
		return ovs.SCTPDst(k.Port)
	}
	return ovs.TCPDst(k.Port)
}
