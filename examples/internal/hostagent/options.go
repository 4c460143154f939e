package hostagent

import (
	"errors"
	"flag"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/proc"
)

// Options are what flags and configuration file of an agent say.
type Options struct {
	Host     string   `json:"host"`
	Manager  string   `json:"manager"`
	RunDir   string   `json:"run_dir"`
	Bridge   string   `json:"ovs_bridge"`
	Datapath string   `json:"datapath_type"`
	LogDrops bool     `json:"log_drops"`
	TLS      proc.TLS `json:"tls"`
}

// DefaultOptions returns those of a host with Debian's Open vSwitch.
func DefaultOptions() Options {
	return Options{Manager: "https://127.0.0.1:7443", RunDir: "/run/openvswitch", Bridge: "br-int", Datapath: "system", LogDrops: true}
}

// Flags binds the options.
func (o *Options) Flags(fs *flag.FlagSet) {
	fs.StringVar(&o.Host, "host", o.Host, "`id` of this host's HostTransportNode")
	fs.StringVar(&o.Manager, "manager", o.Manager, "`URL` of the manager")
	fs.StringVar(&o.RunDir, "run-dir", o.RunDir, "Open vSwitch's run `directory`")
	fs.StringVar(&o.Bridge, "bridge", o.Bridge, "`name` of the bridge")
	fs.StringVar(&o.Datapath, "datapath", o.Datapath, "datapath `type` of the bridge: system or netdev")
	fs.BoolVar(&o.LogDrops, "log-drops", o.LogDrops, "log all packets that are denied; else those that a rule says")
	o.TLS.Flags(fs)
}

// Validate names every fault.
func (o *Options) Validate() error {
	var errs []error
	if o.Host == "" {
		errs = append(errs, errors.New("host: required"))
	}
	if o.Bridge == "" {
		errs = append(errs, errors.New("bridge: required"))
	}
	return errors.Join(append(errs, o.TLS.Validate())...)
}

// Config returns what an agent with these options works with.
func (o *Options) Config(env proc.Env) (Config, error) {
	hc, err := o.TLS.HTTPClient()
	if err != nil {
		return Config{}, err
	}
	return Config{
		Host: o.Host, RunDir: o.RunDir, Bridge: o.Bridge, DatapathType: o.Datapath, LogDrops: o.LogDrops,
		Manager: api.NewClient(o.Manager, hc), Log: env.Log, Health: env.Health,
	}, nil
}
