package overlay_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/overlay"
)

func TestHeaderOnTheWire(t *testing.T) {
	h := overlay.Header{VNI: 0x123456, Protocol: overlay.ProtocolEthernet, Critical: true,
		Options: []overlay.Option{{Class: 0x0102, Type: 0x83, Data: []byte{1, 2, 3, 4}}}}
	b, err := h.Append(nil)
	require.NoError(t, err)
	require.Equal(t, []byte{
		2, 0x40, 0x65, 0x58, // version 0, 2 words of options; C; Ethernet
		0x12, 0x34, 0x56, 0, // VNI, reserved
		1, 2, 0x83, 1, 1, 2, 3, 4, // class, type, one word of data
	}, b)
	got, payload, err := overlay.Parse(append(b, "frame"...))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(h, got))
	require.Equal(t, "frame", string(payload))
}

func TestHeaderRefuses(t *testing.T) {
	for name, h := range map[string]overlay.Header{
		"vni":          {VNI: overlay.MaxVNI + 1},
		"odd option":   {Options: []overlay.Option{{Data: make([]byte, 3)}}},
		"long option":  {Options: []overlay.Option{{Data: make([]byte, 128)}}},
		"many options": {Options: make([]overlay.Option, 64)},
	} {
		_, err := h.Append(nil)
		require.ErrorIs(t, err, overlay.ErrInvalid, name)
	}
	for name, b := range map[string][]byte{
		"short":       make([]byte, 7),
		"version":     {0x40, 0, 0, 0, 0, 0, 0, 0},
		"options":     {1, 0, 0, 0, 0, 0, 0, 0},
		"option data": {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		_, _, err := overlay.Parse(b)
		require.ErrorIs(t, err, overlay.ErrMalformed, name)
	}
}

func FuzzParse(f *testing.F) {
	b, _ := overlay.Header{VNI: 7, Options: []overlay.Option{{Class: 1, Data: []byte{1, 2, 3, 4}}}}.Append(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := overlay.Parse(b)
		if err != nil {
			if !errors.Is(err, overlay.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := h.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		h2, payload2, err := overlay.Parse(append(again, payload...))
		if err != nil || !cmp.Equal(h, h2) || !bytes.Equal(payload, payload2) {
			t.Fatalf("%+v -> %+v, %v", h, h2, err)
		}
	})
}

func TestMTU(t *testing.T) {
	for _, c := range []struct {
		underlay int
		ipv6     bool
		options  int
		want     int
	}{{1500, false, 0, 1450}, {1500, true, 0, 1430}, {1600, false, 8, 1542}, {9000, false, 0, 8950}} {
		got, err := overlay.MTU(c.underlay, c.ipv6, c.options)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%+v", c)
	}
	_, err := overlay.MTU(600, false, 0)
	require.ErrorIs(t, err, overlay.ErrInvalid)
	_, err = overlay.MTU(1500, false, 3)
	require.ErrorIs(t, err, overlay.ErrInvalid)
}

func TestTEPTable(t *testing.T) {
	ip := netip.MustParseAddr
	var table overlay.TEPTable
	require.NoError(t, table.SetHost("a", ip("192.0.2.1")))
	require.NoError(t, table.SetHost("b", ip("192.0.2.2")))
	require.ErrorIs(t, table.SetHost("c", ip("192.0.2.1")), overlay.ErrInUse)
	require.ErrorIs(t, table.SetHost("c", netip.Addr{}), overlay.ErrInvalid)
	table.Join(7, "b")
	table.Join(7, "a")
	require.Equal(t, []netip.Addr{ip("192.0.2.2")}, table.Peers(7, "a"))
	require.NoError(t, table.SetHost("b", ip("192.0.2.9")), "a host may move")
	require.Equal(t, []netip.Addr{ip("192.0.2.9")}, table.Peers(7, "a"))
	table.DeleteHost("b")
	require.Empty(t, table.Peers(7, "a"))
}

// TestTrunkAgainstMap runs random steps on a trunk and on two plain maps.
func TestTrunkAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var trunk overlay.Trunk
	model := map[string]uint16{}
	var steps []string
	for range 5000 {
		port, vlan := fmt.Sprint("p", rng.IntN(20)), uint16(rng.IntN(12))
		if rng.IntN(3) == 0 {
			steps = append(steps, "detach "+port)
			trunk.Detach(port)
			delete(model, port)
			continue
		}
		steps = append(steps, fmt.Sprint("attach ", port, " ", vlan))
		got, err := trunk.Attach(port, vlan)
		used := map[uint16]string{}
		for p, v := range model {
			used[v] = p
		}
		have, known := model[port]
		switch {
		case known && (vlan == 0 || vlan == have):
			require.Equal(t, have, got, steps)
		case known, used[vlan] != "":
			require.ErrorIs(t, err, overlay.ErrInUse, steps)
		default:
			require.NoError(t, err, steps)
			require.Empty(t, used[got], steps)
			model[port] = got
		}
	}
	for p, v := range model {
		q, ok := trunk.Port(v)
		require.True(t, ok)
		require.Equal(t, p, q)
	}
	require.Len(t, trunk.Ports(), len(model))
}

func TestTrunkIsBounded(t *testing.T) {
	var trunk overlay.Trunk
	for i := range int(overlay.MaxVLAN) {
		_, err := trunk.Attach(fmt.Sprint(i), 0)
		require.NoError(t, err)
	}
	_, err := trunk.Attach("one more", 0)
	require.ErrorIs(t, err, overlay.ErrExhausted)
	for _, vlan := range []uint16{4094, 4095, 5000} {
		_, err = trunk.Attach("x", vlan)
		require.ErrorIs(t, err, overlay.ErrInvalid)
	}
	_, err = trunk.Attach("", 0)
	require.ErrorContains(t, err, "without a name")
}
