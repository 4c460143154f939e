package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/child"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// Config is how to run a lab.
type Config struct {
	// Bin is the folder of the Tierloom binaries.
	Bin string
	// Root is the folder that runs keep their files below. Unix socket paths
	// bound its length. Empty means /run/tierloom.
	Root string
	// Manifests are what the cluster starts with; Policies follow later.
	Manifests, Policies fs.FS
	// JSON is a file that the checks are written to; empty writes none.
	JSON string
	// Logs is a folder that the logs are copied to, in one named after the
	// run; empty keeps none.
	Logs string
	// Picture is the SVG file that the topology is drawn to; empty means
	// topology.svg in the working directory.
	Picture string
	// Keep leaves the lab up after the checks until it is interrupted.
	Keep bool
	Out  io.Writer
}

// A Lab is one run.
type Lab struct {
	cfg Config
	id  string
	dir string

	undo       undo
	processes  map[string]*child.Process
	pki        *pki
	managerURL string
	api        *api.Client
	started    time.Time

	mu       sync.Mutex
	switches map[string]*ovstest.Instance
	pods     map[string]*pod
	checks   []Check
	drawn    bool
}

// A Check is one thing that the lab looked at.
type Check struct {
	Group    string        `json:"group"`
	Name     string        `json:"name"`
	Expected string        `json:"expected"`
	Seen     string        `json:"seen"`
	OK       bool          `json:"ok"`
	Took     time.Duration `json:"took_ns"`
}

// ErrChecks says that the lab worked and a check did not hold.
var ErrChecks = errors.New("checks failed")

// Run brings a lab up, checks it and takes it down. It returns [ErrChecks]
// when a check did not hold, and another error when the lab could not be
// built or left something behind.
func Run(ctx context.Context, cfg Config) (err error) {
	l, err := newLab(cfg)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, l.keepLogs())
		l.step("taking the lab down")
		err = errors.Join(err, l.undo.run(), l.leftovers())
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(cfg.Out, "interrupted")
		}
	}()
	if err := l.up(ctx); err != nil {
		return err
	}
	if err := l.runChecks(ctx); err != nil {
		return err
	}
	if err := l.summary(); err != nil {
		return err
	}
	if cfg.Keep {
		l.lookAround()
		l.cfg.Out = io.Discard // who started the holder has gone
		<-ctx.Done()
	}
	return nil
}

