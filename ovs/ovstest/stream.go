package ovstest

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"
)

// pace is the time between two packets of a Stream.
const pace = 500 * time.Microsecond

// A Stream sends a numbered UDP packet every half millisecond from one network
// namespace to another, and sees which arrive. Make one with [StartStream]. Its
// methods that wait fail the test after a minute.
type Stream struct {
	t    testing.TB
	stop func()

	mu      sync.Mutex // protects what follows
	sent    uint64     // number of the last packet
	last    uint64     // number of the one that arrived last
	watched uint64     // what has a number above it is counted
	seen    int
}

// StartStream sends from one namespace to an address of another, such as
// "10.0.0.2:8888", until Stop or the end of the test.
func StartStream(t testing.TB, from, to, addr string) *Stream {
	t.Helper()
	var out net.Conn
	var in net.PacketConn
	if err := InNS(to, func() (err error) { in, err = net.ListenPacket("udp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	if err := InNS(from, func() (err error) { out, err = net.Dial("udp", addr); return err }); err != nil {
		in.Close()
		t.Fatal(err)
	}
	s := &Stream{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.stop = sync.OnceFunc(func() {
		cancel()
		in.Close()
		wg.Wait()
		out.Close()
	})
	t.Cleanup(s.stop)
	wg.Go(func() { s.send(ctx, out) })
	wg.Go(func() { s.receive(in) })
	return s
}

func (s *Stream) send(ctx context.Context, out net.Conn) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		s.sent++
		number := s.sent
		s.mu.Unlock()
		_, _ = out.Write(binary.BigEndian.AppendUint64(nil, number)) // what an earlier packet met may be reported here
		<-tick.C
	}
}

func (s *Stream) receive(in net.PacketConn) {
	b := make([]byte, 16)
	for {
		n, _, err := in.ReadFrom(b)
		if err != nil {
			return
		}
		if n != 8 {
			continue
		}
		number := binary.BigEndian.Uint64(b)
		s.mu.Lock()
		s.last = number
		if number > s.watched {
			s.seen++
		}
		s.mu.Unlock()
	}
}

// Stop ends the stream. It may be called again.
func (s *Stream) Stop() { s.stop() }

// AwaitSent returns once n more packets were sent, whether they arrive or not.
func (s *Stream) AwaitSent(n int) {
	s.t.Helper()
	until := s.numbers().sent + uint64(n)
	s.await("packets are sent", func() bool { return s.numbers().sent >= until })
}

// AwaitArrival returns once a packet that was sent after the call has arrived.
func (s *Stream) AwaitArrival() {
	s.t.Helper()
	after := s.numbers().sent
	s.await("packets arrive", func() bool { return s.numbers().last > after })
}

// Watch begins to count anew, what is sent from now on.
func (s *Stream) Watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched, s.seen = s.sent, 0
}

// Seen returns how many packets have arrived of those that were sent since the
// last Watch, or since the start.
func (s *Stream) Seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *Stream) numbers() (n struct{ sent, last uint64 }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.sent, n.last = s.sent, s.last
	return n
}

func (s *Stream) await(what string, cond func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if poll(ctx, cond) != nil {
		s.t.Fatalf("ovstest: waited in vain until %s", what)
	}
}
