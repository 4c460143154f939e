package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

// endHolder ends the process that holds a run and waits until it is gone. Of a
// run whose holder died, now or before, it removes what is left: namespaces
// and files; its processes died with the holder.
func endHolder(ctx context.Context, file string) error {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	dir := filepath.Dir(file)
	if !isLab(pid) {
		return removeOrphan(ctx, dir)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for isLab(pid) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d still holds %s", pid, dir)
		case <-tick.C:
		}
	}
	return removeOrphan(ctx, dir)
}

// isLab reports whether a process runs this program.
func isLab(pid int) bool {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	ours, _ := os.Readlink("/proc/self/exe")
	return err == nil && strings.TrimSuffix(theirs, " (deleted)") == strings.TrimSuffix(ours, " (deleted)")
}

func removeOrphan(ctx context.Context, dir string) error {
	var errs []error
	found, _ := filepath.Glob(ovstest.NSPath("tl" + filepath.Base(dir) + "-*"))
	for _, f := range found {
		errs = append(errs, ovstest.DeleteNS(ctx, filepath.Base(f)))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// inNamespaceTransport makes an HTTP transport open its connections inside a namespace.
func inNamespaceTransport(rt http.RoundTripper, ns string) http.RoundTripper {
	t, ok := rt.(*http.Transport)
	if !ok {
		return rt
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var c net.Conn
		err := ovstest.InNS(ns, func() error {
			var err error
			c, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}
	return t
}
