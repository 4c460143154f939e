package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/tierloom/tierloom/cni"
)

// versions returns the specification versions this plugin speaks, oldest first.
func versions() []string { return []string{"0.4.0", "1.0.0", "1.1.0"} }

// latest is the version of output when the configuration names none we speak.
const latest = "1.1.0"

// defaultTimeout bounds a command when the configuration does not. Runtimes
// give a sandbox some four minutes.
const defaultTimeout = 3 * time.Minute

// maxSocket is the longest path of a unix socket (sun_path of unix(7), less
// the zero).
const maxSocket = 107

// Config is the network configuration of one plugin (CNI spec 1.1, section 1).
type Config struct {
	CNIVersion       string
	Name             string
	Type             string
	Socket           string        // absolute path; cni.DefaultSocket if not given
	Timeout          time.Duration // of one command
	DNS              cni.DNS       // used where the agent names no resolver
	RuntimeConfig    json.RawMessage
	PrevResult       *cni.Result
	ValidAttachments []cni.Attachment
}

// wireConfig is Config as it is written.
type wireConfig struct {
	CNIVersion       string           `json:"cniVersion"`
	Name             string           `json:"name"`
	Type             string           `json:"type"`
	Socket           string           `json:"socket"`
	Timeout          string           `json:"timeout"`
	DNS              cni.DNS          `json:"dns"`
	RuntimeConfig    json.RawMessage  `json:"runtimeConfig"`
	PrevResult       json.RawMessage  `json:"prevResult"`
	ValidAttachments []cni.Attachment `json:"cni.dev/valid-attachments"`
}

// knownKeys are the keys a configuration may have, beyond those that begin
// with "cni.dev/", which the specification reserves for the runtime.
func knownKeys() []string {
	return []string{
		"cniVersion", "cniVersions", "name", "type", "socket", "timeout", "dns", "capabilities", "args",
		"runtimeConfig", "prevResult", "disableCheck", "disableGC",
	}
}

// ParseConfig decodes a network configuration whose type must be typ. With
// strict, a key that is not known gives CodeUnsupportedField: DEL and GC, which
// must work after a configuration has changed, are not strict. Every error is
// a *cni.Error. The Config holds what could be read when an error is returned.
func ParseConfig(b []byte, typ string, strict bool) (Config, error) {
	var keys map[string]json.RawMessage
	if err := decodeOne(b, &keys); err != nil {
		return Config{}, &cni.Error{Code: cni.CodeDecodingFailure, Msg: "cannot decode network configuration", Details: err.Error()}
	}
	var w wireConfig
	if err := decodeOne(b, &w); err != nil {
		// The version decides the form of the error output: try it alone.
		_ = json.Unmarshal(keys["cniVersion"], &w.CNIVersion)
		return Config{CNIVersion: w.CNIVersion}, &cni.Error{Code: cni.CodeDecodingFailure, Msg: "cannot decode network configuration", Details: err.Error()}
	}
	c := Config{
		CNIVersion: w.CNIVersion, Name: w.Name, Type: w.Type, Socket: w.Socket, Timeout: defaultTimeout,
		DNS: w.DNS, RuntimeConfig: w.RuntimeConfig, ValidAttachments: w.ValidAttachments,
	}
	if c.Socket == "" {
		c.Socket = cni.DefaultSocket
	}
	if !slices.Contains(versions(), c.CNIVersion) {
		return c, &cni.Error{
			Code: cni.CodeIncompatibleVersion, Msg: "incompatible CNI versions",
			Details: fmt.Sprintf("config is %q, plugin supports %q", c.CNIVersion, versions()),
		}
	}
	if strict {
		if err := unsupported(keys); err != nil {
			return c, err
		}
	}
	if err := c.validate(typ, w.Timeout); err != nil {
		return c, &cni.Error{Code: cni.CodeInvalidConfig, Msg: "invalid network configuration", Details: err.Error()}
	}
	prev, err := parsePrevResult(w.PrevResult, c.CNIVersion)
	if err != nil && strict {
		return c, &cni.Error{Code: cni.CodeDecodingFailure, Msg: "cannot decode prevResult", Details: err.Error()}
	}
	c.PrevResult = prev
	return c, nil
}

