package lbovs

import (
	"math"
	"time"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/ovs"
)

// prioLearned is that of learned flows in the affinity stage, which has no others.
const prioLearned = 100

// remember learns a flow that has the affinity stage write a bucket's id for
// the next connection of this pod and address to the frontend.
func (c *compiler) remember(f lb.Frontend, bucket uint32) ovs.Action {
	ether := ovs.EthType(etherIPv4)
	if !f.Key.Addr.Is4() {
		ether = ovs.EthType(etherIPv6)
	}
	return ovs.Learn(ovs.LearnSpec{
		Table: c.Affinity, Priority: prioLearned, IdleTimeout: idle(f.Affinity),
		Cookie: ovs.MakeCookie(c.LearnOwner, FeatureFrontend, ovs.ObjectHash(f.Key.String())),
		Match:  []ovs.FieldMatch{ether, ovs.IPDst(host(f.Key.Addr)), ovs.IPProto(f.Key.Proto), dstPort(f.Key)},
		Copy:   []ovs.Field{sourceField(f.Key), ovs.RegField(c.SourceReg).Field},
		Load:   []ovs.FieldMatch{ovs.Reg(c.BackendReg, bucket)},
	})
}

// sourceField is the field that holds the client's address. Groups with
// affinity hash it alone, so that a client's connections agree even before
// the first of them has been learned.
func sourceField(k lb.Key) ovs.Field {
	if k.Addr.Is4() {
		return ovs.IPv4SrcField.Field
	}
	return ovs.IPv6SrcField.Field
}

// idle is an affinity timeout in whole seconds, rounded up, as OpenFlow can hold it.
func idle(d time.Duration) uint16 {
	return uint16(min(math.MaxUint16, (d+time.Second-1)/time.Second))
}
