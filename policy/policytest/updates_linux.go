package policytest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

// flows are how many streams of datagrams there are.
const flows = 24

// enough is how many batches are sent as fast as can be around an update.
const enough = 50

// markers are how many are sent behind datagrams, one after another: when the last has
// come, no datagram is on its way. A switch takes frames of one port after the other, and
// those of one flow together, so that the first may come before a datagram; but not the
// second, which is not there yet when the switch takes that.
const markers = 2

// A state is a program in force: at the latest since its update returned, at the earliest since
// it began. Until the next one returns it may still be.
type state struct {
	prog         *policy.Program
	begin, ended time.Time
	allows       [flows]verdict
}

// A verdict is what either end allows.
type verdict struct{ out, in bool }

func (v verdict) both() bool { return v.out && v.in }

// A timeline is the states, oldest first.
type timeline struct {
	mu     sync.Mutex // protects states
	states []state
}

func (l *timeline) add(s state) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.states = append(l.states, s)
	return len(l.states) - 1
}

func (l *timeline) returned(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.states[i].ended = time.Now()
}

// during returns the states that were in force at some time from one to another.
func (l *timeline) during(from, to time.Time) []state {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := sort.Search(len(l.states), func(i int) bool { return l.states[i].begin.After(to) })
	first := last - 1
	for ; first > 0; first-- { // what was before it was in force until its update returned
		if done := l.states[first].ended; !done.IsZero() && done.Before(from) {
			break
		}
	}
	return l.states[first:last]
}

// A sent is a datagram on its way.
type sent struct {
	flow     int
	at, seen time.Time // seen is zero until it has come
	gone     time.Time // when it had come, or never would
}

// A stream sends batches of datagrams and sees what comes.
type stream struct {
	packets  [flows]policy.Packet
	from, to [flows]int // sockets
	marker   [2]int     // sockets between two pods without rules
	batches  atomic.Uint64
	awaited  atomic.Uint64 // the number of batches at the last update
	sent     []sent        // by number
}

func updates(t *testing.T, cfg Config, backend func(testing.TB, *Lab) Backend) {
	lab := NewLab(t, cfg.Routed)
	b := backend(t, lab)
	seed := world.Number(t, "TIERLOOM_SEED", 1)
	n := int(world.Number(t, "TIERLOOM_UPDATES", uint64(cmp.Or(cfg.Updates, 100))))
	rnd := source(seed)
	w := world.New(rnd)
	s, err := newStream(rnd, lab, w)
	require(t, err)
	defer s.close()

	line := &timeline{}
	w, e := s.mixed(t, rnd)
	prog := e.Program(w.Local)
	require(t, b.Sync(t.Context(), prog, w.Local))
	at := line.add(s.state(prog, w.Local))
	line.returned(at)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	for i := range n {
		if i%20 == 19 {
			w, e = s.mixed(t, rnd)
		}
		require(t, mutate(rnd, e, &w))
		next := e.Program(w.Local)
		s.await(t, 2, done)
		change := policy.Diff(prog, next)
		at := line.add(s.state(next, w.Local))
		if err := b.Apply(t.Context(), change); err != nil {
			t.Fatalf("seed %d: update %d: %v", seed, i, err)
		}
		line.returned(at)
		prog = next
	}
	s.await(t, 2, done)
	cancel()
	require(t, <-done)
	s.judge(t, cfg, line, seed)
}

// mixed returns a world in which some of the flows pass, and some do not.
func (s *stream) mixed(t testing.TB, rnd *rand.Rand) (world.World, *policy.Engine) {
	for {
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require(t, err)
		pass := 0
		for _, v := range s.state(e.Program(w.Local), w.Local).allows {
			if v.both() {
				pass++
			}
		}
		if pass >= flows/4 && pass <= flows*3/4 {
			return w, e
		}
	}
}

// await waits for some more whole batches.
func (s *stream) await(t testing.TB, more uint64, done chan error) {
	until := s.batches.Load() + more
	defer s.awaited.Store(until)
	for s.batches.Load() < until {
		select {
		case err := <-done:
			t.Fatal(fmt.Errorf("datagrams: %w", err))
		case <-time.After(50 * time.Microsecond):
		}
	}
}

// mutate changes one thing in a world.
func mutate(rnd *rand.Rand, e *policy.Engine, w *world.World) error {
	other := world.New(rnd)
	switch rnd.IntN(6) {
	case 0:
		s := other.Sections[rnd.IntN(len(other.Sections))]
		return e.SetSection(s)
	case 1:
		e.DeleteSection(fmt.Sprintf("s%d", rnd.IntN(5)))
		return nil
	case 2:
		return e.SetGroup(other.Groups[rnd.IntN(len(other.Groups))])
	default:
		m := other.Members[rnd.IntN(len(other.Members))]
		i := slices.IndexFunc(w.Members, func(o policy.Member) bool { return o.ID == m.ID })
		m.IPs = w.Members[i].IPs
		return e.SetMember(m)
	}
}

