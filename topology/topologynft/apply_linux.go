package topologynft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

var hooks = map[string]*nftables.ChainHook{
	prerouting: nftables.ChainHookPrerouting, forward: nftables.ChainHookForward, postrouting: nftables.ChainHookPostrouting,
}

// Apply makes the table what the Ruleset says, in one transaction. It changes
// nothing, and sends no transaction, when the kernel has it already. It needs
// CAP_NET_ADMIN.
func (r *Ruleset) Apply(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := dial(r.cfg)
	if err != nil {
		return err
	}
	if have, err := read(conn, r.cfg); err == nil && slices.Equal(have, r.rules) {
		return nil
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: r.cfg.Table}
	// Deleting a table that is not there fails, adding one that is there does not.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	for _, c := range chains {
		to := conn.AddChain(&nftables.Chain{Table: table, Name: c.name, Type: nftables.ChainType(c.kind),
			Hooknum: hooks[c.name], Priority: nftables.ChainPriorityRef(nftables.ChainPriority(c.priority))})
		for _, one := range r.rules {
			if one.chain == c.name {
				conn.AddRule(&nftables.Rule{Table: table, Chain: to, Exprs: one.exprs(),
					UserData: userdata.AppendString(nil, userdata.TypeComment, one.id)})
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("topologynft: table %s: commit %d rules: %w", r.cfg.Table, len(r.rules), err)
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
		return fmt.Errorf("topologynft: table %s: delete: %w", cfg.Table, err)
	}
	return nil
}

// List reads the rules of a configuration's table back from the kernel, as
// text like [Ruleset.Rules]. Without the table there are none. A rule that is
// not of this package's making is an error.
func List(ctx context.Context, cfg Config) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	conn, err := dial(cfg)
	if err != nil {
		return nil, err
	}
	have, err := read(conn, cfg)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lines(have), nil
}

func dial(cfg Config) (*nftables.Conn, error) {
	var opts []nftables.ConnOption
	if cfg.NetNS != 0 {
		opts = append(opts, nftables.WithNetNSFd(cfg.NetNS))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("topologynft: open netlink socket: %w", err)
	}
	return conn, nil
}

// read returns the rules that the kernel has in the order of chains.
// os.ErrNotExist says that a chain is missing.
func read(conn *nftables.Conn, cfg Config) ([]rule, error) {
	list, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("topologynft: table %s: chains: %w", cfg.Table, err)
	}
	list = slices.DeleteFunc(list, func(c *nftables.Chain) bool { return c.Table.Name != cfg.Table })
	out := []rule(nil)
	for _, want := range chains {
		i := slices.IndexFunc(list, func(c *nftables.Chain) bool { return c.Name == want.name })
		if i < 0 {
			return nil, fmt.Errorf("topologynft: table %s: chain %s: %w", cfg.Table, want.name, os.ErrNotExist)
		}
		c := list[i]
		if string(c.Type) != want.kind || c.Hooknum == nil || *c.Hooknum != *hooks[want.name] || c.Priority == nil || int32(*c.Priority) != want.priority {
			return nil, fmt.Errorf("topologynft: table %s: chain %s: not of type %s at priority %d", cfg.Table, want.name, want.kind, want.priority)
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("topologynft: table %s: rules of %s: %w", cfg.Table, want.name, err)
		}
		for _, one := range rules {
			r, err := parse(one.Exprs)
			if err != nil {
				return nil, fmt.Errorf("topologynft: table %s: chain %s: rule %d: %w", cfg.Table, want.name, one.Handle, err)
			}
			r.chain = want.name
			r.id, _ = userdata.GetString(one.UserData, userdata.TypeComment)
			out = append(out, r)
		}
	}
	if len(list) != len(chains) {
		return nil, fmt.Errorf("topologynft: table %s: %d chains, want %d", cfg.Table, len(list), len(chains))
	}
	return out, nil
}
