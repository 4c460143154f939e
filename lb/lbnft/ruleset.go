package lbnft

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tierloom/tierloom/lb"
)

// DefaultTable is the name of the table unless Config names another.
const DefaultTable = "tierloom-lb"

// DefaultPriority is that of the DNAT chains ("dstnat" in nft's words).
const DefaultPriority = -100

// maxService bounds Frontend.Service, which is kept in a rule's comment (256 bytes).
const maxService = 150

// Config says where a Ruleset lives. The zero value is good.
type Config struct {
	// Table is the table's name, in the inet family. Default DefaultTable.
	Table string
	// InputIface restricts the rules to packets that come in by this
	// interface. Default: any.
	InputIface string
	// Output has packets of local processes balanced too.
	Output bool
	// Priority of the DNAT chains; rejects happen right before it. Default DefaultPriority.
	Priority int32
	// NetNS is a file descriptor of the network namespace to act in. Default:
	// that of the calling thread.
	NetNS int
}

func (c Config) withDefaults() Config {
	if c.Table == "" {
		c.Table = DefaultTable
	}
	if c.Priority == 0 {
		c.Priority = DefaultPriority
	}
	return c
}

// shape identifies what, besides the frontends, decides on the rules.
func (c Config) shape() string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%q %v %d", c.InputIface, c.Output, c.Priority)
	return fmt.Sprintf("%08x", h.Sum32())
}

// Ruleset is what Compile makes of frontends. It is immutable.
type Ruleset struct {
	cfg       Config
	frontends []lb.Frontend
}

// Compile checks frontends and sorts them into a Ruleset. It is pure. It
// reports all faults; each wraps lb.ErrInvalid.
func Compile(frontends []lb.Frontend, cfg Config) (*Ruleset, error) {
	r := &Ruleset{cfg: cfg.withDefaults(), frontends: slices.Clone(frontends)}
	slices.SortStableFunc(r.frontends, func(a, b lb.Frontend) int { return a.Key.Compare(b.Key) })
	var faults []error
	fault := func(f lb.Frontend, format string, args ...any) {
		faults = append(faults, fmt.Errorf("lbnft: frontend %s: %s: %w", f.Key, fmt.Sprintf(format, args...), lb.ErrInvalid))
	}
	if len(r.cfg.InputIface) > 15 {
		faults = append(faults, fmt.Errorf("lbnft: table %s: input interface %q is longer than 15 bytes: %w", r.cfg.Table, r.cfg.InputIface, lb.ErrInvalid))
	}
	for i, f := range r.frontends {
		if !f.Key.Addr.IsValid() || f.Key.Addr.Zone() != "" || f.Key.Addr.Is4In6() || f.Key.Port == 0 {
			fault(f, "not an address and port")
		}
		if !slices.Contains([]uint8{lb.TCP, lb.UDP, lb.SCTP}, f.Key.Proto) {
			fault(f, "protocol %d has no ports", f.Key.Proto)
		}
		if i > 0 && r.frontends[i-1].Key == f.Key {
			fault(f, "it is there twice")
		}
		if len(f.Service) > maxService || strings.ContainsAny(f.Service, " \x00") {
			fault(f, "service %q is longer than %d bytes or has blanks in it", f.Service, maxService)
		}
		for j, b := range f.Backends {
			if !b.Addr.IsValid() || b.Addr.Is4() != f.Key.Addr.Is4() || b.Addr.Zone() != "" || b.Port == 0 {
				fault(f, "backends[%d]: %s is not an address and port of its family", j, b)
			}
		}
	}
	return r, errors.Join(faults...)
}

// String is the ruleset in the manner of "nft list table": for reading, tests and diffs.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", r.cfg.Table)
	for _, hook := range r.hooks() {
		fmt.Fprintf(&b, "  chain reject-%s { type filter hook %s priority %d\n", hook, hook, r.cfg.Priority-1)
		for _, f := range r.frontends {
			if len(f.Backends) == 0 {
				how := "icmpx port-unreachable"
				if f.Key.Proto == lb.TCP {
					how = "tcp reset"
				}
				fmt.Fprintf(&b, "    %s counter reject with %s comment %q\n", r.match(f.Key, hook), how, r.comment(f))
			}
		}
		fmt.Fprintf(&b, "  }\n  chain dnat-%s { type nat hook %s priority %d\n", hook, hook, r.cfg.Priority)
		for _, f := range r.frontends {
			if n := len(f.Backends); n > 0 {
				how := fmt.Sprintf("numgen random mod %d", n)
				if f.Affinity > 0 {
					how = fmt.Sprintf("jhash %s saddr mod %d", family(f.Key.Addr), n)
				}
				fmt.Fprintf(&b, "    %s counter dnat to %s map %v comment %q\n", r.match(f.Key, hook), how, f.Backends, r.comment(f))
			}
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (r *Ruleset) match(k lb.Key, hook string) string {
	s := fmt.Sprintf("%s daddr %s %s dport %d", family(k.Addr), k.Addr, lb.ProtocolName(k.Proto), k.Port)
	if r.cfg.InputIface != "" && hook == "prerouting" {
		s = fmt.Sprintf("iifname %q %s", r.cfg.InputIface, s)
	}
	return s
}

func (r *Ruleset) hooks() []string {
	if r.cfg.Output {
		return []string{"prerouting", "output"}
	}
	return []string{"prerouting"}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}

// comment is what a rule carries to be read back: shape of the configuration,
// frontend, service, affinity.
func (r *Ruleset) comment(f lb.Frontend) string {
	return strings.Join([]string{r.cfg.shape(), f.Key.String(), f.Service, f.Affinity.String()}, " ")
}

// parseComment reads a comment back.
func parseComment(text string) (shape string, f lb.Frontend, err error) {
	bad := func(err error) (string, lb.Frontend, error) {
		return "", lb.Frontend{}, fmt.Errorf("comment %q: %w", text, err)
	}
	part := strings.Split(text, " ")
	if len(part) != 4 {
		return bad(fmt.Errorf("%d words, not 4", len(part)))
	}
	at, proto, _ := strings.Cut(part[1], "/")
	ap, err := netip.ParseAddrPort(at)
	if err != nil {
		return bad(err)
	}
	f.Key = lb.Key{Addr: ap.Addr(), Port: ap.Port()}
	for _, p := range []uint8{lb.TCP, lb.UDP, lb.SCTP} {
		if lb.ProtocolName(p) == proto {
			f.Key.Proto = p
		}
	}
	if f.Key.Proto == 0 {
		return bad(fmt.Errorf("protocol %q", proto))
	}
	f.Service = part[2]
	if f.Affinity, err = time.ParseDuration(part[3]); err != nil {
		return bad(err)
	}
	return part[0], f, nil
}
