package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/tierloom/tierloom/cni"
)

// maxInput bounds the network configuration on standard input in bytes.
const maxInput = 4 << 20

// Plugin is one run of the executable. Getenv, Stdin and Stdout are needed.
type Plugin struct {
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer // usage only; nil discards
	// Type is the configuration's type, which is the name of the executable;
	// "" means "tierloom".
	Type string
	// Do sends a request to the agent at a socket; nil means a cni.Client.
	Do func(ctx context.Context, socket string, req *cni.Request) (*cni.Result, error)
}

// errorOutput is the error object of the specification, section 5.
type errorOutput struct {
	CNIVersion string `json:"cniVersion"`
	*cni.Error
}

// versionOutput is the result of VERSION.
type versionOutput struct {
	CNIVersion        string   `json:"cniVersion"`
	SupportedVersions []string `json:"supportedVersions"`
}

// Main does the one command and returns the exit code of the process: 0, or 1
// after it printed an error object. The end of ctx abandons the command.
func (p Plugin) Main(ctx context.Context) int {
	if p.Type == "" {
		p.Type = "tierloom"
	}
	if p.Do == nil {
		p.Do = func(ctx context.Context, socket string, req *cni.Request) (*cni.Result, error) {
			return cni.NewClient(socket, cni.ClientConfig{}).Do(ctx, req)
		}
	}
	if p.Getenv("CNI_COMMAND") == "" && p.Stderr != nil {
		fmt.Fprintf(p.Stderr, "%s is a CNI plugin, to be run by a container runtime; specification versions %v\n", p.Type, versions())
	}
	out, v, err := p.run(ctx)
	if err == nil && out != nil {
		if err = p.print(out); err == nil {
			return 0
		}
		err = &cni.Error{Code: cni.CodeIOFailure, Msg: "cannot write result", Details: err.Error()}
	}
	if err == nil {
		return 0
	}
	if !slices.Contains(versions(), v) {
		v = latest
	}
	_ = p.print(errorOutput{CNIVersion: v, Error: cni.AsError(err)})
	return 1
}

func (p Plugin) print(v any) error {
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return err
	}
	_, err = p.Stdout.Write(append(b, '\n'))
	return err
}

// run returns what to print, nil for nothing, and the configuration's version.
func (p Plugin) run(ctx context.Context) (out any, v string, err error) {
	cmd := cni.Command(p.Getenv("CNI_COMMAND"))
	if cmd == "VERSION" {
		return p.version()
	}
	req, err := p.request(cmd)
	if err != nil {
		return nil, "", err
	}
	input, err := p.input()
	if err != nil {
		return nil, "", err
	}
	conf, err := ParseConfig(input, p.Type, cmd != cni.Del && cmd != cni.GC)
	v = conf.CNIVersion
	if err != nil {
		return nil, v, err
	}
	if (cmd == cni.Status || cmd == cni.GC) && (v == "0.4.0" || v == "1.0.0") {
		return nil, v, cni.Errorf(cni.CodeIncompatibleVersion, "config version %s does not allow %s", v, cmd)
	}
	if cmd == cni.Check && conf.PrevResult == nil {
		return nil, v, cni.Errorf(cni.CodeInvalidConfig, "CHECK needs prevResult")
	}
	req.Network, req.CNIVersion, req.RuntimeConfig = conf.Name, conf.CNIVersion, conf.RuntimeConfig
	req.PrevResult, req.ValidAttachments = conf.PrevResult, conf.ValidAttachments
	if err := checkNetNS(req); err != nil {
		return nil, v, err
	}
	ctx, cancel := context.WithTimeout(ctx, conf.Timeout)
	defer cancel()
	res, err := p.Do(ctx, conf.Socket, req)
	if err != nil {
		return nil, v, verdict(cmd, err)
	}
	if cmd != cni.Add {
		return nil, v, nil
	}
	out, err = addOutput(res, conf)
	return out, v, err
}

// verdict turns the failure of a command into what the runtime is told; nil
// means success after all.
func verdict(cmd cni.Command, err error) error {
	var said *cni.Error
	switch {
	case errors.As(err, &said):
		if cmd == cni.Del && said.Code == cni.CodeUnknownContainer {
			return nil
		}
		return err
	case cmd == cni.Status:
		return &cni.Error{Code: cni.CodeNotAvailable, Msg: "agent does not answer", Details: err.Error()}
	case errors.Is(err, cni.ErrUnavailable):
		return &cni.Error{Code: cni.CodeTryAgainLater, Msg: "agent does not answer", Details: err.Error()}
	}
	return err
}

