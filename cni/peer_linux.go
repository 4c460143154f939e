package cni

import (
	"errors"
	"net"
	"syscall"
)

// peerUID returns the user id of the process at the other end (SO_PEERCRED,
// unix(7)), as it was when it connected.
func peerUID(conn net.Conn) (uint32, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var gerr error
	err = raw.Control(func(fd uintptr) {
		cred, gerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, gerr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
