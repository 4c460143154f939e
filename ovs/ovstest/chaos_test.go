package ovstest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// chaosEnv is the environment variable that says how often TestChaos kills.
const chaosEnv = "TIERLOOM_CHAOS"

const (
	chaosKills  = 5   // unless the environment says more
	chaosOwners = 100 // of about 100 flows and 5 groups each
	chaosPorts  = 200
)

// TestChaos kills ovs-vswitchd, ovsdb-server or both, and cuts or stalls the
// sockets, while flows, groups and ports are changed. After each time the
// switch must come to be as it should. At the end no goroutine and no
// descriptor is left.
func TestChaos(t *testing.T) {
	kills := chaosKills
	if s := os.Getenv(chaosEnv); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err, chaosEnv)
		kills = n
	}
	in := ovstest.Start(t)
	in.AddBridge("br0")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors(t)
	c := newChaos(t, in, seed)
	for i := range kills {
		start, before := time.Now(), c.steps.Load()
		what := c.disturb(t, i, rng)
		c.awaitRight(t)
		t.Logf("%d: %s: right %v later, %d changes meanwhile", i+1, what, time.Since(start).Round(time.Millisecond), c.steps.Load()-before)
	}
	c.stop()
	await(t, fmt.Sprintf("there are no more than %d goroutines and %d descriptors again", goroutines, descriptors), func() bool {
		return runtime.NumGoroutine() <= goroutines && countDescriptors(t) <= descriptors
	})
	t.Logf("%d syncs, %d of them failed; %d sessions with the database", c.syncs.Load(), c.failed.Load(), c.sessions.Load())
	require.Greater(t, c.failed.Load(), int64(0), "nothing was disturbed")
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

func countDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// chaos is a program that keeps a bridge and its ports while it changes its
// mind about them all the time.
type chaos struct {
	in             *ovstest.Instance
	bridge         *ovs.Bridge
	ofSock, dbSock *relay
	cancel         context.CancelFunc
	wg             sync.WaitGroup
	wake           chan struct{} // ports have changed

	steps, syncs, failed, sessions atomic.Int64

	pause  sync.Mutex // held to keep what is wanted as it is; protects what follows
	flows  map[string][]ovs.Flow
	groups map[string][]ovs.Group
	mu     sync.Mutex // taken after pause, to write ports, or alone, to read them
	ports  map[string]bool
}

func newChaos(t *testing.T, in *ovstest.Instance, seed uint64) *chaos {
	ctx, cancel := context.WithCancel(context.Background())
	c := &chaos{
		in: in, bridge: ovs.NewBridge(nil, share), cancel: cancel, wake: make(chan struct{}, 1),
		ofSock: newRelay(t, in.RunDir+"/of.relay", in.Mgmt("br0")),
		dbSock: newRelay(t, in.RunDir+"/db.relay", in.DBSock),
		flows:  map[string][]ovs.Flow{}, groups: map[string][]ovs.Group{}, ports: map[string]bool{},
	}
	t.Cleanup(c.stop)
	rng := rand.New(rand.NewPCG(seed, 1))
	for n := range chaosOwners {
		require.NoError(t, c.change(rng, n))
	}
	for n := range chaosPorts {
		c.ports[fmt.Sprint("p", n)] = true
	}
	dial := func(ctx context.Context) (ovs.Link, error) {
		return openflow.Dial(ctx, "unix", c.ofSock.path, openflow.Config{EchoInterval: 500 * time.Millisecond})
	}
	c.wg.Go(func() {
		_ = c.bridge.Keep(ctx, dial, ovs.KeepConfig{MaxBackoff: 200 * time.Millisecond, OnSync: func(_ ovs.Report, err error) {
			if c.syncs.Add(1); err != nil {
				c.failed.Add(1)
			}
		}})
	})
	c.wg.Go(func() {
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for ctx.Err() == nil {
			c.sessions.Add(1)
			_ = c.keepPorts(ctx)
			<-again.C
		}
	})
	c.awaitRight(t)
	c.wg.Go(func() { c.mutate(ctx, rng) })
	return c
}

// stop ends it and joins its goroutines; it may be called again.
func (c *chaos) stop() {
	c.cancel()
	c.wg.Wait()
	c.ofSock.close()
	c.dbSock.close()
}

// mutate changes what an owner wants, and now and then the ports, every other millisecond.
func (c *chaos) mutate(ctx context.Context, rng *rand.Rand) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.pause.Lock()
		if err := c.change(rng, rng.IntN(chaosOwners)); err != nil {
			panic(err) // the test's own fault
		}
		if rng.IntN(50) == 0 {
			c.togglePort(fmt.Sprint("p", rng.IntN(chaosPorts+20)))
		}
		c.steps.Add(1)
		c.pause.Unlock()
	}
}

