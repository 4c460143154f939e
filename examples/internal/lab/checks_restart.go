package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A background traffic runs until stopped and then says what went wrong.
type traffic struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu                         sync.Mutex
	pings, lost, lines, leaked int
	broken                     error
}

// startTraffic pings across hosts and out of the fabric, keeps one TCP
// stream, and tries what policy denies.
func (l *Lab) startTraffic(ctx context.Context) (*traffic, error) {
	t := &traffic{stop: make(chan struct{})}
	a, b := l.pod("development/web-1"), l.pod("development/web-3")
	denied, redis := l.pod("development/web-2"), l.pod("production/redis-leader")
	stream, err := l.dial(ctx, a.machine(), "tcp", netip.AddrPortFrom(b.ip, 80).String(), patience)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct {
		from *pod
		to   netip.Addr
	}{{a, b.ip}, {l.pod("billing/ledger-1"), external.Addr()}} {
		c, err := l.icmp(p.from.machine())
		if err != nil {
			stream.Close()
			return nil, err
		}
		t.wg.Go(func() { t.ping(c, p.to) })
	}
	t.wg.Go(func() { t.stream(stream) })
	t.wg.Go(func() {
		for !t.ended() {
			if _, err := l.probeWithin(ctx, probeTimeout, denied.machine(), "tcp", netip.AddrPortFrom(redis.ip, 6379)); err == nil {
				t.add(func() { t.leaked++ })
			}
		}
	})
	return t, nil
}

func (t *traffic) add(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

func (t *traffic) ended() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

// ping sends an echo request every 20 ms and counts those without a reply.
func (t *traffic) ping(c net.PacketConn, to netip.Addr) {
	defer c.Close()
	id := uint16(os.Getpid()) ^ uint16(to.As4()[3])<<8
	for seq := uint16(0); !t.ended(); seq++ {
		err := sendEcho(c, to, id, seq)
		if err == nil {
			err = awaitEcho(c, to, id, seq, time.Now().Add(patience))
		}
		t.add(func() {
			t.pings++
			if err != nil {
				t.lost++
			}
		})
		time.Sleep(20 * time.Millisecond)
	}
}

// stream sends a line every 10 ms on one connection and reads its answer.
func (t *traffic) stream(c net.Conn) {
	defer c.Close()
	answers := bufio.NewReader(c)
	for n := 0; !t.ended(); n++ {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintln(c, n); err != nil {
			t.add(func() { t.broken = err })
			return
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.add(func() { t.broken = err })
			return
		}
		t.add(func() { t.lines++ })
		time.Sleep(10 * time.Millisecond)
	}
}

// checkRestarts kills every process in turn under traffic.
func (l *Lab) checkRestarts(ctx context.Context) error {
	const group = "restart"
	t, err := l.startTraffic(ctx)
	if err != nil {
		return err
	}
	var firstErr error
	for _, name := range []string{"ncp", "manager", "host-agent-h1", "node-agent-n1", "edge-agent"} {
		if firstErr = l.restart(ctx, group, name); firstErr != nil {
			break
		}
	}
	close(t.stop)
	t.wg.Wait()
	l.holds(group, "no ping lost while each was killed", "0 lost", t.lost == 0 && t.pings > 50, "%d lost of %d", t.lost, t.pings)
	l.holds(group, "the TCP stream is unbroken", "no error", t.broken == nil && t.lines > 50, "%d lines, error %v", t.lines, t.broken)
	l.equal(group, "no denied probe passed", 0, t.leaked)
	return firstErr
}

// restart kills a process, leaves it dead for a while, starts it again, waits
// until it is healthy and quiet, and compares the manager's counters.
func (l *Lab) restart(ctx context.Context, group, name string) error {
	before, err := l.api.Status(ctx)
	if err != nil {
		return err
	}
	p := l.processes[name]
	p.Kill()
	time.Sleep(300 * time.Millisecond) // dead for a while under traffic
	if err := p.Start(); err != nil {
		return err
	}
	if err := l.wait(ctx, settling, name+" is healthy", func() (bool, string) {
		err := l.healthy(ctx, name)
		return err == nil, errText(err)
	}); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // what it would write, it writes at once
	after, err := l.api.Status(ctx)
	if err != nil {
		return err
	}
	leases := after.Allocations - before.Allocations
	if name == "manager" {
		leases = after.Allocations // it counts from its start
	}
	l.equal(group, name+" killed with -9 and started again writes nothing", "0 intent, 0 leases",
		fmt.Sprintf("%d intent, %d leases", after.Revision-before.Revision, leases))
	return nil
}

// healthy asks a process's health endpoint.
func (l *Lab) healthy(ctx context.Context, name string) error {
	var addr string
	p := l.processes[name]
	for i, a := range p.Argv {
		if a == "--health" {
			addr = p.Argv[i+1]
		}
	}
	if addr == "" {
		return errors.New("has no health endpoint")
	}
	return l.get(ctx, "http://"+addr+"/healthz")
}