// version answers VERSION with the version of the input, if it has one.
func (p Plugin) version() (any, string, error) {
	input, err := p.input()
	if err != nil {
		return nil, "", err
	}
	in := struct {
		CNIVersion string `json:"cniVersion"`
	}{}
	if len(input) > 0 {
		if err := decodeOne(input, &in); err != nil {
			return nil, "", &cni.Error{Code: cni.CodeDecodingFailure, Msg: "cannot decode version", Details: err.Error()}
		}
	}
	if in.CNIVersion == "" {
		in.CNIVersion = latest
	}
	return versionOutput{CNIVersion: in.CNIVersion, SupportedVersions: versions()}, in.CNIVersion, nil
}

// request reads the environment.
func (p Plugin) request(cmd cni.Command) (*cni.Request, error) {
	req := &cni.Request{Command: cmd}
	if cmd != cni.Status && cmd != cni.GC {
		req.ContainerID, req.IfName, req.NetNS = p.Getenv("CNI_CONTAINERID"), p.Getenv("CNI_IFNAME"), p.Getenv("CNI_NETNS")
		args, err := cni.ParseArgs(p.Getenv("CNI_ARGS"))
		if err != nil {
			return nil, &cni.Error{Code: cni.CodeInvalidEnvironment, Msg: "invalid environment variables", Details: err.Error()}
		}
		req.Args, req.Pod = args, cni.PodFromArgs(args)
	}
	if err := req.Validate(); err != nil {
		return nil, err
	}
	return req, nil
}

func (p Plugin) input() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(p.Stdin, maxInput+1))
	if err != nil {
		return nil, &cni.Error{Code: cni.CodeIOFailure, Msg: "cannot read standard input", Details: err.Error()}
	}
	if len(b) > maxInput {
		return nil, cni.Errorf(cni.CodeIOFailure, "standard input exceeds %d bytes", maxInput)
	}
	return b, nil
}

// checkNetNS refuses a sandbox that is missing or that is the plugin's own
// namespace. For DEL it is forgotten instead: there is no interface to find.
func checkNetNS(req *cni.Request) error {
	if req.NetNS == "" {
		return nil
	}
	fault := ""
	fi, err := os.Stat(req.NetNS)
	own, ownErr := os.Stat("/proc/self/ns/net")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fault = "does not exist"
	case err == nil && ownErr == nil && os.SameFile(fi, own):
		fault = "is the plugin's own namespace"
	default: // what else it may be is the agent's to judge
		return nil
	}
	if req.Command == cni.Del {
		req.NetNS = ""
		return nil
	}
	return cni.Errorf(cni.CodeInvalidNetNS, "CNI_NETNS %s %s", req.NetNS, fault)
}

// addOutput converts the agent's result to the configuration's version. The
// interfaces and addresses of a plugin before this one stay in front.
func addOutput(res *cni.Result, conf Config) (any, error) {
	if res == nil || len(res.Interfaces) == 0 {
		return nil, cni.Errorf(cni.CodeInternal, "agent answered ADD without an interface")
	}
	if err := res.Validate(); err != nil {
		return nil, &cni.Error{Code: cni.CodeInternal, Msg: "agent made an invalid result", Details: err.Error()}
	}
	if res.DNS.IsZero() {
		res.DNS = conf.DNS
	}
	full := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	if conf.PrevResult != nil {
		appendTypes(full, conf.PrevResult)
	}
	appendTypes(full, res)
	out, err := full.GetAsVersion(conf.CNIVersion)
	if err != nil {
		return nil, &cni.Error{Code: cni.CodeIncompatibleVersion, Msg: "cannot convert result", Details: err.Error()}
	}
	return out, nil
}

// appendTypes adds our result to the library's.
func appendTypes(to *types100.Result, r *cni.Result) {
	base := len(to.Interfaces)
	for _, f := range r.Interfaces {
		to.Interfaces = append(to.Interfaces, &types100.Interface{Name: f.Name, Mac: f.MAC, Mtu: f.MTU, Sandbox: f.Sandbox})
	}
	for _, ip := range r.IPs {
		c := &types100.IPConfig{Address: netOf(ip.Address), Gateway: ipOf(ip.Gateway)}
		if ip.Interface != nil {
			c.Interface = types100.Int(base + *ip.Interface)
		}
		to.IPs = append(to.IPs, c)
	}
	for _, rt := range r.Routes {
		to.Routes = append(to.Routes, &types.Route{Dst: netOf(rt.Dst), GW: ipOf(rt.GW), MTU: rt.MTU})
	}
	if !r.DNS.IsZero() {
		to.DNS = types.DNS{Nameservers: r.DNS.Nameservers, Domain: r.DNS.Domain, Search: r.DNS.Search, Options: r.DNS.Options}
	}
}

func ipOf(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}

func netOf(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: ipOf(p.Addr()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
