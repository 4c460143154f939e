package cni

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Listen makes a unix socket of mode 0600 at path, with its folder (mode 0755)
// if that is missing. It never exists with wider permissions: it is bound in a
// private folder and renamed into place. A socket that nobody answers on is
// replaced; one that is alive gives ErrInUse. Closing the listener removes the
// socket, unless another has taken its place.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cni: listen on %s: %w", path, err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("cni: listen on %s: %w", path, ErrInUse)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("cni: listen on %s: a file that is no socket is in the way (%s)", path, fi.Mode())
	}
	tmp, err := os.MkdirTemp(dir, ".s") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("cni: listen on %s: %w", path, err)
	}
	defer os.RemoveAll(tmp)
	private := filepath.Join(tmp, "s")
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: private, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cni: listen on %s: %w", path, err)
	}
	lis.SetUnlinkOnClose(false)
	self, err := publish(private, path)
	if err != nil {
		_ = lis.Close()
		return nil, fmt.Errorf("cni: listen on %s: %w", path, err)
	}
	return &listener{UnixListener: lis, path: path, self: self}, nil
}

func publish(private, path string) (os.FileInfo, error) {
	if err := os.Chmod(private, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(private, path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// listener removes its socket on Close if it still is its own.
type listener struct {
	*net.UnixListener
	path string
	self os.FileInfo
	once sync.Once
}

func (l *listener) Close() error {
	l.once.Do(func() {
		if fi, err := os.Lstat(l.path); err == nil && os.SameFile(fi, l.self) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
