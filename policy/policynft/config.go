package policynft

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/tierloom/tierloom/policy"
)

// Errors to be told apart.
var (
	// ErrInvalid is wrapped by every fault in the input.
	ErrInvalid = policy.ErrInvalid
	// ErrConnections is wrapped when an update is in force, but connections that it
	// does not allow any more could not be ended. The next update tries again.
	ErrConnections = errors.New("established connections may go on")
)

// Defaults of a [Config].
const (
	DefaultTable       = "tierloom-policy"
	DefaultPriority    = 0 // "filter" in nft's words
	DefaultEgressMark  = 1 << 28
	DefaultIngressMark = 1 << 29
	DefaultLogRate     = 10
	DefaultLogBurst    = 20
)

// A Config says where and how a firewall lives. The zero value is good.
type Config struct {
	// Table is the name of the table, of family inet. Default DefaultTable.
	Table string
	// Priority of the chain at hook forward (and of those of Host). Default DefaultPriority.
	Priority int32
	// Host has rules apply to packets between ports and the namespace itself
	// too, at hooks input and output. Neighbour and router discovery always pass.
	Host bool
	// EgressMark and IngressMark are one bit each of the ct mark: the end where a
	// connection leaves, or arrives, has allowed it. Nobody else may use them.
	// Default DefaultEgressMark and DefaultIngressMark.
	EgressMark, IngressMark uint32
	// LogGroup is the nflog group that packets of logged rules go to.
	LogGroup uint16
	// LogRate is how many packets a second each logged rule may send there, and
	// LogBurst how many at once. Default DefaultLogRate and DefaultLogBurst.
	LogRate, LogBurst uint32
	// LogDefault logs what is dropped for want of a rule.
	LogDefault bool
	// NetNS is a file descriptor of the network namespace. Default: that of the
	// calling thread when New is called.
	NetNS int
}

func (c Config) withDefaults() Config {
	c.Table = cmp.Or(c.Table, DefaultTable)
	c.Priority = cmp.Or(c.Priority, DefaultPriority)
	c.EgressMark = cmp.Or(c.EgressMark, DefaultEgressMark)
	c.IngressMark = cmp.Or(c.IngressMark, DefaultIngressMark)
	c.LogRate = cmp.Or(c.LogRate, DefaultLogRate)
	c.LogBurst = cmp.Or(c.LogBurst, DefaultLogBurst)
	return c
}

// Validate reports all faults of the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("policynft: config: %s: %w", fmt.Sprintf(format, args...), ErrInvalid))
	}
	if len(c.Table) > maxTable {
		fault("table %q is longer than %d bytes", c.Table, maxTable)
	}
	if bits.OnesCount32(c.EgressMark) != 1 || bits.OnesCount32(c.IngressMark) != 1 || c.EgressMark == c.IngressMark {
		fault("egress mark %#x and ingress mark %#x are not two bits", c.EgressMark, c.IngressMark)
	}
	return errors.Join(errs...)
}

// maxTable is well below NFT_NAME_MAXLEN (linux/netfilter/nf_tables.h).
const maxTable = 200

// A Port is where rules apply: the id of a member and the interface that
// leads to it.
type Port struct {
	ID        string
	Interface string // 1 to 15 bytes
	// IPs are the port's addresses. By them a Firewall finds connections that an update
	// ends; without, these end with the next packet in the direction of the first. It
	// looks through all that are tracked, which takes the kernel some milliseconds, in
	// each update that may allow less.
	IPs []netip.Addr
}
