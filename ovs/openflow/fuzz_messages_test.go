package openflow

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

func hexed(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case uint8:
			b = append(b, v)
		case uint16:
			b = be.AppendUint16(b, v)
		case uint32:
			b = be.AppendUint32(b, v)
		case uint64:
			b = be.AppendUint64(b, v)
		case []byte:
			b = append(b, v...)
		case string:
			b = append(b, v...)
		default:
			panic(v)
		}
	}
	return b
}

var oneMatch = appendMatch(nil, ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800)))

// samples are messages with what is read from each.
var samples = []struct {
	name string
	body []byte
	read func([]byte) (any, error)
	want any
}{
	{"queue", hexed(uint32(1), uint32(3), uint16(32), make([]byte, 6), uint16(1), uint16(8), uint16(100), uint16(0), uint16(2), uint16(8), uint16(500), uint16(0)),
		erase(readQueues), []Queue{{1, 3, 100, 500}}},
	{"queue counters", hexed(uint16(48), make([]byte, 6), uint32(1), uint32(3), uint64(10), uint64(2), uint64(1), uint32(4), uint32(5)),
		erase(readQueueStats), []QueueStat{{1, 3, 10, 2, 1, 4*time.Second + 5}}},
	{"meter", hexed(uint16(40), uint16(MeterKbps), uint32(9), uint16(1), uint16(16), uint32(100), uint32(200), uint32(0), uint16(2), uint16(16), uint32(300), uint32(0), uint8(3), make([]byte, 3)),
		erase(readMeters), []Meter{{9, MeterKbps, []Band{{BandDrop, 100, 200, 0}, {BandRemark, 300, 0, 3}}}}},
	{"meter counters", hexed(uint32(9), uint16(56), make([]byte, 6), uint32(2), uint64(3), uint64(4), uint32(5), uint32(6), uint64(7), uint64(8)),
		erase(readMeterStats), []MeterStat{{9, 2, 3, 4, 5*time.Second + 6, []BucketStat{{7, 8}}}}},
	{"table", hexed(uint16(16), uint8(3), uint8(0), uint32(tableEvict), uint16(propVacancy), uint16(8), []byte{20, 80, 55, 0}),
		erase(readTables), []TableConfig{{3, true, 20, 80, 55}}},
	{"table counters", hexed(uint8(3), make([]byte, 3), uint32(5), uint64(6), uint64(7)), erase(readTableStats), []TableStat{{3, 5, 6, 7}}},
	{"table features", hexed(uint16(72), uint8(3), make([]byte, 5), "three", make([]byte, 27), uint64(1), uint64(2), uint32(0), uint32(9), uint16(featNext), uint16(6), []byte{4, 5, 0, 0}),
		erase(readTableFeatures), []TableFeatures{{Table: 3, Name: "three", MetadataMatch: 1, MetadataWrite: 2, MaxFlows: 9, Next: []uint8{4, 5}}}},
	{"table status", hexed(uint8(4), make([]byte, 7), uint16(8), uint8(3), uint8(0), uint32(0)), erase(readTableStatus), TableStatus{true, TableConfig{Table: 3}}},
	{"aggregate", hexed(uint16(0), uint16(36), []byte{0x80, 2, 3 << 1, 4}, uint32(5), []byte{0x80, 2, 4 << 1, 8}, uint64(6), []byte{0x80, 2, 5 << 1, 8}, uint64(7)),
		erase(readAggregate), Aggregate{5, 6, 7}},
	{"flow changes", hexed(uint16(24+len(oneMatch)), uint16(FlowGone), uint8(3), uint8(RemovedDelete), uint16(1), uint16(2), uint16(3), uint32(0), uint64(4), oneMatch,
		uint16(8), uint16(FlowOwn), uint32(77), uint16(8), uint16(FlowPaused), uint32(0)),
		erase(readFlowChanges), []FlowChange{{Kind: FlowGone, Reason: RemovedDelete, Flow: ovs.Flow{Table: 3, IdleTimeout: 1, HardTimeout: 2, Priority: 3, Cookie: 4, Match: ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800))}},
			{Kind: FlowOwn, XID: 77}, {Kind: FlowPaused}}},
	{"packet-in", hexed(uint32(noBuffer), uint16(99), uint8(PacketAction), uint8(4), uint64(5), oneMatch, uint16(0), "frame"),
		erase(readPacketIn), PacketIn{Length: 99, Reason: PacketAction, Table: 4, Cookie: 5, Metadata: ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800)), Frame: []byte("frame")}},
	{"packet-in2", appendProperty(appendProperty(appendProperty(make([]byte, 8), pinPacket, []byte("frame")), pinFullLen, hexed(uint32(99))), pinUserData, []byte{1, 2}),
		erase(readPacketIn2), PacketIn{Length: 99, Frame: []byte("frame"), UserData: []byte{1, 2}}},
	{"role status", hexed(uint32(RoleSecondary), uint8(1), make([]byte, 3), uint64(7)), erase(readRoleStatus), RoleStatus{RoleSecondary, 1, 7}},
	{"port status", hexed(uint8(PortDeleted), make([]byte, 7), uint32(5), uint16(40), uint16(0), []byte{2, 0, 0, 0, 0, 1}, uint16(0), "p1", make([]byte, 14), uint32(1), uint32(1)),
		func(b []byte) (any, error) { return readPortStatus(b, readPorts) }, PortStatus{PortDeleted, Port{5, "p1", ovs.MAC{2, 0, 0, 0, 0, 1}, PortDown, true}}},
	{"flow removed", hexed(uint8(3), uint8(RemovedHard), uint16(4), uint16(5), uint16(6), uint64(7), oneMatch, uint16(0), uint16(16), []byte{0x80, 2, oxsPackets << 1, 8}, uint64(9)),
		erase(readFlowRemoved), FlowRemoved{RemovedHard, FlowStat{Packets: 9, Flow: ovs.Flow{Table: 3, Priority: 4, IdleTimeout: 5, HardTimeout: 6, Cookie: 7, Flags: ovs.SendFlowRemoved, Match: ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800))}}}},
	{"tunnel options", hexed(make([]byte, 8), uint32(256), uint16(64), make([]byte, 10), uint16(0x102), uint8(0x80), uint8(4), uint16(1), uint16(0)),
		erase(readTunnelTable), TunnelTable{256, 64, []TunnelOption{{0x102, 0x80, 4, 1}}}},
	{"async", hexed(uint16(1), uint16(8), uint32(5), uint16(2), uint16(8), uint32(6)), func(b []byte) (any, error) {
		primary, secondary, err := readAsync(b)
		return [2]Async{primary, secondary}, err
	}, [2]Async{{PacketIn: 5}, {PortStatus: 6}}},
	{"description", hexed("a", make([]byte, 255), "b", make([]byte, 255), "c", make([]byte, 255), "d", make([]byte, 31), "e", make([]byte, 255)), erase(readDescription), []Description{{"a", "b", "c", "d", "e"}}},
	{"forwarded group", hexed(uint8(6), uint8(typeGroupMod), uint16(32), uint32(1), uint16(groupInsertBucket), uint8(ovs.Select), uint8(0), uint32(9), uint16(8), uint16(0), uint32(77),
		uint16(8), uint16(0), uint32(3)), erase(readForward), GroupChanged{groupInsertBucket, ovs.Group{ID: 9, Type: ovs.Select, Buckets: []ovs.Bucket{{ID: 3}}}, 77}},
	{"older forwarded group", hexed(uint8(5), uint8(typeGroupMod), uint16(32), uint32(1), uint16(groupAdd), uint8(ovs.Select), uint8(0), uint32(9), uint16(16), uint16(5), uint32(2), uint32(anyGroup), uint32(0)),
		erase(readForward), GroupChanged{groupAdd, ovs.Group{ID: 9, Type: ovs.Select, Buckets: []ovs.Bucket{{Weight: 5, WatchPort: 2}}}, BucketAll}},
	{"forwarded meter", hexed(uint8(6), uint8(typeMeterMod), uint16(32), uint32(1), uint16(1), uint16(MeterKbps), uint32(9), uint16(1), uint16(16), uint32(100), uint32(200), uint32(0)),
		erase(readForward), MeterChanged{1, Meter{9, MeterKbps, []Band{{BandDrop, 100, 200, 0}}}}},
	{"older flow", hexed(uint16(48+len(oneMatch)), uint8(3), uint8(0), uint32(1), uint32(2), uint16(4), uint16(5), uint16(6), uint16(1), uint32(0), uint64(7), uint64(8), uint64(9), oneMatch),
		erase(readOlderFlowStats), []FlowStat{{ovs.Flow{Table: 3, Priority: 4, IdleTimeout: 5, HardTimeout: 6, Flags: 1, Cookie: 7, Match: ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800))}, 8, 9, time.Second + 2}}},
	{"older group", hexed(uint16(24), uint8(ovs.Select), uint8(0), uint32(9), uint16(16), uint16(5), uint32(2), uint32(anyGroup), uint32(0)),
		erase(readOlderGroups), []ovs.Group{{ID: 9, Type: ovs.Select, Buckets: []ovs.Bucket{{Weight: 5, WatchPort: 2}}}}},
	{"older flow removed", hexed(uint64(7), uint16(4), uint8(RemovedHard), uint8(3), uint32(1), uint32(2), uint16(5), uint16(6), uint64(8), uint64(9), oneMatch),
		erase(readOlderFlowRemoved), FlowRemoved{RemovedHard, FlowStat{ovs.Flow{Table: 3, Priority: 4, IdleTimeout: 5, HardTimeout: 6, Flags: 1, Cookie: 7, Match: ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800))}, 8, 9, time.Second + 2}}},
	{"flow changes of 1.3", hexed(make([]byte, 8), uint16(24+len(oneMatch)), uint16(1), uint16(RemovedDelete), uint16(3), uint16(1), uint16(2), uint16(len(oneMatch)), uint8(3), uint8(0), uint64(4), oneMatch,
		uint16(8), uint16(3), uint32(77)),
		erase(readFlowChanges13), []FlowChange{{Kind: FlowGone, Reason: RemovedDelete, Flow: ovs.Flow{Table: 3, IdleTimeout: 1, HardTimeout: 2, Priority: 3, Cookie: 4, Match: ovs.NewMatch(ovs.Reg(0, 7), ovs.EthType(0x800))}}, {Kind: FlowOwn, XID: 77}}},
	{"older aggregate", hexed(uint64(6), uint64(7), uint32(5), uint32(0)), erase(readOlderAggregate), Aggregate{5, 6, 7}},
	{"port of 1.3", hexed(uint32(5), uint32(0), []byte{2, 0, 0, 0, 0, 1}, uint16(0), "p1", make([]byte, 14), uint32(0), uint32(1), make([]byte, 24)),
		erase(readPorts13), []Port{{5, "p1", ovs.MAC{2, 0, 0, 0, 0, 1}, 0, true}}},
	{"port counters of 1.3", hexed(uint32(5), uint32(0), uint64(1), uint64(2), uint64(3), uint64(4), uint64(5), uint64(6), uint64(7), uint64(8), make([]byte, 32), uint32(1), uint32(2)),
		erase(readPortStats13), []PortStat{{5, 1, 2, 3, 4, 5, 6, 7, 8, time.Second + 2}}},
	{"queue counters of 1.3", hexed(uint32(1), uint32(3), uint64(10), uint64(2), uint64(1), uint32(4), uint32(5)),
		erase(readQueueStats13), []QueueStat{{1, 3, 10, 2, 1, 4*time.Second + 5}}},
	{"async of 1.3", hexed(uint32(1), uint32(2), uint32(3), uint32(4), uint32(5), uint32(6)), func(b []byte) (any, error) {
		primary, secondary, err := readAsync13(b)
		return [2]Async{primary, secondary}, err
	}, [2]Async{{PacketIn: 1, PortStatus: 3, FlowRemoved: 5}, {PacketIn: 2, PortStatus: 4, FlowRemoved: 6}}},
	{"error", hexed(uint16(4), uint16(9), "data"), erase(readError), &Error{Type: 4, Code: 9}},
	{"experimenter's error", hexed(uint16(0xffff), uint16(20), uint32(nicira)), erase(readError), &Error{Type: 0xffff, Code: 20, Experimenter: nicira}},
}

