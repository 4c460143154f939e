package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Workload answers on TCP and UDP ports with its name and the address it
// sees its peer at, one line for each line or datagram, until ctx is done.
func Workload(ctx context.Context, name string, tcp, udp []string) error {
	var lc net.ListenConfig
	var closers []func() error
	defer func() {
		for _, c := range closers {
			_ = c()
		}
	}()
	failed := make(chan error, len(tcp)+len(udp))
	for _, port := range tcp {
		ln, err := lc.Listen(ctx, "tcp", ":"+port)
		if err != nil {
			return err
		}
		closers = append(closers, ln.Close)
		go func() { failed <- serveTCP(ln, name) }()
	}
	for _, port := range udp {
		pc, err := lc.ListenPacket(ctx, "udp", ":"+port)
		if err != nil {
			return err
		}
		closers = append(closers, pc.Close)
		go func() { failed <- serveUDP(pc, name) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func answer(name string, peer net.Addr, line string) string {
	return fmt.Sprintf("%s %s %s\n", name, peer, line)
}

func serveTCP(ln net.Listener, name string) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				if _, err := c.Write([]byte(answer(name, c.RemoteAddr(), lines.Text()))); err != nil {
					return
				}
			}
		}()
	}
}

func serveUDP(pc net.PacketConn, name string) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err == nil {
			_, _ = pc.WriteTo([]byte(answer(name, from, strings.TrimSpace(string(buf[:n])))), from)
		}
	}
}