func newStream(rnd *rand.Rand, lab *Lab, w world.World) (*stream, error) {
	s := &stream{}
	for i := range s.from {
		s.from[i], s.to[i] = -1, -1
	}
	listening := map[netip.AddrPort]int{}
	p := &prober{lab: lab}
	for i := range s.packets {
		k := connection(rnd, w)
		for k.DstPortNo == 0 || !slices.Contains(w.Local, k.SrcPort) && !slices.Contains(w.Local, k.DstPort) {
			k = connection(rnd, w)
		}
		k.Proto, k.SrcPortNo = uint8(policy.UDP), p.source()
		s.packets[i] = k
		var err error
		if s.from[i], err = bound(p.pod(k.Src), netip.AddrPortFrom(k.Src, k.SrcPortNo)); err != nil {
			return nil, err
		}
		at := netip.AddrPortFrom(k.Dst, k.DstPortNo)
		if _, ok := listening[at]; !ok {
			if listening[at], err = bound(p.pod(k.Dst), at); err != nil {
				return nil, err
			}
		}
		s.to[i] = listening[at]
	}
	var err error
	a, b := &lab.Pods[pods-2], &lab.Pods[pods-1]
	if s.marker[0], err = bound(a, netip.AddrPortFrom(a.IPs[0], 7)); err != nil {
		return nil, err
	}
	s.marker[1], err = bound(b, netip.AddrPortFrom(b.IPs[0], 7))
	return s, errors.Join(err, unix.Connect(s.marker[0], sockaddr(b.IPs[0], 7)))
}

func bound(p *Pod, at netip.AddrPort) (int, error) {
	fd, err := p.socket(unix.SOCK_DGRAM, unix.IPPROTO_UDP, at.Addr().Is4())
	if err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, sockaddr(at.Addr(), at.Port()))
}

func (s *stream) close() {
	all := slices.Concat(s.from[:], s.to[:], s.marker[:])
	slices.Sort(all)
	for _, fd := range slices.Compact(all) {
		_ = unix.Close(fd)
	}
}

// state evaluates all flows.
func (s *stream) state(prog *policy.Program, local []string) state {
	out := state{prog: prog, begin: time.Now()}
	o := &oracle{prog: prog, local: local}
	for i, k := range s.packets {
		leaves, reaches := o.ours(k), o.ours(k)
		leaves.DstPort, reaches.SrcPort = "", ""
		out.allows[i] = verdict{prog.Eval(leaves).Allowed(), prog.Eval(reaches).Allowed()}
	}
	out.begin = time.Now()
	return out
}

// run sends batches until the context ends.
func (s *stream) run(ctx context.Context) error {
	defer pin()()
	for ctx.Err() == nil {
		start := len(s.sent)
		for i, k := range s.packets {
			s.sent = append(s.sent, sent{flow: i, at: time.Now()})
			err := unix.Sendto(s.from[i], payload(uint32(i), uint32(len(s.sent)-1)), 0, sockaddr(k.Dst, k.DstPortNo))
			if err != nil {
				return fmt.Errorf("send %+v: %w", k, err)
			}
		}
		for range markers {
			if err := s.mark(uint32(start)); err != nil {
				return err
			}
		}
		if err := s.receive(); err != nil {
			return err
		}
		now := time.Now()
		for i := start; i < len(s.sent); i++ {
			s.sent[i].gone = now
		}
		if s.batches.Add(1) > s.awaited.Load()+enough {
			time.Sleep(time.Millisecond) // the rate while an update takes its time
		}
	}
	return s.receive()
}

// mark sends a marker and waits for it.
func (s *stream) mark(number uint32) error {
	if _, err := unix.Write(s.marker[0], payload(flows, number)); err != nil {
		return fmt.Errorf("marker: %w", err)
	}
	deadline := time.Now().Add(30 * time.Second)
	var buf [16]byte
	for time.Now().Before(deadline) {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.marker[1]), Events: unix.POLLIN}}, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("marker: %w", err)
		}
		if n, err := unix.Read(s.marker[1], buf[:]); err == nil && n == 8 && binary.BigEndian.Uint32(buf[4:]) == number {
			return nil
		}
	}
	return fmt.Errorf("marker %d did not come in 30 s", number)
}

// receive takes what is in all sockets.
func (s *stream) receive() error {
	var buf [16]byte
	for _, fd := range s.to {
		for {
			n, err := unix.Read(fd, buf[:])
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			if number := binary.BigEndian.Uint32(buf[4:]); n == 8 && int(number) < len(s.sent) {
				s.sent[number].seen = time.Now()
			}
		}
	}
	return nil
}

// judge compares every datagram with the states in force while it was on its way.
func (s *stream) judge(t *testing.T, cfg Config, line *timeline, seed uint64) {
	var passed, lost, open, wrong int
	for i, p := range s.sent {
		end := p.gone
		if !p.seen.IsZero() {
			passed++
			end = p.seen
		} else {
			lost++
		}
		list := line.during(p.at, end)
		if len(list) > 1 {
			open++
		}
		some, every := false, true
		out, in := false, false
		for _, st := range list {
			v := st.allows[p.flow]
			some, every = some || v.both(), every && v.both()
			out, in = out || v.out, in || v.in
		}
		if cfg.PerEnd {
			some = out && in
		}
		if !p.seen.IsZero() && some || p.seen.IsZero() && !every {
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("seed %d: datagram %d: passed: %t, in %d states that all say otherwise\n%+v", seed, i, !p.seen.IsZero(), len(list), s.packets[p.flow])
		}
	}
	t.Logf("%d states; datagrams: %d passed, %d did not, %d during an update, %d wrong", len(line.states), passed, lost, open, wrong)
	if passed == 0 || lost == 0 || open == 0 {
		t.Errorf("seed %d: the updates are no test", seed)
	}
}
