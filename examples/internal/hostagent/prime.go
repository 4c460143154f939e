package hostagent

import (
	"net"
	"net/netip"
	"time"

	"github.com/tierloom/tierloom/topology"
)

// discard is the port that a primer is sent to (RFC 863).
const discard = 9

// primeEvery is well below the 15 minutes that the userspace datapath keeps
// the neighbours of its tunnels for.
const primeEvery = 5 * time.Minute

// prime sends a datagram to each tunnel endpoint that none was sent to of
// late. The userspace datapath learns a tunnel's neighbour from the ARP that
// this causes; without it, the first packet through each tunnel is lost to
// its own ARP request. What cannot be sent is tried at the next round.
func (s *session) prime(span topology.Span) {
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
		c, err := net.Dial("udp", netip.AddrPortFrom(a, discard).String())
		if err != nil {
			s.log.Debug("prime tunnel", "tep", a, "err", err)
			continue
		}
		if _, err := c.Write([]byte{0}); err == nil {
			s.primed[a] = now
		}
		_ = c.Close()
	}
}