// unsupported reports the first unknown key in alphabetic order, with its
// value, as the specification asks.
func unsupported(keys map[string]json.RawMessage) error {
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if slices.Contains(knownKeys(), k) || strings.HasPrefix(k, "cni.dev/") {
			continue
		}
		value := string(keys[k])
		if len(value) > 200 {
			value = value[:200] + "…"
		}
		return cni.Errorf(cni.CodeUnsupportedField, "unsupported field %q: %s", k, value)
	}
	return nil
}

func (c *Config) validate(typ, timeout string) error {
	var faults []error
	if err := cni.ValidNetworkName(c.Name); err != nil {
		faults = append(faults, fmt.Errorf("name: %w", err))
	}
	if c.Type != typ {
		faults = append(faults, fmt.Errorf("type: %q is not %q", c.Type, typ))
	}
	if !filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocket || strings.ContainsRune(c.Socket, 0) {
		faults = append(faults, fmt.Errorf("socket: %q is no absolute path of at most %d bytes", c.Socket, maxSocket))
	}
	if timeout != "" {
		d, err := time.ParseDuration(timeout)
		if err != nil || d <= 0 {
			faults = append(faults, fmt.Errorf("timeout: %q is no positive duration", timeout))
		} else {
			c.Timeout = d
		}
	}
	return errors.Join(faults...)
}

func decodeOne(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the object")
	}
	return nil
}

// parsePrevResult reads a result of any version the library can convert. One
// that does not say its version has that of the configuration.
func parsePrevResult(raw json.RawMessage, configVersion string) (*cni.Result, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, err
	}
	v := configVersion
	if own, ok := keys["cniVersion"]; ok {
		if err := json.Unmarshal(own, &v); err != nil {
			return nil, fmt.Errorf("cniVersion: %w", err)
		}
	}
	if v == "" {
		v = configVersion
	}
	keys["cniVersion"], _ = json.Marshal(v)
	full, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	if err := noNulls(keys); err != nil {
		return nil, err
	}
	res, err := version.NewResult(v, full)
	if err != nil {
		return nil, err
	}
	r100, err := types100.NewResultFromResult(res)
	if err != nil {
		return nil, err
	}
	return fromTypes(r100)
}

// noNulls refuses null entries in the lists of a result, which the library's
// converters do not expect.
func noNulls(keys map[string]json.RawMessage) error {
	for _, k := range []string{"interfaces", "ips", "routes"} {
		var list []json.RawMessage
		if raw, ok := keys[k]; ok && json.Unmarshal(raw, &list) == nil {
			for i, e := range list {
				if string(e) == "null" {
					return fmt.Errorf("%s[%d] is null", k, i)
				}
			}
		}
	}
	return nil
}

// fromTypes turns the library's result into ours.
func fromTypes(r *types100.Result) (*cni.Result, error) {
	out := &cni.Result{DNS: cni.DNS{
		Nameservers: r.DNS.Nameservers, Domain: r.DNS.Domain, Search: r.DNS.Search, Options: r.DNS.Options,
	}}
	for i, f := range r.Interfaces {
		if f == nil {
			return nil, fmt.Errorf("interfaces[%d] is null", i)
		}
		out.Interfaces = append(out.Interfaces, cni.Interface{Name: f.Name, MAC: f.Mac, MTU: f.Mtu, Sandbox: f.Sandbox})
	}
	for i, ip := range r.IPs {
		if ip == nil {
			return nil, fmt.Errorf("ips[%d] is null", i)
		}
		p, err := prefixOf(types.IPNet(ip.Address))
		if err != nil {
			return nil, fmt.Errorf("ips[%d].address: %w", i, err)
		}
		gw, _ := netip.AddrFromSlice(ip.Gateway)
		out.IPs = append(out.IPs, cni.IP{Interface: ip.Interface, Address: p, Gateway: gw.Unmap()})
	}
	for i, rt := range r.Routes {
		if rt == nil {
			return nil, fmt.Errorf("routes[%d] is null", i)
		}
		p, err := prefixOf(types.IPNet(rt.Dst))
		if err != nil {
			return nil, fmt.Errorf("routes[%d].dst: %w", i, err)
		}
		gw, _ := netip.AddrFromSlice(rt.GW)
		out.Routes = append(out.Routes, cni.Route{Dst: p, GW: gw.Unmap(), MTU: rt.MTU})
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	return out, nil
}

func prefixOf(n types.IPNet) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, errors.New("missing")
	}
	addr = addr.Unmap()
	if bits != addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%s has a mask of %d bits", addr, bits)
	}
	return netip.PrefixFrom(addr, ones), nil
}
