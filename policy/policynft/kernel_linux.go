package policynft

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// A kernel is the table on the other side of a socket. Chains, maps and sets have an
// epoch in their name, which another Firewall that takes the table over counts up.
type kernel struct {
	conn  *nftables.Conn
	table *nftables.Table
	epoch int
	ids   uint32 // of sets in transactions
}

// socketBuffer has room for the acknowledgements of a large transaction.
const socketBuffer = 16 << 20

func open(cfg Config, netns int) (*kernel, error) {
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(
		func(c *netlink.Conn) error { return c.SetReadBuffer(socketBuffer) },
		func(c *netlink.Conn) error { return c.SetWriteBuffer(socketBuffer) })}
	if netns != 0 {
		opts = append(opts, nftables.WithNetNSFd(netns))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("policynft: open netlink socket: %w", err)
	}
	return &kernel{conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: cfg.Table}}, nil
}

// name is what a chain, map or set is called in this epoch.
func (k *kernel) name(s string) string {
	if k.epoch == 0 {
		return s
	}
	return s + "." + strconv.Itoa(k.epoch)
}

func (k *kernel) chain(name string) *nftables.Chain {
	return &nftables.Chain{Table: k.table, Name: k.name(name)}
}

// baseChain is the chain at a hook.
func (k *kernel) baseChain(hook string, cfg Config) *nftables.Chain {
	hooks := map[string]*nftables.ChainHook{
		"forward": nftables.ChainHookForward, "input": nftables.ChainHookInput, "output": nftables.ChainHookOutput}
	return &nftables.Chain{Table: k.table, Name: baseName(hook, cfg), Type: nftables.ChainTypeFilter,
		Hooknum: hooks[hook], Priority: nftables.ChainPriorityRef(nftables.ChainPriority(cfg.Priority))}
}

// replace makes the table what a Ruleset says, whatever it has. What it has is in
// force until all of the new is: the new is built beside it, and base chains turn to it.
func (k *kernel) replace(next *Ruleset) error {
	k.conn.AddTable(k.table)
	if err := k.conn.Flush(); err != nil {
		return err
	}
	old, err := k.find()
	if err != nil {
		return err
	}
	k.epoch = old.epoch + 1
	if err := k.queue(&Ruleset{}, next); err != nil {
		return err
	}
	for hook, lines := range next.base() {
		c := k.conn.AddChain(k.baseChain(hook, next.cfg))
		k.conn.FlushChain(c)
		k.rules(c, lines)
	}
	if err := k.conn.Flush(); err != nil {
		return err
	}
	if err := k.sweep(old, next); err != nil {
		return fmt.Errorf("remove what was there: %w", err)
	}
	return nil
}

// change turns one Ruleset into another in one transaction.
func (k *kernel) change(old, next *Ruleset) error {
	if err := k.queue(old, next); err != nil {
		return err
	}
	return k.conn.Flush()
}

