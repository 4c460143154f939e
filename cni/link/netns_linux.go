package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// netns is an open network namespace; the zero value is the caller's.
type netns struct{ f *os.File }

// openNetNS opens the namespace at path and checks that it is one. A path
// that is missing, or no longer a namespace, gives ErrNetNS.
func openNetNS(path string) (netns, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return netns{}, fmt.Errorf("%w: %s", ErrNetNS, path)
	}
	if err != nil {
		return netns{}, fmt.Errorf("open namespace: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		_ = f.Close()
		return netns{}, fmt.Errorf("%w: %s is no network namespace", ErrNetNS, path)
	}
	return netns{f: f}, nil
}

func (n netns) close() {
	if n.f != nil {
		_ = n.f.Close()
	}
}

// fd returns the descriptor, or 0 for the caller's namespace, as the Config of
// mdlayher/netlink wants it.
func (n netns) fd() int {
	if n.f == nil {
		return 0
	}
	return int(n.f.Fd())
}

// same reports whether both are one namespace.
func (n netns) same(o netns) (bool, error) {
	a, err := n.stat()
	if err != nil {
		return false, err
	}
	b, err := o.stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(a, b), nil
}

func (n netns) stat() (os.FileInfo, error) {
	if n.f == nil {
		return os.Stat("/proc/thread-self/ns/net")
	}
	return n.f.Stat()
}

// do runs fn on a thread that is inside the namespace. The thread is put back
// before another goroutine may use it; if that fails, it ends with its
// goroutine.
func (n netns) do(fn func() error) error {
	if n.f == nil {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open the thread's namespace: %w", err)
			return
		}
		defer home.Close()
		if err := unix.Setns(n.fd(), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter namespace %s: %w", n.f.Name(), err)
			return
		}
		err = fn()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		} // else the goroutine ends locked, and takes the thread with it
		done <- err
	}()
	return <-done
}
