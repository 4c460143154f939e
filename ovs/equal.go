package ovs

import (
	"cmp"
	"slices"
)

// sameEffect reports whether two flows with one key do the same.
func sameEffect(a, b Flow) bool {
	return a.Cookie == b.Cookie && a.IdleTimeout == b.IdleTimeout && a.HardTimeout == b.HardTimeout && a.Flags == b.Flags &&
		a.Importance == b.Importance && sameActions(a.Actions, b.Actions)
}

func sameActions(a, b []Action) bool { return slices.EqualFunc(a, b, sameAction) }

func sameAction(a, b Action) bool {
	switch x := a.(type) {
	case CTAction:
		y, ok := b.(CTAction)
		return ok && sameCT(x.CTOptions, y.CTOptions)
	case LearnAction:
		y, ok := b.(LearnAction)
		return ok && sameLearn(x.LearnSpec, y.LearnSpec)
	case CloneAction:
		y, ok := b.(CloneAction)
		return ok && sameActions(x.Actions, y.Actions)
	case WriteActionsAction:
		y, ok := b.(WriteActionsAction)
		return ok && sameActions(x.Actions, y.Actions)
	case DecTTLIDsAction:
		y, ok := b.(DecTTLIDsAction)
		return ok && slices.Equal(x.IDs, y.IDs)
	case EncapAction:
		y, ok := b.(EncapAction)
		return ok && x.PacketType == y.PacketType && x.MDType == y.MDType && slices.Equal(x.TLVs, y.TLVs)
	case BundleAction:
		y, ok := b.(BundleAction)
		return ok && x.Hash == y.Hash && x.Basis == y.Basis && x.Algorithm == y.Algorithm && x.Dst == y.Dst && slices.Equal(x.Members, y.Members)
	}
	return a == b // the other kinds are comparable
}

func sameCT(a, b CTOptions) bool {
	if a.Commit != b.Commit || a.Alg != b.Alg || a.Force != b.Force || a.HasTable != b.HasTable || a.HasTable && a.Table != b.Table {
		return false
	}
	if (a.ZoneField == nil) != (b.ZoneField == nil) || (a.NAT == nil) != (b.NAT == nil) {
		return false
	}
	if a.ZoneField == nil && a.Zone != b.Zone || a.ZoneField != nil && *a.ZoneField != *b.ZoneField {
		return false
	}
	return (a.NAT == nil || a.NAT.Normal() == b.NAT.Normal()) && sameActions(a.Exec, b.Exec)
}

func sameLearn(a, b LearnSpec) bool {
	return a.Table == b.Table && a.Priority == b.Priority && a.Cookie == b.Cookie &&
		a.IdleTimeout == b.IdleTimeout && a.HardTimeout == b.HardTimeout &&
		a.FinIdleTimeout == b.FinIdleTimeout && a.FinHardTimeout == b.FinHardTimeout &&
		a.DeleteLearned == b.DeleteLearned && a.SendFlowRemoved == b.SendFlowRemoved && a.Limit == b.Limit && a.Result == b.Result &&
		slices.Equal(a.Match, b.Match) && slices.Equal(a.Copy, b.Copy) && slices.Equal(a.MatchFrom, b.MatchFrom) &&
		slices.Equal(a.Load, b.Load) && slices.Equal(a.LoadFrom, b.LoadFrom) && slices.Equal(a.Output, b.Output)
}

func sameGroup(a, b Group) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Selection == b.Selection &&
		slices.Equal(sorted(a.Fields), sorted(b.Fields)) &&
		slices.EqualFunc(a.Buckets, b.Buckets, func(x, y Bucket) bool {
			return x.ID == y.ID && x.WatchPort == y.WatchPort && (a.Type != Select || x.Weight == y.Weight) && sameActions(x.Actions, y.Actions)
		})
}

func sorted[T cmp.Ordered](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
