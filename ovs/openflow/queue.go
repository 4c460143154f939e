package openflow

import (
	"context"
	"time"
)

const (
	multipartQueueStats = 5
	multipartQueueDesc  = 15
	allQueues           = 0xffffffff
)

// A Queue is a queue of a port (section 7.3.5.11). Rates are in tenths of a
// percent of the port's; 0xffff is none.
type Queue struct {
	Port, ID         uint32
	MinRate, MaxRate uint16
}

// Queues returns the queues of all ports.
func (c *Conn) Queues(ctx context.Context) ([]Queue, error) {
	if err := c.since(OpenFlow14, "queue-desc"); err != nil {
		return nil, err
	}
	return dump(ctx, c, "queue-desc", multipartQueueDesc, func(xid uint32) []byte {
		return multipartRequest(xid, multipartQueueDesc, anyPort, allQueues)
	}, readQueues)
}

func readQueues(b []byte) ([]Queue, error) {
	r := reader{b: b}
	var out []Queue
	for len(r.b) > 0 {
		q := Queue{Port: r.u32(), ID: r.u32(), MinRate: 0xffff, MaxRate: 0xffff}
		n := int(r.u16())
		e := r.sub(n - 10)
		e.skip(6)
		for len(e.b) > 0 {
			typ, v, err := e.property()
			if err != nil {
				return nil, err
			}
			switch typ {
			case 1:
				q.MinRate = v.u16()
			case 2:
				q.MaxRate = v.u16()
			}
			e.bad = e.bad || v.bad
		}
		if r.bad || e.bad {
			return nil, malformed("queue of length %d", n)
		}
		out = append(out, q)
	}
	return out, nil
}

// A QueueStat is the counters of a queue (section 7.3.5.10).
type QueueStat struct {
	Port, ID                 uint32
	TxBytes, TxPackets, Drop uint64
	Duration                 time.Duration
}

// QueueStats returns the counters of the queues of all ports.
func (c *Conn) QueueStats(ctx context.Context) ([]QueueStat, error) {
	return dump(ctx, c, "queue-stats", multipartQueueStats, func(xid uint32) []byte {
		return multipartRequest(xid, multipartQueueStats, anyPort, allQueues)
	}, older(c, OpenFlow14, readQueueStats, readQueueStats13))
}

func readQueueStats(b []byte) ([]QueueStat, error) {
	r := reader{b: b}
	var out []QueueStat
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		e.skip(6)
		s := readQueueStat(&e)
		if r.bad || e.bad {
			return nil, malformed("counters of a queue of length %d", n)
		}
		out = append(out, s)
	}
	return out, nil
}

func readQueueStat(e *reader) QueueStat {
	return QueueStat{Port: e.u32(), ID: e.u32(), TxBytes: e.u64(), TxPackets: e.u64(), Drop: e.u64(), Duration: e.duration()}
}
