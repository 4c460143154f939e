package hostagent

import (
	"context"
	"net/netip"
	"time"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/topology"
)

// primeEvery is well below the 15 minutes that the userspace datapath keeps
// the neighbours of its tunnels for.
const primeEvery = 5 * time.Minute

// primer is a frame that nobody takes: of an EtherType for local experiments
// (IEEE 802, 0x88b5), from no one to no one.
var primer = append(make([]byte, 12, 60), append([]byte{0x88, 0xb5}, make([]byte, 46)...)...)

// prime sends a frame into the tunnel to each endpoint that none was sent to
// of late, with VNI 0, which no segment has. The userspace datapath asks for a
// tunnel's neighbour when it first sends there, and drops what it had to send:
// better this than a pod's packet. What cannot be sent is tried at the next round.
func (s *session) prime(ctx context.Context, span topology.Span) {
	teps := map[netip.Addr]bool{}
	for _, n := range span.Neighbors {
		teps[n.TEP] = true
	}
	for _, e := range span.Edges {
		teps[e.TEP] = true
	}
	for a := range s.primed {
		if !teps[a] {
			delete(s.primed, a)
		}
	}
	now := time.Now()
	for a := range teps {
		if last, ok := s.primed[a]; ok && now.Sub(last) < primeEvery {
			continue
		}
		err := s.of.PacketOut(ctx, ovs.PortController, primer, ovs.SetField(ovs.TunID(0)), ovs.SetField(ovs.TunDst(a)), ovs.Output(s.tunnel))
		if err != nil {
			s.log.Debug("prime tunnel", "tep", a, "err", err)
			continue
		}
		s.primed[a] = now
	}
}
