package ovstest_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A stream sends numbered UDP packets from one namespace to another until the
// test ends, and counts what arrives.
type stream struct {
	sent     atomic.Uint64 // number of the last packet
	received atomic.Uint64 // number of the last packet that arrived
	leaked   atomic.Uint64 // how many arrived with a number above watched
	watched  atomic.Uint64
}

// every is the pace of a stream.
const every = 500 * time.Microsecond

func startStream(t *testing.T, from, to, addr string) *stream {
	t.Helper()
	s := &stream{}
	s.watched.Store(1<<64 - 1)
	var out net.Conn
	var in net.PacketConn
	require.NoError(t, ovstest.InNS(to, func() (err error) { in, err = net.ListenPacket("udp", addr); return err }))
	require.NoError(t, ovstest.InNS(from, func() (err error) { out, err = net.Dial("udp", addr); return err }))
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		in.Close()
		wg.Wait()
		out.Close()
	})
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				// A refused port of an earlier packet may be reported here.
				_, _ = out.Write(binary.BigEndian.AppendUint64(nil, s.sent.Add(1)))
			}
		}
	})
	wg.Go(func() {
		b := make([]byte, 16)
		for {
			n, _, err := in.ReadFrom(b)
			if err != nil {
				return
			}
			if n == 8 {
				number := binary.BigEndian.Uint64(b)
				if number > s.watched.Load() {
					s.leaked.Add(1)
				}
				s.received.Store(number)
			}
		}
	})
	return s
}

// awaitSent returns after n more packets were sent.
func (s *stream) awaitSent(t *testing.T, n uint64) {
	t.Helper()
	until := s.sent.Load() + n
	await(t, "packets are sent", func() bool { return s.sent.Load() >= until })
}

// awaitFresh returns when a packet that is sent from now on has arrived.
func (s *stream) awaitFresh(t *testing.T) {
	t.Helper()
	after := s.sent.Load()
	await(t, "packets arrive", func() bool { return s.received.Load() > after })
}

// await returns when cond is true. It starts no goroutine, which cond may count.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

const shareCookie = 0x74 << 56

var share = ovs.Share{Cookie: shareCookie, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 1 << 20}

// guarded is a pipeline that by default lets everything through between two
// ports, but for UDP to port 9999, and has so many flows in between that it is
// replayed in several bundles.
func guarded(a, b uint32) (open, policy []ovs.Flow) {
	add := func(list *[]ovs.Flow, table uint8, priority uint16, m ovs.Match, actions ...ovs.Action) {
		*list = append(*list, ovs.Flow{Table: table, Priority: priority, Cookie: shareCookie, Match: m, Actions: actions})
	}
	add(&open, 0, 0, ovs.NewMatch(), ovs.Goto(10))
	add(&open, 10, 0, ovs.NewMatch(), ovs.Goto(20))
	add(&open, 20, 1, ovs.NewMatch(ovs.InPort(a)), ovs.Output(b))
	add(&open, 20, 1, ovs.NewMatch(ovs.InPort(b)), ovs.Output(a))
	add(&policy, 20, 500, ovs.NewMatch(ovs.EthType(0x0800), ovs.UDPDst(9999)))
	for i := range uint32(12000) {
		add(&policy, uint8(i%3)*10, 100, ovs.NewMatch(ovs.EthType(0x0800), ovs.Reg(3, i+1)))
	}
	return open, policy
}

// dialer connects to the bridge of an instance.
func dialer(in *ovstest.Instance, bridge string) func(context.Context) (ovs.Link, error) {
	return func(ctx context.Context) (ovs.Link, error) {
		return openflow.Dial(ctx, "unix", in.Mgmt(bridge), openflow.Config{})
	}
}

// TestRestartLeaksNothing kills ovs-vswitchd, and ovsdb-server, while packets
// run that a policy drops: at no time does the default flow get one of them
// through. With flow-restore-wait the switch does not look at packets at all
// until the flows are back.
func TestRestartLeaksNothing(t *testing.T) {
	for _, mode := range []struct {
		name string
		wait bool
	}{{"fail-mode secure", false}, {"flow-restore-wait", true}} {
		t.Run(mode.name, func(t *testing.T) {
			in := ovstest.Start(t)
			in.AddBridge("br0")
			nsA, _, portA := in.AddNS("br0", "10.0.0.1/24")
			nsB, _, portB := in.AddNS("br0", "10.0.0.2/24")
			allowed := startStream(t, nsA, nsB, "10.0.0.2:8888")
			denied := startStream(t, nsA, nsB, "10.0.0.2:9999")
			link, err := dialer(in, "br0")(t.Context())
			require.NoError(t, err)
			defer func() { link.Close() }()
			open, policy := guarded(portA, portB)
			b := ovs.NewBridge(link, share)
			sync := func() ovs.Report {
				t.Helper()
				r, err := b.Sync(t.Context())
				require.NoError(t, err)
				return r
			}

			// Without the policy the packets do get through, and are seen.
			require.NoError(t, b.Set("forward", open, nil))
			sync()
			allowed.awaitFresh(t)
			denied.awaitFresh(t)
			require.NoError(t, b.Set("policy", policy, nil))
			sync()
			in.Appctl("revalidator/wait") // until what the datapath has cached is of these flows
			denied.watched.Store(denied.sent.Load())
			allowed.awaitFresh(t)

			for range 3 {
				if mode.wait {
					_, err := in.Vsctl(t.Context(), "set", "open_vswitch", ".", "other_config:flow-restore-wait=true")
					require.NoError(t, err)
				}
				require.NoError(t, in.RestartVSwitchd(t.Context()))
				denied.awaitSent(t, 100) // into a switch without flows
				link.Close()
				link, err = dialer(in, "br0")(t.Context())
				require.NoError(t, err)
				b.Use(link)
				require.Equal(t, ovs.Report{Added: len(open) + len(policy)}, sync())
				if mode.wait {
					before := allowed.received.Load()
					denied.awaitSent(t, 100)
					require.Equal(t, before, allowed.received.Load(), "the switch waits")
					_, err := in.Vsctl(t.Context(), "remove", "open_vswitch", ".", "other_config", "flow-restore-wait")
					require.NoError(t, err)
				}
				allowed.awaitFresh(t)
				denied.awaitSent(t, 100)
				require.Zero(t, denied.leaked.Load(), "packets got through that a policy drops")
			}

			// The switch keeps its flows when the database restarts.
			require.NoError(t, in.RestartDB(t.Context()))
			allowed.awaitFresh(t)
			r, err := b.Audit(t.Context())
			require.NoError(t, err)
			require.Zero(t, r)
			require.Zero(t, denied.leaked.Load(), "packets got through that a policy drops")
		})
	}
}
