package ovs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrConflict says that owners of a [Bridge] are at odds.
var ErrConflict = errors.New("conflict")

// A Conflict is two owners at odds, with what each wants: "flow table=…" or
// "group group_id=…".
type Conflict struct {
	Owner, Want           string
	OtherOwner, OtherWant string
}

// String returns both owners with what they want.
func (c Conflict) String() string {
	return fmt.Sprintf("owner %q wants %s, owner %q wants %s", c.Owner, c.Want, c.OtherOwner, c.OtherWant)
}

// named bounds how many faults of a kind one error names.
const named = 10

// check returns what must not be sent: what owners dispute, and what uses a
// group of the share that nobody wants. The latter can come about only with a
// change; all says to look in any case.
func (p *plan) check(all bool) error {
	faults := append(p.groups.disputes(), p.flows.disputes()...)
	if len(faults) > 0 {
		return fmt.Errorf("ovs: %w: %s", ErrConflict, list(faults))
	}
	if !all && len(p.flows.dirty)+len(p.groups.dirty) == 0 {
		return nil
	}
	lacking := func(id uint32) bool {
		if !p.share.hasGroup(id) {
			return false
		}
		s := p.groups.find(&Group{ID: id})
		return s == nil || s.want == nil
	}
	faults = append(p.groups.lacking(lacking), p.flows.lacking(lacking)...)
	if len(faults) > 0 {
		return fmt.Errorf("ovs: %w: %s", ErrInvalid, list(faults))
	}
	return nil
}

// disputes returns the conflicts over a key.
func (l *ledger[T]) disputes() []string {
	var out []string
	for s := range l.disputed {
		for _, c := range l.shared[s] {
			if !l.equal(s.want, c.want) {
				out = append(out, Conflict{s.owner.owner, l.text(s.want), c.owner.owner, l.text(c.want)}.String())
			}
		}
	}
	return out
}

// lacking returns who hands packets to groups that are lacking.
func (l *ledger[T]) lacking(lacking func(id uint32) bool) []string {
	var out []string
	for id := range l.users {
		if !lacking(id) {
			continue
		}
		l.all(func(s *slot[T]) {
			if s.want == nil {
				return
			}
			l.groups(s.want, func(used uint32) {
				if used == id {
					out = append(out, fmt.Sprintf("group %d, which nobody wants, is used by owner %q in %s", id, s.owner.owner, l.text(s.want)))
				}
			})
		})
		if len(out) >= named {
			break
		}
	}
	return out
}

func list(faults []string) string {
	slices.Sort(faults)
	if n := len(faults); n > named {
		faults = append(faults[:named], fmt.Sprintf("and %d more", n-named))
	}
	return strings.Join(faults, "; ")
}
