package ovs

// Age brings a new bridge to where its generations are about to be counted anew.
func Age(b *Bridge) {
	b.plan.flows.mark = ^uint32(0) - 9
	b.plan.groups.mark = ^uint32(0) - 9
}

// Slots returns how many keys a bridge remembers, what it has to do among them.
func Slots(b *Bridge) int {
	n := len(b.plan.flows.dirty) + len(b.plan.groups.dirty) + len(b.plan.flows.shared) + len(b.plan.groups.shared)
	b.plan.flows.all(func(*slot[Flow]) { n++ })
	b.plan.groups.all(func(*slot[Group]) { n++ })
	return n
}
