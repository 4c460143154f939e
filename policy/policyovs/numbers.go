package policyovs

import (
	"cmp"

	"github.com/tierloom/tierloom/ovs"
)

// A number is what a thing with a name is called in a register or a conjunction.
type number struct {
	name  string
	home  uint32 // hash of the name; id is this, or soon after it
	id    uint32
	moved func() // called when id is another than before
}

// numbers gives names numbers from 1 on that depend on nothing but which names
// there are, in whatever order they came: the hash, and where two names have
// the same the greater name gives way to the next number (Amble and Knuth,
// "Ordered hash tables", 1974).
type numbers struct {
	hash func(string) uint32
	at   map[uint32]*number
}

func newNumbers() *numbers { return &numbers{hash: ovs.ObjectHash, at: map[uint32]*number{}} }

// add gives a new name its number. Those that give way are told.
func (n *numbers) add(name string, moved func()) *number {
	x := &number{name: name, home: max(n.hash(name), 1), moved: moved}
	n.put(x, x.home)
	return x
}

// put finds a place for x from i on. Who gives way is told once all have a place.
func (n *numbers) put(x *number, i uint32) {
	for ; ; i = after(i) {
		other := n.at[i]
		if other != nil && other.name < x.name {
			continue
		}
		n.at[i] = x
		was := cmp.Or(x.id, i)
		x.id = i
		if was != i {
			x.moved()
		}
		if other == nil {
			return
		}
		x = other
	}
}

// remove takes a number away. Those that move up are told.
func (n *numbers) remove(x *number) {
	var run []*number
	delete(n.at, x.id)
	for i := after(x.id); n.at[i] != nil; i = after(i) {
		run = append(run, n.at[i])
		delete(n.at, i)
	}
	for _, y := range run {
		n.put(y, y.home)
	}
}

func after(i uint32) uint32 { return max(i+1, 1) }
