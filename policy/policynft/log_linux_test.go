package policynft_test

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

// Messages and attributes of linux/netfilter/nfnetlink_log.h.
const (
	nflogPacket     = unix.NFNL_SUBSYS_ULOG << 8
	nflogConfig     = unix.NFNL_SUBSYS_ULOG<<8 | 1
	nflogCmd        = 1 // NFULA_CFG_CMD
	nflogQThreshold = 5 // NFULA_CFG_QTHRESH
	nflogBind       = 1 // NFULNL_CFG_CMD_BIND
	nflogPrefix     = 10
)

// A packetLog listens to an nflog group.
type packetLog struct {
	conn  *netlink.Conn
	lines []string
}

func newLog(t testing.TB, ns string, group uint16) *packetLog {
	file, err := os.Open(ovstest.NSPath(ns))
	require.NoError(t, err)
	defer file.Close()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(file.Fd())})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	for _, attr := range []netlink.Attribute{{Type: nflogCmd, Data: []byte{nflogBind}}, {Type: nflogQThreshold, Data: []byte{0, 0, 0, 1}}} {
		data, err := netlink.MarshalAttributes([]netlink.Attribute{attr})
		require.NoError(t, err)
		head := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, group)
		_, err = conn.Execute(netlink.Message{Header: netlink.Header{Type: nflogConfig, Flags: netlink.Request | netlink.Acknowledge}, Data: append(head, data...)})
		require.NoError(t, err)
	}
	return &packetLog{conn: conn}
}

// next returns the prefix of the next packet.
func (l *packetLog) next(t testing.TB) string {
	t.Helper()
	require.NoError(t, l.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	for len(l.lines) == 0 {
		list, err := l.conn.Receive()
		require.NoError(t, err)
		for _, m := range list {
			if m.Header.Type != nflogPacket {
				continue
			}
			attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
			require.NoError(t, err)
			for _, a := range attrs {
				if a.Type == nflogPrefix {
					l.lines = append(l.lines, unix.ByteSliceToString(a.Data))
				}
			}
		}
	}
	line := l.lines[0]
	l.lines = l.lines[1:]
	return line
}