func erase[T any](read func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return read(b) }
}

func TestSamples(t *testing.T) {
	for _, s := range samples {
		got, err := s.read(s.body)
		require.NoError(t, err, s.name)
		require.Empty(t, cmp.Diff(s.want, got, cmp.Comparer(func(a, b ovs.Match) bool { return a.Equal(b) })), s.name)
		for n := 1; n < len(s.body); n++ { // cut short: an error or less, no panic
			if _, err := s.read(s.body[:n]); err != nil {
				require.ErrorIs(t, err, ErrMalformed, s.name)
			}
		}
	}
}

// FuzzMessages feeds every decoder of what a switch sends, chosen by the
// first byte.
func FuzzMessages(f *testing.F) {
	for i, s := range samples {
		f.Add(byte(i), s.body)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		if len(b) > maxLen {
			return
		}
		s := samples[int(which)%len(samples)]
		if _, err := s.read(b); err != nil {
			require.ErrorIs(t, err, ErrMalformed, s.name)
		}
	})
}

// FuzzStream feeds the reader of messages and what judges replies.
func FuzzStream(f *testing.F) {
	f.Add(end(begin(nil, typeBarrierReply, 1), 0))
	f.Add(multipartRequest(1, multipartPortDesc, 1, 2))
	f.Add([]byte{version, typeError, 0, 12, 0, 0, 0, 1, 0, 17, 0, 13})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Conn{version: OpenFlow15, cfg: Config{MaxReply: 1000}, asides: make(chan []byte, 1)}
		for _, e := range []expect{reply(typeBarrierReply, 0), multipart(multipartPortDesc), committed, niciraReply(nxtTLVTableReply)} {
			r := c.reserve(2, func(int) string { return "" }, e)
			_ = c.enter(r)
		}
		br := bufio.NewReaderSize(bytes.NewReader(b), readBuffer)
		for {
			h, body, err := readMessage(br)
			if err == nil {
				err = c.dispatch(h, body)
			}
			if err != nil {
				require.True(t, isOneOf(err, io.EOF, io.ErrUnexpectedEOF, ErrMalformed), "%v", err)
				return
			}
		}
	})
}

