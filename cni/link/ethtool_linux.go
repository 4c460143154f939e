package link

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ifreqData is struct ifreq of linux/if.h with ifr_data in use.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool issues one command that carries one value.
func ethtool(sock int, ifName string, cmd, value uint32) (uint32, error) {
	v := &ethtoolValue{cmd: cmd, data: value}
	req := ifreqData{data: unsafe.Pointer(v)}
	copy(req.name[:unix.IFNAMSIZ-1], ifName)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(sock), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(v)
	if errno != 0 {
		return 0, fmt.Errorf("ethtool command %#x on %s: %w", cmd, ifName, errno)
	}
	return v.data, nil
}

// ioctlSocket opens a socket that speaks for the namespace n.
func ioctlSocket(n netns) (fd int, err error) {
	err = n.do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// txChecksum reports whether the interface leaves transmit checksums to
// hardware it may not have.
func txChecksum(n netns, ifName string) (bool, error) {
	fd, err := ioctlSocket(n)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	v, err := ethtool(fd, ifName, unix.ETHTOOL_GTXCSUM, 0)
	return v != 0, err
}

// txChecksumOff makes the kernel fill in checksums before it transmits; TSO
// goes off with it.
func txChecksumOff(n netns, ifName string) error {
	fd, err := ioctlSocket(n)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = ethtool(fd, ifName, unix.ETHTOOL_STXCSUM, 0)
	return err
}