func (c *chaos) togglePort(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports[name] {
		delete(c.ports, name)
	} else {
		c.ports[name] = true
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// change makes an owner want about a hundred flows and five groups.
func (c *chaos) change(rng *rand.Rand, n int) error {
	owner := fmt.Sprint("owner", n)
	var groups []ovs.Group
	for i := range uint32(6) {
		if rng.IntN(6) > 0 {
			actions := []ovs.Action{ovs.Output(1 + rng.Uint32N(9))}
			groups = append(groups, ovs.Group{ID: uint32(n)*6 + i + 1, Type: ovs.All, Buckets: []ovs.Bucket{{ID: 1, Actions: actions}}})
		}
	}
	var flows []ovs.Flow
	for i := range uint32(107) {
		if rng.IntN(20) == 0 {
			continue
		}
		f := ovs.Flow{
			Table: uint8(n % 20), Priority: uint16(100 + i%7), Cookie: ovs.MakeCookie(shareCookie>>56, 1, uint32(n)),
			Match: ovs.NewMatch(ovs.Reg(0, uint32(n)), ovs.Reg(1, i)), Actions: []ovs.Action{ovs.Output(1 + rng.Uint32N(3))},
		}
		if len(groups) > 0 && rng.IntN(10) == 0 {
			f.Actions = []ovs.Action{ovs.ToGroup(groups[rng.IntN(len(groups))].ID)}
		}
		flows = append(flows, f)
	}
	c.flows[owner], c.groups[owner] = flows, groups
	return c.bridge.Set(owner, flows, groups)
}

// keepPorts is one session with the database.
func (c *chaos) keepPorts(ctx context.Context) error {
	db, err := ovsdb.Dial(ctx, "unix", c.dbSock.path, ovsdb.Config{Probe: time.Second, WriteTimeout: 2 * time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	vs, err := ovsdb.NewVSwitch(ctx, db)
	if err != nil {
		return err
	}
	for {
		if err := c.syncPorts(ctx, vs); err != nil {
			return err
		}
		soon, cancel := context.WithTimeout(ctx, time.Second)
		select {
		case <-soon.Done(): // look again: the database may be another
		case <-c.wake:
		}
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (c *chaos) syncPorts(ctx context.Context, vs *ovsdb.VSwitch) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	have, err := vs.Ports(ctx, "br0")
	if err != nil {
		return err
	}
	c.mu.Lock()
	missing := maps.Clone(c.ports)
	c.mu.Unlock()
	for _, p := range have {
		if missing[p.Name] {
			delete(missing, p.Name)
		} else if p.Name != "br0" {
			if err := vs.DeletePort(ctx, "br0", p.Name); err != nil {
				return err
			}
		}
	}
	for name := range missing {
		if _, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: name, Type: "internal"}); err != nil {
			return err
		}
	}
	return nil
}

// disturb does the ith mischief while changes go on, and says what it was.
func (c *chaos) disturb(t *testing.T, i int, rng *rand.Rand) string {
	t.Helper()
	c.awaitSteps(t, rng.Int64N(100))
	socket, resume := c.disturbSocket(t, i)
	daemons := []string{"ovs-vswitchd", "ovsdb-server", "both daemons"}[i%3]
	if daemons != "ovsdb-server" {
		c.in.KillVSwitchd()
	}
	if daemons != "ovs-vswitchd" {
		c.in.KillDB()
	}
	c.awaitSteps(t, rng.Int64N(100))
	require.NoError(t, c.in.StartDB(t.Context()))
	require.NoError(t, c.in.StartVSwitchd(t.Context()))
	c.awaitSteps(t, rng.Int64N(100))
	resume()
	return "killed " + daemons + ", " + socket
}

// disturbSocket cuts or stalls one socket before the kill. A stalled one is so
// until the client has given it up.
func (c *chaos) disturbSocket(t *testing.T, i int) (what string, resume func()) {
	t.Helper()
	r, name := c.ofSock, "OpenFlow"
	if i/2%2 == 1 {
		r, name = c.dbSock, "OVSDB"
	}
	switch {
	case i%5 == 4:
		return "left the sockets alone", func() {}
	case i%2 == 0:
		r.cut()
		return "cut " + name, func() {}
	}
	await(t, "there is a connection to stall", func() bool { return r.connections() > 0 })
	n := r.accepted()
	resume = r.stall()
	await(t, "a stalled connection is given up, and another tried", func() bool { return r.accepted() > n })
	return "stalled " + name, resume
}

func (c *chaos) awaitSteps(t *testing.T, n int64) {
	t.Helper()
	until := c.steps.Load() + n
	await(t, "things change", func() bool { return c.steps.Load() >= until })
}

// awaitRight stops the changes until flows, groups and ports are as they should
// be. It looks past the relays.
func (c *chaos) awaitRight(t *testing.T) {
	t.Helper()
	c.pause.Lock()
	defer c.pause.Unlock()
	var wrong string
	deadline := time.Now().Add(60 * time.Second)
	for {
		if wrong = c.wrong(t.Context()); wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the switch does not come to be right: %.2000s", wrong)
		}
	}
}

// wrong says what is not as it should be.
func (c *chaos) wrong(ctx context.Context) string {
	link, err := openflow.Dial(ctx, "unix", c.in.Mgmt("br0"), openflow.Config{})
	if err != nil {
		return err.Error()
	}
	defer link.Close()
	flows, err := link.Flows(ctx, share.Cookie, share.Mask)
	if err != nil {
		return err.Error()
	}
	groups, err := link.Groups(ctx)
	if err != nil {
		return err.Error()
	}
	d := ovs.Diff(slices.Concat(slices.Collect(maps.Values(c.flows))...), slices.Concat(slices.Collect(maps.Values(c.groups))...), flows, groups)
	if d.Len() > 0 {
		return d.String()
	}
	out, err := c.in.Vsctl(ctx, "list-ports", "br0")
	if err != nil {
		return err.Error()
	}
	if have := strings.Fields(out); len(have) != len(c.ports) || slices.ContainsFunc(have, func(p string) bool { return !c.ports[p] }) {
		return fmt.Sprintf("ports: %v", have)
	}
	return ""
}