func isOneOf(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// FuzzOlderActions rewrites any bytes, as an action that is not known may hold
// them, and what it has rewritten once more: that changes nothing.
func FuzzOlderActions(f *testing.F) {
	for _, s := range seeds {
		flow, err := ovs.ParseFlow(s)
		require.NoError(f, err)
		b, err := appendActions(nil, withoutInstructions(flow.Actions))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxLen/4 {
			return
		}
		once, err := olderActions(nil, b)
		if err != nil {
			return
		}
		twice, err := olderActions(nil, once)
		require.NoError(t, err)
		require.Equal(t, once, twice)
	})
}

func withoutInstructions(list []ovs.Action) []ovs.Action {
	return slices.DeleteFunc(slices.Clone(list), func(a ovs.Action) bool {
		switch a.(type) {
		case ovs.GotoAction, ovs.ClearActionsAction, ovs.WriteActionsAction, ovs.WriteMetadataAction:
			return true
		}
		return false
	})
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]Error{
		"switch refused x: bad match, prerequisite is missing (type 4, code 9)": {Type: 4, Code: 9},
		"switch refused x: bad match (type 4, code 999)":                        {Type: 4, Code: 999},
		"switch refused x: error type 99 (type 99, code 0)":                     {Type: 99},
		"switch refused x: field already mapped (Nicira, code 20)":              {Experimenter: nicira, Type: 0xffff, Code: 20},
		"switch refused x: experimenter 0x2320, code 999":                       {Experimenter: nicira, Type: 0xffff, Code: 999},
		"switch refused x: bundle failed, a message failed (ONF, code 2313)":    {Experimenter: onf, Type: 0xffff, Code: 2313},
		"switch refused x: bad property, no permission (ONF, code 4448)":        {Experimenter: onf, Type: 0xffff, Code: 4448},
		"switch refused x: experimenter 0x4f4e4600, code 1":                     {Experimenter: onf, Type: 0xffff, Code: 1},
		"switch refused x: experimenter 0x1, code 1":                            {Experimenter: 1, Type: 0xffff, Code: 1},
	} {
		e.About = "x"
		require.EqualError(t, &e, "openflow: "+want)
	}
}
