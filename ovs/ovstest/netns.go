package ovstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nsDir is where iproute2 keeps named network namespaces.
const nsDir = "/var/run/netns"

// NSPath returns the file of a named network namespace.
func NSPath(name string) string { return filepath.Join(nsDir, name) }

// NSExists reports whether a network namespace of that name is there.
func NSExists(name string) bool {
	_, err := os.Stat(NSPath(name))
	return err == nil
}

// CreateNS makes a network namespace with its loopback up. After an error
// nothing is left of it.
func CreateNS(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	whole := context.WithoutCancel(ctx) // killed halfway, ip would leave a namespace that nobody removes
	if _, err := Exec(whole, "", "ip", "netns", "add", name); err != nil {
		return err
	}
	if _, err := Exec(whole, "", "ip", "-n", name, "link", "set", "lo", "up"); err != nil {
		return errors.Join(err, DeleteNS(whole, name))
	}
	return nil
}

// DeleteNS removes a network namespace. One that is gone is no error.
func DeleteNS(ctx context.Context, name string) error {
	if !NSExists(name) {
		return nil
	}
	_, err := Exec(ctx, "", "ip", "netns", "del", name)
	return err
}

// VethPair makes two joined Ethernet devices, devA in namespace nsA and devB in
// nsB ("" is the current one), sets both up and turns their checksum offload
// off, without which a userspace bridge forwards packets with wrong checksums.
// It returns once both carry frames.
func VethPair(ctx context.Context, nsA, devA, nsB, devB string) error {
	argv := []string{"ip", "link", "add", devA}
	if nsA != "" {
		argv = append(argv, "netns", nsA)
	}
	argv = append(argv, "type", "veth", "peer", "name", devB)
	if nsB != "" {
		argv = append(argv, "netns", nsB)
	} else if nsA != "" {
		argv = append(argv, "netns", fmt.Sprint(os.Getpid()))
	}
	if _, err := Exec(ctx, "", argv...); err != nil {
		return err
	}
	ends := [][2]string{{nsA, devA}, {nsB, devB}}
	for _, end := range ends {
		if err := DisableOffload(end[0], end[1]); err != nil {
			return err
		}
		set := []string{"ip", "link", "set", end[1], "up"}
		if _, err := Exec(ctx, end[0], set...); err != nil {
			return err
		}
	}
	for _, end := range ends {
		if err := awaitCarrier(ctx, end[0], end[1]); err != nil {
			return err
		}
	}
	return nil
}

// awaitCarrier returns once a device carries frames. One that has just been set
// up does not: the kernel brings it into operation a moment later, and drops
// what is sent before.
func awaitCarrier(ctx context.Context, ns, dev string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var link string
	var failed error
	err := poll(ctx, func() bool {
		link, failed = Exec(ctx, ns, "ip", "-o", "link", "show", dev)
		return failed != nil || strings.Contains(link, " state UP ")
	})
	if err != nil {
		return fmt.Errorf("ovstest: wait for the carrier of %s: %w: %s", dev, err, link)
	}
	return failed
}

// NewNS makes a network namespace of a fresh short name, removed when the test ends.
func NewNS(t testing.TB) string {
	t.Helper()
	Require(t, "root")
	name := "tln" + randomHex(4)
	if err := CreateNS(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNS(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// Run runs argv in a network namespace ("" is the current one) for at most 30
// seconds and returns what it prints; it fails the test when the program fails.
func Run(t testing.TB, ns string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := Exec(ctx, ns, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Veth is VethPair for tests. The devices go with their namespaces; a pair with
// an end in the current one is removed when the test ends.
func Veth(t testing.TB, nsA, devA, nsB, devB string) {
	t.Helper()
	if err := VethPair(t.Context(), nsA, devA, nsB, devB); err != nil {
		t.Fatal(err)
	}
	if nsA == "" || nsB == "" {
		dev := devA
		if nsA != "" {
			dev = devB
		}
		t.Cleanup(func() { _, _ = Exec(context.Background(), "", "ip", "link", "del", dev) })
	}
}
