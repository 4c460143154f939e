package ovstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxRunDir bounds the length of a run directory, so that the sockets in it
// fit into sockaddr_un (108 bytes with the terminator).
const maxRunDir = 70

// InstanceConfig describes an Instance. The zero value is good: it picks fresh names.
type InstanceConfig struct {
	// Name is part of generated names and of log lines. Default: a short random one.
	Name string
	// NetNS is the network namespace the daemons run in. One that exists is
	// used and left alone; otherwise it is made, and removed by Close.
	// Default: a fresh one.
	NetNS string
	// RunDir holds the database, sockets and logs. One that exists is used,
	// with the database in it, and left alone; otherwise it is made, and
	// removed by Close. At most 70 bytes long. Default: a fresh one in the
	// temporary directory.
	RunDir string
}

// Instance is one running Open vSwitch: ovsdb-server and ovs-vswitchd with a
// network namespace, run directory and database of their own. Make one with
// Start or NewInstance. It may be used by several goroutines.
//
// Methods without an error result are for tests: they fail the test that
// started the Instance, and panic on an Instance from NewInstance.
type Instance struct {
	Name   string
	NetNS  string // name of the network namespace, for "ip netns exec"
	RunDir string
	DBSock string // path of the unix socket of ovsdb-server

	t             testing.TB
	ownNS, ownDir bool
	mu            sync.Mutex // serialises starting and stopping; protects db and vswitchd
	db, vswitchd  *process
	closed        bool
}

// Start runs an Open vSwitch for the length of the test. It requires "ovs" and "root".
func Start(t testing.TB) *Instance {
	t.Helper()
	Require(t, "ovs", "root")
	in, err := NewInstance(t.Context(), InstanceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	in.t = t
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of ovs-vswitchd:\n%s", tail(in.path("vswitchd.log"), 3000))
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	return in
}

// NewInstance runs an Open vSwitch until Close, or until this program ends.
// The context bounds the start only.
func NewInstance(ctx context.Context, cfg InstanceConfig) (_ *Instance, err error) {
	in := &Instance{Name: cfg.Name, NetNS: cfg.NetNS, RunDir: cfg.RunDir}
	if in.Name == "" {
		in.Name = "o" + randomHex(3)
	}
	if in.NetNS == "" {
		in.NetNS = "tl" + in.Name
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("ovstest: instance %s: %w", in.Name, err), in.Close())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := in.makeRunDir(); err != nil {
		return nil, err
	}
	in.DBSock = in.path("db.sock")
	if !NSExists(in.NetNS) {
		if err := CreateNS(ctx, in.NetNS); err != nil {
			return nil, err
		}
		in.ownNS = true
	}
	if err := in.createDB(ctx); err != nil {
		return nil, err
	}
	if err := in.StartDB(ctx); err != nil {
		return nil, err
	}
	return in, in.StartVSwitchd(ctx)
}

func (in *Instance) makeRunDir() error {
	if in.RunDir == "" {
		dir, err := os.MkdirTemp("", "tl"+in.Name)
		if err != nil {
			return err
		}
		in.RunDir, in.ownDir = dir, true
	} else if _, err := os.Stat(in.RunDir); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(in.RunDir, 0o755); err != nil {
			return err
		}
		in.ownDir = true
	}
	if n := len(in.RunDir); n > maxRunDir {
		return fmt.Errorf("run directory %s is %d bytes long, at most %d fit a unix socket path", in.RunDir, n, maxRunDir)
	}
	return nil
}

// createDB makes the database file, with the one row ovs-vswitchd waits for.
func (in *Instance) createDB(ctx context.Context) error {
	file := in.path("conf.db")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if _, err := Exec(ctx, "", "ovsdb-tool", "create", file, schemaPath); err != nil {
		return err
	}
	_, err := Exec(ctx, "", "ovsdb-tool", "transact", file,
		`["Open_vSwitch",{"op":"insert","table":"Open_vSwitch","row":{}}]`)
	return err
}

// StartDB starts ovsdb-server and returns once it listens. One that runs is left alone.
func (in *Instance) StartDB(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.db.alive() {
		return nil
	}
	p, err := in.startLocked("ovsdb-server", in.path("conf.db"), "--remote=punix:"+in.DBSock)
	if err != nil {
		return err
	}
	in.db = p
	return p.waitSocket(ctx, in.DBSock)
}

// StartVSwitchd starts ovs-vswitchd and returns once it answers and every
// bridge that had a management socket has it again. One that runs is left alone.
func (in *Instance) StartVSwitchd(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.vswitchd.alive() {
		return nil
	}
	p, err := in.startLocked("ovs-vswitchd", "unix:"+in.DBSock, "--disable-system")
	if err != nil {
		return err
	}
	in.vswitchd = p
	if err := p.waitSocket(ctx, in.path("ovs-vswitchd.ctl")); err != nil {
		return err
	}
	socks, _ := filepath.Glob(in.path("*.mgmt"))
	for _, s := range socks {
		if err := p.waitSocket(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (in *Instance) startLocked(daemon string, args ...string) (*process, error) {
	if in.closed {
		return nil, fmt.Errorf("start %s: the instance is closed", daemon)
	}
	argv := append([]string{"ip", "netns", "exec", in.NetNS, daemon}, args...)
	argv = append(argv, "--pidfile="+in.path(daemon+".pid"), "--unixctl="+in.path(daemon+".ctl"),
		"--log-file="+in.path(strings.TrimPrefix(daemon, "ovs-")+".log"), "-vconsole:off")
	env := []string{"OVS_RUNDIR=" + in.RunDir, "OVS_DBDIR=" + in.RunDir, "OVS_LOGDIR=" + in.RunDir}
	return startProcess(daemon, env, in.path(daemon+".out"), argv...)
}

// KillVSwitchd ends ovs-vswitchd with SIGKILL and reaps it: its flows and connections are lost.
func (in *Instance) KillVSwitchd() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.vswitchd.kill()
}

// KillDB ends ovsdb-server with SIGKILL and reaps it. The database file stays.
func (in *Instance) KillDB() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.db.kill()
}

// RestartVSwitchd kills ovs-vswitchd and starts it again.
func (in *Instance) RestartVSwitchd(ctx context.Context) error {
	in.KillVSwitchd()
	return in.StartVSwitchd(ctx)
}

// RestartDB kills ovsdb-server and starts it again.
func (in *Instance) RestartDB(ctx context.Context) error {
	in.KillDB()
	return in.StartDB(ctx)
}

// Close ends the daemons and removes the namespace and the run directory if
// the Instance made them. It may be called more than once.
func (in *Instance) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	in.vswitchd.stop(5 * time.Second)
	in.db.stop(5 * time.Second)
	var errs []error
	if in.ownNS {
		errs = append(errs, DeleteNS(context.Background(), in.NetNS))
	}
	if in.ownDir {
		errs = append(errs, os.RemoveAll(in.RunDir))
	}
	return errors.Join(errs...)
}

// Mgmt returns the path of the bridge's OpenFlow management socket.
func (in *Instance) Mgmt(bridge string) string { return in.path(bridge + ".mgmt") }

func (in *Instance) path(name string) string { return filepath.Join(in.RunDir, name) }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// tail returns the last n bytes of a file, or why it cannot.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-n):])
}
