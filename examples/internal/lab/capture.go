package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A capture collects the frames that pass a device, both ways, with their
// VLAN tags in place.
type capture struct {
	fd      int
	ending  chan struct{} // closed to end the reader
	stopped chan struct{} // closed by the reader when it has ended

	mu     sync.Mutex
	frames [][]byte
}

// packetSocket opens an AF_PACKET socket bound to a device of a machine.
func (l *Lab) packetSocket(machine, dev string) (int, error) {
	fd := -1
	err := ovstest.InNS(l.ns(machine), func() error {
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		all := htons(unix.ETH_P_ALL)
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index})
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return -1, fmt.Errorf("packet socket on %s of %s: %w", dev, machine, err)
	}
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// capture starts to collect frames until stop is called.
func (l *Lab) capture(machine, dev string) (*capture, error) {
	fd, err := l.packetSocket(machine, dev)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		unix.Close(fd)
		return nil, err
	}
	tick := unix.NsecToTimeval(50e6)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick); err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &capture{fd: fd, ending: make(chan struct{}), stopped: make(chan struct{})}
	go c.read()
	return c, nil
}

// read collects until ending is closed.
func (c *capture) read() {
	defer close(c.stopped)
	buf, oob := make([]byte, 4096), make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(c.fd, buf, oob, 0)
		if err != nil { // nothing within a tick: all that had come is read
			select {
			case <-c.ending:
				return
			default:
				continue
			}
		}
		frame := withTag(buf[:n], oob[:oobn])
		c.mu.Lock()
		c.frames = append(c.frames, frame)
		c.mu.Unlock()
	}
}

// withTag returns a copy of the frame with the VLAN tag that the kernel
// moved into the auxiliary data put back.
func withTag(frame, oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return append([]byte(nil), frame...)
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < int(unsafe.Sizeof(unix.TpacketAuxdata{})) {
			continue
		}
		aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
		if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 && len(frame) >= 12 {
			out := append([]byte(nil), frame[:12]...)
			out = append(out, 0x81, 0)
			out = binary.BigEndian.AppendUint16(out, aux.Vlan_tci)
			return append(out, frame[12:]...)
		}
	}
	return append([]byte(nil), frame...)
}

// stop ends the capture and returns what was collected.
func (c *capture) stop() [][]byte {
	close(c.ending)
	<-c.stopped
	unix.Close(c.fd)
	return c.frames
}

// A frame is what the checks want to know of an Ethernet frame.
type frame struct {
	src, dst net.HardwareAddr
	vlan     int // -1 for none
	etype    uint16
	srcIP    netip.Addr
	dstIP    netip.Addr
	proto    uint8
	ttl      uint8
	sport    uint16
	dport    uint16
	payload  []byte // of UDP
}

// decode reads an Ethernet frame that carries IPv4, or as much as there is.
func decode(b []byte) frame {
	f := frame{vlan: -1}
	if len(b) < 14 {
		return f
	}
	f.dst, f.src, f.etype = b[0:6], b[6:12], binary.BigEndian.Uint16(b[12:])
	b = b[14:]
	if f.etype == 0x8100 && len(b) >= 4 {
		f.vlan = int(binary.BigEndian.Uint16(b) & 0xfff)
		f.etype, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	if f.etype != 0x0800 || len(b) < 20 {
		return f
	}
	f.ttl, f.proto = b[8], b[9]
	f.srcIP, f.dstIP = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	hl := int(b[0]&0xf) * 4
	if len(b) < hl+8 || f.proto != 6 && f.proto != 17 {
		return f
	}
	b = b[hl:]
	f.sport, f.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if f.proto == 17 {
		f.payload = b[8:]
	}
	return f
}

// inject sends a raw frame out of a device.
func (l *Lab) inject(machine, dev string, b []byte) error {
	fd, err := l.packetSocket(machine, dev)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, b)
	return err
}

// ethernet builds a frame; vlan < 0 means untagged.
func ethernet(dst, src net.HardwareAddr, vlan int, etype uint16, payload []byte) []byte {
	b := append(append([]byte(nil), dst...), src...)
	if vlan >= 0 {
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 0), uint16(vlan))
	}
	return append(binary.BigEndian.AppendUint16(b, etype), payload...)
}

// ipv4 builds a packet with TTL 64 (RFC 791, section 3.1).
func ipv4(src, dst netip.Addr, proto uint8, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

// udp builds a datagram without a checksum (RFC 768 allows zero).
func udp(sport, dport uint16, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// ARP operations (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// arp builds an ARP packet for Ethernet and IPv4.
func arp(op uint16, sha net.HardwareAddr, spa netip.Addr, tha net.HardwareAddr, tpa netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, sha...), spa.AsSlice()...)
	return append(append(b, tha...), tpa.AsSlice()...)
}

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	noMAC     = make(net.HardwareAddr, 6)
)
