// Command node-agent attaches a node's pods and balances their services.
package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/nodeagent"
	"github.com/tierloom/tierloom/examples/internal/proc"
)

type options struct {
	Node       string `json:"node"`
	RunDir     string `json:"run_dir"`
	Bridge     string `json:"ovs_bridge"`
	Datapath   string `json:"datapath_type"`
	Uplink     string `json:"ovs_uplink_port"`
	Socket     string `json:"socket"`
	Manifests  string `json:"manifests"`
	Status     string `json:"status"`
	Kubeconfig string `json:"kubeconfig"`
}

func (o *options) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.Node, "node", o.Node, "`name` of this node")
	fs.StringVar(&o.RunDir, "run-dir", o.RunDir, "Open vSwitch's run `directory`")
	fs.StringVar(&o.Bridge, "bridge", o.Bridge, "`name` of the bridge")
	fs.StringVar(&o.Datapath, "datapath", o.Datapath, "datapath `type` of the bridge: system or netdev")
	fs.StringVar(&o.Uplink, "uplink", o.Uplink, "the trunk vNIC, an `interface` without an address")
	fs.StringVar(&o.Socket, "socket", o.Socket, "unix socket `path` that the CNI plugin asks at")
	fs.StringVar(&o.Manifests, "manifests", o.Manifests, "standalone mode: `folder` of manifests")
	fs.StringVar(&o.Status, "status", o.Status, "standalone mode: `folder` that ncp keeps beside it")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "`file` that says where the Kubernetes API server is")
}

func (o *options) validate() error {
	var errs []error
	if o.Node == "" {
		errs = append(errs, errors.New("node: required"))
	}
	if o.Uplink == "" {
		errs = append(errs, errors.New("uplink: required"))
	}
	if (o.Manifests == "") == (o.Kubeconfig == "") {
		errs = append(errs, errors.New("give either kubeconfig, or manifests and status"))
	}
	return errors.Join(errs...)
}

func main() {
	opts := options{RunDir: "/run/openvswitch", Bridge: "br-int", Datapath: "system", Socket: cni.DefaultSocket}
	os.Exit(proc.Main(os.Args[1:], os.Stderr, proc.Command{
		Name: "node-agent", Summary: "attaches a node's pods and balances their services.", Config: &opts,
		Flags: opts.flags, Validate: opts.validate,
		Run: func(ctx context.Context, env proc.Env) error {
			source, err := cluster.Open(cluster.Options{
				Manifests: opts.Manifests, Status: opts.Status, Kubeconfig: opts.Kubeconfig, Node: opts.Node, Log: env.Log,
			})
			if err != nil {
				return err
			}
			return nodeagent.New(nodeagent.Config{
				Node: opts.Node, RunDir: opts.RunDir, Bridge: opts.Bridge, DatapathType: opts.Datapath,
				Uplink: opts.Uplink, Socket: opts.Socket, Source: source, Log: env.Log, Health: env.Health,
			}).Run(ctx)
		},
	}))
}