func newLab(cfg Config) (*Lab, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("lab: needs root, for network namespaces")
	}
	if cfg.Root == "" {
		cfg.Root = "/run/tierloom"
	}
	if cfg.Picture == "" {
		cfg.Picture = "topology.svg"
	}
	var b [2]byte
	_, _ = rand.Read(b[:])
	l := &Lab{
		cfg: cfg, id: hex.EncodeToString(b[:]), started: time.Now(),
		processes: map[string]*child.Process{}, switches: map[string]*ovstest.Instance{}, pods: map[string]*pod{},
	}
	l.dir = filepath.Join(cfg.Root, l.id)
	l.undo.push(func() error { return os.RemoveAll(l.dir) })
	for _, d := range []string{"log", "manifests", "status", "pki", "mgr"} {
		if err := os.MkdirAll(filepath.Join(l.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	pid := fmt.Append(nil, os.Getpid())
	return l, os.WriteFile(filepath.Join(l.dir, pidFile), pid, 0o644)
}

// pidFile tells [Down] who holds a run.
const pidFile = "lab.pid"

// up builds everything until the pods run.
func (l *Lab) up(ctx context.Context) error {
	pods, err := readPods(l.cfg.Manifests)
	if err := errors.Join(err, checkBinaries(l.cfg.Bin)); err != nil {
		return err
	}
	for _, s := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"machines and wires", l.buildFabric},
		{"Open vSwitch on hosts, nodes and edge", l.startSwitches},
		{"Tierloom processes", l.startProcesses},
		{"infrastructure objects", l.applyInfrastructure},
		{"vNICs plugged into the hosts", l.plugNodes},
		{"manifests", func(context.Context) error { return l.copyManifests(l.cfg.Manifests) }},
		{"pods attached by the CNI plugin", func(ctx context.Context) error { return l.startPods(ctx, pods) }},
	} {
		if err := l.timed(ctx, s.what, s.do); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

// step prints what the lab does now.
func (l *Lab) step(format string, args ...any) {
	fmt.Fprintf(l.cfg.Out, "==> %s\n", fmt.Sprintf(format, args...))
}

func (l *Lab) timed(ctx context.Context, what string, do func(context.Context) error) error {
	began := time.Now()
	err := do(ctx)
	fmt.Fprintf(l.cfg.Out, "==> %-45s %6.2fs\n", what, time.Since(began).Seconds())
	return err
}

// check records and prints one check.
func (l *Lab) check(c Check) {
	verdict := "ok  "
	if !c.OK {
		verdict = "FAIL"
	}
	fmt.Fprintf(l.cfg.Out, "%s %-13s %s: expected %s, saw %s\n", verdict, c.Group, c.Name, c.Expected, c.Seen)
	l.mu.Lock()
	l.checks = append(l.checks, c)
	l.mu.Unlock()
}

// summary counts the checks, writes them down and draws the topology.
func (l *Lab) summary() error {
	failed := 0
	for _, c := range l.checks {
		if !c.OK {
			failed++
		}
	}
	if l.cfg.JSON != "" {
		raw, err := json.MarshalIndent(l.checks, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(l.cfg.JSON, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(l.cfg.Out, "%d passed, %d failed\n", len(l.checks)-failed, failed)
	fmt.Fprintf(l.cfg.Out, "==> %.1fs in all, topology drawn to %s\n", time.Since(l.started).Seconds(), l.cfg.Picture)
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d", ErrChecks, failed, len(l.checks))
	}
	return nil
}

// keepLogs copies the logs of every process to where the caller wants them.
func (l *Lab) keepLogs() error {
	if l.cfg.Logs == "" {
		return nil
	}
	return os.CopyFS(filepath.Join(l.cfg.Logs, l.id), os.DirFS(filepath.Join(l.dir, "log")))
}

// lookAround prints the commands of one who wants to see the lab.
func (l *Lab) lookAround() {
	ctl := fmt.Sprintf("ip netns exec %s %s --manager %s --tls-ca %s --tls-cert %s --tls-key %s", l.ns(mgr.name),
		filepath.Join(l.cfg.Bin, "tierloomctl"), l.managerURL, l.pki.file("ca", "pem"), l.pki.file("tierloomctl", "pem"), l.pki.file("tierloomctl", "key"))
	fmt.Fprintf(l.cfg.Out, `==> the lab stays up; look around:
  %[1]s get SegmentPort
  %[1]s topology --format mermaid
  OVS_RUNDIR=%[2]s ovs-ofctl -O OpenFlow15 dump-flows unix:%[2]s/br-int.mgmt
  OVS_RUNDIR=%[3]s ovs-appctl -t %[3]s/ovs-vswitchd.ctl dpctl/dump-conntrack
  ip netns exec %[4]s nft list ruleset
  ip netns exec %[5]s ping %[6]s
  ls %[7]s
`+keptMark+"\n", ctl, l.runDir("h1"), l.runDir("n1"), l.ns(edgeNode.name),
		l.ns(l.pod("development/web-1").machine()), l.pod("development/web-3").ip, filepath.Join(l.dir, "log"))
}

// leftovers names what a run should have removed and did not.
func (l *Lab) leftovers() error {
	var errs []error
	found, _ := filepath.Glob(ovstest.NSPath("tl" + l.id + "-*"))
	for _, f := range found {
		errs = append(errs, fmt.Errorf("left behind: namespace %s", filepath.Base(f)))
	}
	if _, err := os.Stat(l.dir); err == nil {
		errs = append(errs, fmt.Errorf("left behind: %s", l.dir))
	}
	return errors.Join(errs...)
}
