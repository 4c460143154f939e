package lbnft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/lb"
)

// regPort4 is the register behind a 4-byte address in register 1 (NFT_REG32_01).
const regPort4 = 9

// regPort6 is the register behind a 16-byte address in register 1 (NFT_REG_2).
const regPort6 = 2

// Apply makes the table what the Ruleset says, in one transaction. It changes
// nothing, and sends no transaction, when the kernel has it already. It
// needs CAP_NET_ADMIN.
func (r *Ruleset) Apply(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := dial(r.cfg)
	if err != nil {
		return err
	}
	if r.present(conn) {
		return nil
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: r.cfg.Table}
	// Deleting a table that is not there fails, adding one that is there does not.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	for _, hook := range r.hooks() {
		if err := r.addHook(conn, table, hook); err != nil {
			return fmt.Errorf("lbnft: table %s: %w", r.cfg.Table, err)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("lbnft: table %s: commit %d frontends: %w", r.cfg.Table, len(r.frontends), err)
	}
	return nil
}

// Delete removes the table of a configuration. One that is not there is no error.
func Delete(ctx context.Context, cfg Config) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	conn, err := dial(cfg)
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: cfg.Table}
	conn.AddTable(table)
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("lbnft: table %s: delete: %w", cfg.Table, err)
	}
	return nil
}

// List reads the frontends of a configuration's table back from the kernel,
// sorted by key; Kind and PortName are not kept there. Without the table there are none.
func List(ctx context.Context, cfg Config) ([]lb.Frontend, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	conn, err := dial(cfg)
	if err != nil {
		return nil, err
	}
	list, err := read(conn, cfg, "prerouting")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	out := make([]lb.Frontend, 0, len(list))
	for _, have := range list {
		out = append(out, have.frontend)
	}
	return out, err
}

func dial(cfg Config) (*nftables.Conn, error) {
	var opts []nftables.ConnOption
	if cfg.NetNS != 0 {
		opts = append(opts, nftables.WithNetNSFd(cfg.NetNS))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("lbnft: open netlink socket: %w", err)
	}
	return conn, nil
}

// present reports whether the kernel has exactly this ruleset.
func (r *Ruleset) present(conn *nftables.Conn) bool {
	for _, hook := range []string{"prerouting", "output"} {
		have, err := read(conn, r.cfg, hook)
		if !slices.Contains(r.hooks(), hook) {
			if !errors.Is(err, os.ErrNotExist) {
				return false
			}
			continue
		}
		if err != nil || len(have) != len(r.frontends) {
			return false
		}
		for i, f := range r.frontends {
			f.Kind, f.PortName = 0, ""
			if have[i].shape != r.cfg.shape() || !have[i].frontend.Equal(f) {
				return false
			}
		}
	}
	return true
}

// rule is one rule read back.
type rule struct {
	shape    string
	frontend lb.Frontend
}

// read lists the rules of a hook's two chains; os.ErrNotExist says that a chain is missing.
func read(conn *nftables.Conn, cfg Config, hook string) ([]rule, error) {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: cfg.Table}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("lbnft: table %s: chains: %w", cfg.Table, err)
	}
	var out []rule
	for _, prefix := range []string{"reject-", "dnat-"} {
		i := slices.IndexFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == cfg.Table && c.Name == prefix+hook })
		if i < 0 {
			return nil, fmt.Errorf("lbnft: table %s: chain %s%s: %w", cfg.Table, prefix, hook, os.ErrNotExist)
		}
		chain := chains[i]
		rules, err := conn.GetRules(table, chain)
		if err != nil {
			return nil, fmt.Errorf("lbnft: table %s: rules of %s: %w", cfg.Table, chain.Name, err)
		}
		for _, one := range rules {
			text, _ := userdata.GetString(one.UserData, userdata.TypeComment)
			shape, f, err := parseComment(text)
			if err != nil {
				return nil, fmt.Errorf("lbnft: table %s: chain %s: rule %d: %w", cfg.Table, chain.Name, one.Handle, err)
			}
			for _, e := range one.Exprs {
				if l, ok := e.(*expr.Lookup); ok {
					if f.Backends, err = backends(conn, table, l.SetName, f.Key.Addr.Is4()); err != nil {
						return nil, fmt.Errorf("lbnft: table %s: map of %s: %w", cfg.Table, f.Key, err)
					}
				}
			}
			out = append(out, rule{shape, f})
		}
	}
	slices.SortStableFunc(out, func(a, b rule) int { return a.frontend.Key.Compare(b.frontend.Key) })
	return out, nil
}

