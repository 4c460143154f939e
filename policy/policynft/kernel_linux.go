package policynft

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A kernel is the table on the other side of a socket. Chains, maps and sets are never
// changed in a way that matters to packets, but made anew in another epoch, which is in their name.
type kernel struct {
	conn   *nftables.Conn
	ct     *netlink.Conn // to connection tracking
	table  *nftables.Table
	epoch  int            // the last one
	epochs map[string]int // of each chain, map and set in use
	ids    uint32         // of sets in transactions
}

// socketBuffer has room for the acknowledgements of a large transaction.
const socketBuffer = 16 << 20

func open(cfg Config, netns int) (*kernel, error) {
	buffers := func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	}
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(buffers)}
	if netns != 0 {
		opts = append(opts, nftables.WithNetNSFd(netns))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("policynft: open netlink socket: %w", err)
	}
	ct, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("policynft: open netlink socket: %w", err), conn.CloseLasting())
	}
	_ = ct.SetReadBuffer(socketBuffer) // as much as may be
	return &kernel{conn: conn, ct: ct, epochs: map[string]int{}, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: cfg.Table}}, nil
}

func (k *kernel) close() error { return errors.Join(k.conn.CloseLasting(), k.ct.Close()) }

// name is what a chain, map or set is called.
func (k *kernel) name(s string) string { return s + "." + strconv.Itoa(k.epochs[s]) }

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
// force until all of the new is.
func (k *kernel) replace(next *Ruleset) error {
	k.conn.AddTable(k.table)
	if err := k.conn.Flush(); err != nil {
		return err
	}
	old, err := k.find()
	if err != nil {
		return err
	}
	k.epoch = old.epoch
	if err := k.build(&Ruleset{}, next); err != nil {
		return err
	}
	if err := k.sweep(old, next); err != nil {
		return fmt.Errorf("remove what was there: %w", err)
	}
	return nil
}

// change turns one Ruleset into another.
func (k *kernel) change(old, next *Ruleset) error {
	stale := next.stale(old)
	if len(stale) == 0 {
		return nil
	}
	before := maps.Clone(k.epochs)
	if err := k.build(old, next); err != nil {
		return err
	}
	return k.drop(old, next, before)
}

// build makes what differs beside what is there, and has the base chains turn to it:
// for each packet everything is either as before or as after.
func (k *kernel) build(old, next *Ruleset) error {
	stale := next.stale(old)
	k.epoch++
	for name := range stale {
		k.epochs[name] = k.epoch
	}
	for _, name := range added(old.counters, next.counters) {
		k.conn.AddObj(k.counter(name))
	}
	for _, name := range in(stale, next.sets) {
		if err := k.set(name, next.sets[name]); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	chains := in(stale, next.chains)
	for _, name := range chains {
		k.conn.AddChain(k.chain(name))
	}
	for _, name := range chains {
		k.rules(k.chain(name), next.chains[name])
	}
	for _, name := range in(stale, next.maps) {
		if err := k.vmap(name, next.maps[name]); err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
	}
	if err := k.conn.Flush(); err != nil {
		return err
	}
	for hook, lines := range next.base() {
		c := k.conn.AddChain(k.baseChain(hook, next.cfg))
		k.conn.FlushChain(c)
		k.rules(c, lines)
	}
	return k.conn.Flush()
}

// drop removes what has no use any more. It had the names of epochs before.
func (k *kernel) drop(old, next *Ruleset, before map[string]int) error {
	now := k.epochs
	gone := func(name string, still bool) bool { return !still || now[name] != before[name] }
	k.epochs = before
	var chains []string
	for name := range old.chains {
		if _, still := next.chains[name]; gone(name, still) {
			k.conn.FlushChain(k.chain(name))
			chains = append(chains, name)
		}
	}
	for name := range old.maps {
		if gone(name, true) {
			k.conn.DelSet(&nftables.Set{Table: k.table, Name: k.name(name)})
		}
	}
	for _, name := range chains {
		k.conn.DelChain(k.chain(name))
	}
	for name := range old.sets {
		if _, still := next.sets[name]; gone(name, still) {
			k.conn.DelSet(&nftables.Set{Table: k.table, Name: k.name(name)})
		}
	}
	for _, name := range added(next.counters, old.counters) {
		k.conn.DeleteObject(k.counter(name))
	}
	for name := range now {
		if !next.has(name) {
			delete(now, name)
		}
	}
	k.epochs = now
	return k.conn.Flush()
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

// set makes a set.
func (k *kernel) set(name string, next set) error {
	s := k.kernelSet(name, next)
	k.ids++
	s.ID = k.ids
	if err := k.conn.AddSet(s, nil); err != nil {
		return err
	}
	if next.family == anyFamily {
		return inParts(portElements(next.ports), func(part []nftables.SetElement) error { return k.conn.SetAddElements(s, part) })
	}
	return inParts(prefixElements(next.prefixes), func(part []nftables.SetElement) error { return k.conn.SetAddElements(s, part) })
}

func (k *kernel) kernelSet(name string, s set) *nftables.Set {
	out := &nftables.Set{Table: k.table, Name: k.name(name), Interval: true, Comment: comment(s.comment), KeyType: nftables.TypeInetService}
	switch s.family {
	case ipv4:
		out.KeyType = nftables.TypeIPAddr
	case ipv6:
		out.KeyType = nftables.TypeIP6Addr
	}
	return out
}

// elements removes addresses from sets and adds others, in one transaction.
func (k *kernel) elements(r *Ruleset, list []elements) error {
	for _, e := range list {
		to := k.kernelSet(e.set, r.sets[e.set])
		if err := inParts(prefixElements(e.gone), func(part []nftables.SetElement) error { return k.conn.SetDeleteElements(to, part) }); err != nil {
			return err
		}
		if err := inParts(prefixElements(e.come), func(part []nftables.SetElement) error { return k.conn.SetAddElements(to, part) }); err != nil {
			return err
		}
	}
	return k.conn.Flush()
}

// maxElements of a message: their attributes have to fit into one of 64 KiB.
const maxElements = 500

func inParts(list []nftables.SetElement, queue func([]nftables.SetElement) error) error {
	for part := range slices.Chunk(list, maxElements) {
		if err := queue(part); err != nil {
			return err
		}
	}
	return nil
}

// vmap makes a map from interfaces to chains, or that of packets to themselves.
func (k *kernel) vmap(name string, next map[string]string) error {
	k.ids++
	m := &nftables.Set{Table: k.table, Name: k.name(name), ID: k.ids, IsMap: true, KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict}
	if name == toItself {
		m.KeyType = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)
	}
	if err := k.conn.AddSet(m, nil); err != nil {
		return err
	}
	var list []nftables.SetElement
	for _, iface := range slices.Sorted(maps.Keys(next)) {
		list = append(list, k.jump(iface, next[iface]))
	}
	return inParts(list, func(part []nftables.SetElement) error { return k.conn.SetAddElements(m, part) })
}

func (k *kernel) jump(iface, chain string) nftables.SetElement {
	key := make([]byte, maxInterface+1)
	copy(key, iface)
	if chain == "" {
		return nftables.SetElement{Key: append(key, key...), VerdictData: &expr.Verdict{Kind: expr.VerdictReturn}}
	}
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