// queue adds to the transaction what differs, but for base chains: first what rules refer to,
// then rules, then which port has which, then the end of what is no more.
func (k *kernel) queue(old, next *Ruleset) error {
	for _, name := range added(old.counters, next.counters) {
		k.conn.AddObj(k.counter(name))
	}
	for _, name := range slices.Sorted(maps.Keys(next.sets)) {
		if err := k.set(name, old.sets, next.sets[name]); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	for _, name := range added(old.chains, next.chains) {
		k.conn.AddChain(k.chain(name))
	}
	for _, name := range slices.Sorted(maps.Keys(next.chains)) {
		have, ok := old.chains[name]
		if ok && sameLines(have, next.chains[name]) {
			continue
		}
		if ok {
			k.conn.FlushChain(k.chain(name))
		}
		k.rules(k.chain(name), next.chains[name])
	}
	for _, name := range slices.Sorted(maps.Keys(next.maps)) {
		if err := k.vmap(name, old.maps[name], next.maps[name]); err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
	}
	gone := added(next.chains, old.chains)
	for _, name := range gone {
		k.conn.FlushChain(k.chain(name))
	}
	for _, name := range gone {
		k.conn.DelChain(k.chain(name))
	}
	for _, name := range added(next.sets, old.sets) {
		k.conn.DelSet(&nftables.Set{Table: k.table, Name: k.name(name)})
	}
	for _, name := range added(next.counters, old.counters) {
		k.conn.DeleteObject(k.counter(name))
	}
	return nil
}

// added returns the sorted names that one map has more than another.
func added[T any](old, next map[string]T) []string {
	var out []string
	for name := range next {
		if _, ok := old[name]; !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func sameLines(a, b []line) bool {
	return slices.EqualFunc(a, b, func(x, y line) bool { return x.String() == y.String() })
}

func (k *kernel) counter(name string) *nftables.NamedObj {
	return &nftables.NamedObj{Table: k.table, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}}
}

// maxComment leaves room in NFT_USERDATA_MAXLEN (256, linux/netfilter/nf_tables.h).
const maxComment = 200

func comment(s string) string { return s[:min(len(s), maxComment)] }

func (k *kernel) rules(c *nftables.Chain, lines []line) {
	for _, l := range lines {
		r := &nftables.Rule{Table: k.table, Chain: c, Exprs: l.exprs(k.name)}
		if l.comment != "" {
			r.UserData = userdata.AppendString(nil, userdata.TypeComment, comment(l.comment))
		}
		k.conn.AddRule(r)
	}
}

// set makes a set what it has to be.
func (k *kernel) set(name string, old map[string]set, next set) error {
	if have, ok := old[name]; ok { // a set of ports never changes
		return k.elements(name, next, without(have.prefixes, next.prefixes), without(next.prefixes, have.prefixes))
	}
	s := k.kernelSet(name, next)
	k.ids++
	s.ID = k.ids
	if err := k.conn.AddSet(s, nil); err != nil {
		return err
	}
	if next.family == anyFamily {
		return k.inParts(portElements(next.ports), func(part []nftables.SetElement) error { return k.conn.SetAddElements(s, part) })
	}
	return k.elements(name, next, nil, next.prefixes)
}

func (k *kernel) kernelSet(name string, s set) *nftables.Set {
	types := map[family]nftables.SetDatatype{ipv4: nftables.TypeIPAddr, ipv6: nftables.TypeIP6Addr, anyFamily: nftables.TypeInetService}
	return &nftables.Set{Table: k.table, Name: k.name(name), Interval: true, Comment: comment(s.comment), KeyType: types[s.family]}
}

// elements removes addresses from a set and adds others.
func (k *kernel) elements(name string, s set, gone, come []netip.Prefix) error {
	in := k.kernelSet(name, s)
	if err := k.inParts(prefixElements(gone), func(part []nftables.SetElement) error { return k.conn.SetDeleteElements(in, part) }); err != nil {
		return err
	}
	return k.inParts(prefixElements(come), func(part []nftables.SetElement) error { return k.conn.SetAddElements(in, part) })
}

// maxElements of a message: their attributes have to fit into one of 64 KiB.
const maxElements = 500

func (k *kernel) inParts(list []nftables.SetElement, queue func([]nftables.SetElement) error) error {
	for part := range slices.Chunk(list, maxElements) {
		if err := queue(part); err != nil {
			return err
		}
	}
	return nil
}

// vmap makes a map from interfaces to chains what it has to be.
func (k *kernel) vmap(name string, old, next map[string]string) error {
	m := &nftables.Set{Table: k.table, Name: k.name(name), IsMap: true, KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict}
	if old == nil {
		k.ids++
		m.ID = k.ids
		if err := k.conn.AddSet(m, nil); err != nil {
			return err
		}
	}
	var gone, come []nftables.SetElement
	for _, iface := range slices.Sorted(maps.Keys(old)) {
		if chain := old[iface]; next[iface] != chain {
			gone = append(gone, k.jump(iface, chain))
		}
	}
	for _, iface := range slices.Sorted(maps.Keys(next)) {
		if chain := next[iface]; old[iface] != chain {
			come = append(come, k.jump(iface, chain))
		}
	}
	if err := k.inParts(gone, func(part []nftables.SetElement) error { return k.conn.SetDeleteElements(m, part) }); err != nil {
		return err
	}
	return k.inParts(come, func(part []nftables.SetElement) error { return k.conn.SetAddElements(m, part) })
}

func (k *kernel) jump(iface, chain string) nftables.SetElement {
	key := make([]byte, maxInterface+1)
	copy(key, iface)
	return nftables.SetElement{Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: k.name(chain)}}
}

// A find is what is in the table.
type find struct {
	chains  []*nftables.Chain
	sets    []*nftables.Set
	objects []*nftables.NamedObj
	epoch   int // the highest in a name, -1 in an empty table
}

func (k *kernel) find() (find, error) {
	old := find{epoch: -1}
	chains, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return old, fmt.Errorf("chains: %w", err)
	}
	for _, c := range chains {
		if c.Table.Name == k.table.Name {
			c.Table = k.table
			old.chains = append(old.chains, c)
			if c.Hooknum == nil {
				old.saw(c.Name)
			}
		}
	}
	sets, err := k.conn.GetSets(k.table)
	if err != nil {
		return old, fmt.Errorf("sets: %w", err)
	}
	for _, s := range sets {
		if !s.Anonymous {
			old.sets = append(old.sets, s)
			old.saw(s.Name)
		}
	}
	objects, err := k.conn.GetNamedObjects(k.table)
	if err != nil {
		return old, fmt.Errorf("counters: %w", err)
	}
	for _, o := range objects {
		if o, ok := o.(*nftables.NamedObj); ok {
			old.objects = append(old.objects, o)
		}
	}
	return old, nil
}

// saw notes the epoch in a name.
func (f *find) saw(name string) {
	epoch := 0
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			epoch = n
		}
	}
	f.epoch = max(f.epoch, epoch)
}

// sweep removes what was there, but for base chains and counters that are used.
func (k *kernel) sweep(old find, next *Ruleset) error {
	used := map[string]bool{}
	for hook := range next.base() {
		used[baseName(hook, next.cfg)] = true
	}
	gone := slices.DeleteFunc(old.chains, func(c *nftables.Chain) bool { return used[c.Name] })
	for _, c := range gone {
		k.conn.FlushChain(c)
	}
	// Maps refer to chains, and chains to sets.
	for _, s := range old.sets {
		if s.IsMap {
			k.conn.DelSet(s)
		}
	}
	for _, c := range gone {
		k.conn.DelChain(c)
	}
	for _, s := range old.sets {
		if !s.IsMap {
			k.conn.DelSet(s)
		}
	}
	for _, o := range old.objects {
		if _, ok := next.counters[o.Name]; !ok || o.Type != nftables.ObjTypeCounter {
			k.conn.DeleteObject(o)
		}
	}
	return k.conn.Flush()
}