// backends reads a map from index to address and port.
func backends(conn *nftables.Conn, table *nftables.Table, name string, v4 bool) ([]lb.Backend, error) {
	elements, err := conn.GetSetElements(&nftables.Set{Table: table, Name: name})
	if err != nil {
		return nil, err
	}
	size := 16
	if v4 {
		size = 4
	}
	out := make([]lb.Backend, len(elements))
	for _, e := range elements {
		if len(e.Key) != 4 || len(e.Val) < size+2 {
			return nil, fmt.Errorf("element %x : %x", e.Key, e.Val)
		}
		i := binary.NativeEndian.Uint32(e.Key)
		if int(i) >= len(out) {
			return nil, fmt.Errorf("element %d of %d", i, len(out))
		}
		addr, _ := netip.AddrFromSlice(e.Val[:size])
		out[i] = lb.Backend{Addr: addr, Port: binary.BigEndian.Uint16(e.Val[size:])}
	}
	return out, nil
}

// addHook queues the two chains of a hook and their rules.
func (r *Ruleset) addHook(conn *nftables.Conn, table *nftables.Table, hook string) error {
	hooknum := nftables.ChainHookPrerouting
	if hook == "output" {
		hooknum = nftables.ChainHookOutput
	}
	reject := conn.AddChain(&nftables.Chain{Table: table, Name: "reject-" + hook, Type: nftables.ChainTypeFilter,
		Hooknum: hooknum, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(r.cfg.Priority - 1))})
	dnat := conn.AddChain(&nftables.Chain{Table: table, Name: "dnat-" + hook, Type: nftables.ChainTypeNAT,
		Hooknum: hooknum, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(r.cfg.Priority))})
	for _, f := range r.frontends {
		one := &nftables.Rule{Table: table, Chain: reject, Exprs: r.matchExprs(f.Key, hook),
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment(f))}
		if len(f.Backends) == 0 {
			one.Exprs = append(one.Exprs, rejectExpr(f.Key.Proto))
			conn.AddRule(one)
			continue
		}
		m, err := addMap(conn, table, f)
		if err != nil {
			return fmt.Errorf("map of %s: %w", f.Key, err)
		}
		one.Chain, one.Exprs = dnat, append(one.Exprs, dnatExprs(f, m)...)
		conn.AddRule(one)
	}
	return nil
}

func (r *Ruleset) matchExprs(k lb.Key, hook string) []expr.Any {
	var out []expr.Any
	equal := func(load expr.Any, data []byte) {
		out = append(out, load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data})
	}
	if r.cfg.InputIface != "" && hook == "prerouting" {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, r.cfg.InputIface)
		equal(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, name)
	}
	proto, offset, size := byte(unix.NFPROTO_IPV4), uint32(16), uint32(4) // daddr: RFC 791, 3.1
	if !k.Addr.Is4() {
		proto, offset, size = unix.NFPROTO_IPV6, 24, 16 // RFC 8200, 3
	}
	equal(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, []byte{proto})
	equal(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}, k.Addr.AsSlice())
	equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{k.Proto})
	equal(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, binaryutil.BigEndian.PutUint16(k.Port))
	return append(out, &expr.Counter{})
}

func rejectExpr(proto uint8) expr.Any {
	if proto == lb.TCP {
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	}
	return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}
}

// addMap queues an anonymous map from index to address and port.
func addMap(conn *nftables.Conn, table *nftables.Table, f lb.Frontend) (*nftables.Set, error) {
	addrType := nftables.TypeIPAddr
	if !f.Key.Addr.Is4() {
		addrType = nftables.TypeIP6Addr
	}
	data, err := nftables.ConcatSetType(addrType, nftables.TypeInetService)
	if err != nil {
		return nil, err
	}
	m := &nftables.Set{Table: table, Anonymous: true, Constant: true, IsMap: true,
		KeyType: nftables.TypeInteger, DataType: data, KeyByteOrder: binaryutil.NativeEndian}
	var elements []nftables.SetElement
	for i, b := range f.Backends {
		value := append(b.Addr.AsSlice(), binaryutil.BigEndian.PutUint16(b.Port)...)
		elements = append(elements, nftables.SetElement{
			Key: binaryutil.NativeEndian.PutUint32(uint32(i)),
			Val: append(value, 0, 0), // each part of a concatenation fills whole 32-bit registers
		})
	}
	return m, conn.AddSet(m, elements)
}

func dnatExprs(f lb.Frontend, m *nftables.Set) []expr.Any {
	n := uint32(len(f.Backends))
	port, proto, offset, size := uint32(regPort4), uint32(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if !f.Key.Addr.Is4() {
		port, proto, offset, size = regPort6, unix.NFPROTO_IPV6, 8, 16
	}
	pick := []expr.Any{&expr.Numgen{Register: 1, Modulus: n, Type: unix.NFT_NG_RANDOM}}
	if f.Affinity > 0 {
		pick = []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
			&expr.Hash{SourceRegister: 1, DestRegister: 1, Length: size, Modulus: n, Type: expr.HashTypeJenkins, Seed: 0x74},
		}
	}
	return append(pick,
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: proto, RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: port, RegProtoMax: port})
}
