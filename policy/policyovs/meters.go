package policyovs

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs/openflow"
)

// Rates at which packets of a bridge reach the agent, in packets a second, which
// are also the bursts. What is above is counted by the meter's band and not
// answered, logged or looked at; a reply that was not comes again with the next.
const (
	RejectRate = 1000
	LogRate    = 200
	ReplyRate  = 1000
)

// Meters returns the meters that the flows name, those that are not 0.
func (l Layout) Meters() []openflow.Meter {
	var out []openflow.Meter
	for _, m := range []struct{ id, rate uint32 }{{l.RejectMeter, RejectRate}, {l.LogMeter, LogRate}, {l.ReplyMeter, ReplyRate}} {
		if m.id != 0 {
			out = append(out, openflow.Meter{ID: m.id, Flags: openflow.MeterPktps | openflow.MeterBurst | openflow.MeterStats,
				Bands: []openflow.Band{{Type: openflow.BandDrop, Rate: m.rate, Burst: m.rate}}})
		}
	}
	return out
}

// A Metered is a switch with meters; an *openflow.Conn is one.
type Metered interface {
	Meters(ctx context.Context) ([]openflow.Meter, error)
	AddMeter(ctx context.Context, m openflow.Meter) error
	ModifyMeter(ctx context.Context, m openflow.Meter) error
	MeterStats(ctx context.Context) ([]openflow.MeterStat, error)
}

// EnsureMeters makes a switch have the layout's meters. Do it before flows that
// name them are added: the switch does not limit those of a meter that it lacks.
func EnsureMeters(ctx context.Context, sw Metered, l Layout) error {
	have, err := sw.Meters(ctx)
	if err != nil {
		return fmt.Errorf("policyovs: meters: %w", err)
	}
	there := map[uint32]bool{}
	for _, m := range have {
		there[m.ID] = true
	}
	for _, m := range l.Meters() {
		put := sw.AddMeter
		if there[m.ID] {
			put = sw.ModifyMeter
		}
		if err := put(ctx, m); err != nil {
			return fmt.Errorf("policyovs: meters: %w", err)
		}
	}
	return nil
}

// Excess is how many packets did not reach the agent for their number.
type Excess struct{ Rejected, Logged, Replies uint64 }

// MeterExcess reads what the layout's meters have held back.
func MeterExcess(ctx context.Context, sw Metered, l Layout) (Excess, error) {
	stats, err := sw.MeterStats(ctx)
	if err != nil {
		return Excess{}, fmt.Errorf("policyovs: meters: %w", err)
	}
	var e Excess
	to := map[uint32]*uint64{l.RejectMeter: &e.Rejected, l.LogMeter: &e.Logged, l.ReplyMeter: &e.Replies}
	for _, s := range stats {
		if n := to[s.ID]; n != nil && s.ID != 0 && len(s.Bands) > 0 {
			*n = s.Bands[0].Packets
		}
	}
	return e, nil
}
