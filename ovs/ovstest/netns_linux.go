package ovstest

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InNS calls fn on a thread that is in the named network namespace ("" is the
// current one): sockets that fn opens belong to it for good. Goroutines that
// fn starts do not.
func InNS(ns string, fn func() error) error {
	if ns == "" {
		return fn()
	}
	f, err := os.Open(NSPath(ns))
	if err != nil {
		return fmt.Errorf("ovstest: network namespace %s: %w", ns, err)
	}
	defer f.Close()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("ovstest: enter network namespace %s: %w", ns, err)
			return
		}
		result <- fn()
	}()
	return <-result
}

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ifreqData is struct ifreq of linux/if.h with its pointer member.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// DisableOffload turns checksum offload of a device off, both ways, and with
// it what depends on it, as "ethtool -K dev tx off rx off" does.
func DisableOffload(ns, dev string) error {
	return InNS(ns, func() error {
		if len(dev) >= unix.IFNAMSIZ {
			return fmt.Errorf("ovstest: device name %q is longer than %d bytes", dev, unix.IFNAMSIZ-1)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("ovstest: device %s: %w", dev, err)
		}
		defer unix.Close(fd)
		for _, cmd := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SRXCSUM} {
			value := &ethtoolValue{cmd: cmd}
			req := &ifreqData{data: unsafe.Pointer(value)}
			copy(req.name[:], dev)
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req)))
			runtime.KeepAlive(value)
			if errno != 0 {
				return fmt.Errorf("ovstest: device %s: turn checksum offload off: %w", dev, errno)
			}
		}
		return nil
	})
}
