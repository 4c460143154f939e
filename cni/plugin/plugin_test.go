package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/cni/plugin"
)

const kubeArgs = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1"

// run is one run of the plugin; sandbox is a path that exists.
type run struct {
	env  map[string]string
	conf string
	do   func(*cni.Request) (*cni.Result, error)
	got  *cni.Request
}

func newRun(t *testing.T, command, conf string) *run {
	sandbox := filepath.Join(t.TempDir(), "netns")
	require.NoError(t, os.WriteFile(sandbox, nil, 0o600))
	return &run{conf: conf, env: map[string]string{
		"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": sandbox,
		"CNI_ARGS": kubeArgs, "CNI_PATH": "/opt/cni/bin",
	}}
}

func (r *run) main(t *testing.T) (int, string) {
	t.Helper()
	var out bytes.Buffer
	p := plugin.Plugin{
		Getenv: func(k string) string { return r.env[k] }, Stdin: strings.NewReader(r.conf), Stdout: &out,
		Do: func(_ context.Context, _ string, req *cni.Request) (*cni.Result, error) {
			r.got = req
			if r.do == nil {
				return result(), nil
			}
			return r.do(req)
		},
	}
	return p.Main(t.Context()), out.String()
}

// fails requires an error object with the code, and returns its text.
func (r *run) fails(t *testing.T, code cni.Code) string {
	t.Helper()
	exit, out := r.main(t)
	require.Equal(t, 1, exit, out)
	var e struct {
		CNIVersion   string
		Code         cni.Code
		Msg, Details string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &e), out)
	require.Equal(t, code, e.Code, out)
	require.NotEmpty(t, e.Msg)
	require.Contains(t, []string{"0.4.0", "1.0.0", "1.1.0"}, e.CNIVersion)
	return e.Msg + " " + e.Details
}

func result() *cni.Result {
	zero := 0
	return &cni.Result{
		Interfaces: []cni.Interface{{Name: "eth0", MAC: "02:00:00:00:00:01", MTU: 1400, Sandbox: "/run/netns/p"}},
		IPs:        []cni.IP{{Interface: &zero, Address: netip.MustParsePrefix("10.4.1.5/24"), Gateway: netip.MustParseAddr("10.4.1.1")}},
		Routes:     []cni.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), GW: netip.MustParseAddr("10.4.1.1")}},
	}
}

func conf(version string, more ...string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"k8s","type":"tierloom"%s}`, version, strings.Join(append([]string{""}, more...), ","))
}

func TestAdd(t *testing.T) {
	for version, want := range map[string]string{
		"0.4.0": `{"cniVersion":"0.4.0","dns":{},"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/p"}],
			"ips":[{"version":"4","interface":0,"address":"10.4.1.5/24","gateway":"10.4.1.1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.4.1.1"}]}`,
		"1.0.0": `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1400,"sandbox":"/run/netns/p"}],
			"ips":[{"interface":0,"address":"10.4.1.5/24","gateway":"10.4.1.1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.4.1.1"}]}`,
		"1.1.0": `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1400,"sandbox":"/run/netns/p"}],
			"ips":[{"interface":0,"address":"10.4.1.5/24","gateway":"10.4.1.1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.4.1.1"}]}`,
	} {
		r := newRun(t, "ADD", conf(version, `"runtimeConfig":{"a":1}`))
		exit, out := r.main(t)
		require.Zero(t, exit, out)
		var have, expect map[string]any
		require.NoError(t, json.Unmarshal([]byte(out), &have))
		require.NoError(t, json.Unmarshal([]byte(want), &expect))
		if d, ok := have["dns"].(map[string]any); ok && len(d) == 0 { // 0.4.0 may print an empty object
			delete(have, "dns")
		}
		delete(expect, "dns")
		require.Equal(t, expect, have, version)
		require.Equal(t, cni.Pod{Namespace: "shop", Name: "web-0", UID: "u-1", InfraContainerID: "c1"}, r.got.Pod)
		require.Equal(t, "k8s", r.got.Network)
		require.JSONEq(t, `{"a":1}`, string(r.got.RuntimeConfig))
	}
}

func TestAddChained(t *testing.T) {
	r := newRun(t, "ADD", conf("1.1.0", `"dns":{"nameservers":["10.96.0.10"]}`, `"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"x"}],"ips":[{"address":"10.0.0.1/8","interface":0}]}`))
	exit, out := r.main(t)
	require.Zero(t, exit, out)
	require.JSONEq(t, `{"cniVersion":"1.1.0","dns":{"nameservers":["10.96.0.10"]},
		"interfaces":[{"name":"x"},{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1400,"sandbox":"/run/netns/p"}],
		"ips":[{"address":"10.0.0.1/8","interface":0},{"interface":1,"address":"10.4.1.5/24","gateway":"10.4.1.1"}],
		"routes":[{"dst":"0.0.0.0/0","gw":"10.4.1.1"}]}`, out)
}

func TestVersion(t *testing.T) {
	for in, want := range map[string]string{``: "1.1.0", `{"cniVersion":"0.4.0"}`: "0.4.0", `{}`: "1.1.0"} {
		exit, out := newRun(t, "VERSION", in).main(t)
		require.Zero(t, exit)
		require.JSONEq(t, `{"cniVersion":"`+want+`","supportedVersions":["0.4.0","1.0.0","1.1.0"]}`, out)
	}
	newRun(t, "VERSION", `{`).fails(t, cni.CodeDecodingFailure)
}

// TestErrors has every code of the specification that the plugin itself finds.
func TestErrors(t *testing.T) {
	prev := `"prevResult":{"cniVersion":"1.1.0"}`
	for name, c := range map[string]struct {
		command, conf string
		env           map[string]string
		code          cni.Code
		text          string
	}{
		"no version":           {"ADD", `{"name":"k8s","type":"tierloom"}`, nil, cni.CodeIncompatibleVersion, `""`},
		"old version":          {"ADD", conf("0.3.1"), nil, cni.CodeIncompatibleVersion, `"0.3.1"`},
		"new version":          {"DEL", conf("2.0.0"), nil, cni.CodeIncompatibleVersion, `"2.0.0"`},
		"STATUS before 1.1":    {"STATUS", conf("1.0.0"), nil, cni.CodeIncompatibleVersion, "STATUS"},
		"GC before 1.1":        {"GC", conf("0.4.0"), nil, cni.CodeIncompatibleVersion, "GC"},
		"unknown field":        {"ADD", conf("1.1.0", `"bridge":"cni0"`), nil, cni.CodeUnsupportedField, `"bridge": "cni0"`},
		"ipam":                 {"ADD", conf("1.1.0", `"ipam":{"type":"host-local"}`), nil, cni.CodeUnsupportedField, `host-local`},
		"no command":           {"", conf("1.1.0"), nil, cni.CodeInvalidEnvironment, "CNI_COMMAND"},
		"unknown command":      {"MOVE", conf("1.1.0"), nil, cni.CodeInvalidEnvironment, "CNI_COMMAND"},
		"no container":         {"ADD", conf("1.1.0"), map[string]string{"CNI_CONTAINERID": ""}, cni.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"bad container":        {"DEL", conf("1.1.0"), map[string]string{"CNI_CONTAINERID": "../x"}, cni.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"no interface":         {"DEL", conf("1.1.0"), map[string]string{"CNI_IFNAME": ""}, cni.CodeInvalidEnvironment, "CNI_IFNAME"},
		"long interface":       {"ADD", conf("1.1.0"), map[string]string{"CNI_IFNAME": "sixteen-bytes-xx"}, cni.CodeInvalidEnvironment, "CNI_IFNAME"},
		"no netns":             {"CHECK", conf("1.1.0"), map[string]string{"CNI_NETNS": ""}, cni.CodeInvalidEnvironment, "CNI_NETNS"},
		"relative netns":       {"ADD", conf("1.1.0"), map[string]string{"CNI_NETNS": "ns"}, cni.CodeInvalidEnvironment, "CNI_NETNS"},
		"bad args":             {"ADD", conf("1.1.0"), map[string]string{"CNI_ARGS": "K8S_POD_NAME"}, cni.CodeInvalidEnvironment, "CNI_ARGS"},
		"no JSON":              {"ADD", `{"name":`, nil, cni.CodeDecodingFailure, ""},
		"wrong JSON type":      {"ADD", `{"cniVersion":"1.0.0","name":1}`, nil, cni.CodeDecodingFailure, "name"},
		"two objects":          {"ADD", conf("1.1.0") + "{}", nil, cni.CodeDecodingFailure, "after"},
		"prevResult":           {"ADD", conf("1.1.0", `"prevResult":{"ips":[{"address":"x"}]}`), nil, cni.CodeDecodingFailure, "prevResult"},
		"prevResult null item": {"ADD", conf("0.4.0", `"prevResult":{"ips":[null]}`), nil, cni.CodeDecodingFailure, "ips[0]"},
		"no name":              {"ADD", `{"cniVersion":"1.1.0","type":"tierloom"}`, nil, cni.CodeInvalidConfig, "name"},
		"bad name":             {"ADD", `{"cniVersion":"1.1.0","name":"a/b","type":"tierloom"}`, nil, cni.CodeInvalidConfig, "name"},
		"other type":           {"ADD", `{"cniVersion":"1.1.0","name":"k8s","type":"bridge"}`, nil, cni.CodeInvalidConfig, "bridge"},
		"relative socket":      {"ADD", conf("1.1.0", `"socket":"x.sock"`), nil, cni.CodeInvalidConfig, "socket"},
		"long socket":          {"ADD", conf("1.1.0", `"socket":"/`+strings.Repeat("x", 107)+`"`), nil, cni.CodeInvalidConfig, "socket"},
		"timeout":              {"ADD", conf("1.1.0", `"timeout":"-1s"`), nil, cni.CodeInvalidConfig, "timeout"},
		"CHECK without prev":   {"CHECK", conf("1.1.0"), nil, cni.CodeInvalidConfig, "prevResult"},
		"netns gone":           {"ADD", conf("1.1.0"), map[string]string{"CNI_NETNS": "/nonexistent"}, cni.CodeInvalidNetNS, "exist"},
		"netns gone on CHECK":  {"CHECK", conf("1.1.0", prev), map[string]string{"CNI_NETNS": "/nonexistent"}, cni.CodeInvalidNetNS, "exist"},
		"own netns":            {"ADD", conf("1.1.0"), map[string]string{"CNI_NETNS": "/proc/self/ns/net"}, cni.CodeInvalidNetNS, "own"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, c.command, c.conf)
			for k, v := range c.env {
				r.env[k] = v
			}
			require.Contains(t, r.fails(t, c.code), c.text)
			require.Nil(t, r.got, "the agent was not asked")
		})
	}
}

// TestAgentErrors has what the agent says, or does not say.
func TestAgentErrors(t *testing.T) {
	silent := fmt.Errorf("dial: %w", cni.ErrUnavailable)
	for _, c := range []struct {
		command string
		err     error
		code    cni.Code // 0 is success
	}{
		{"ADD", silent, cni.CodeTryAgainLater},
		{"DEL", silent, cni.CodeTryAgainLater},
		{"CHECK", silent, cni.CodeTryAgainLater},
		{"GC", silent, cni.CodeTryAgainLater},
		{"STATUS", silent, cni.CodeNotAvailable},
		{"STATUS", cni.Errorf(cni.CodeLimitedConnectivity, "no uplink"), cni.CodeLimitedConnectivity},
		{"ADD", context.DeadlineExceeded, cni.CodeTryAgainLater},
		{"ADD", cni.Errorf(cni.CodeUnknownContainer, "no pod"), cni.CodeUnknownContainer},
		{"DEL", cni.Errorf(cni.CodeUnknownContainer, "no pod"), 0},
		{"DEL", cni.Errorf(cni.CodeTryAgainLater, "busy"), cni.CodeTryAgainLater},
		{"CHECK", cni.Errorf(cni.CodeMismatch, "MTU"), cni.CodeMismatch},
		{"ADD", errors.New("bug"), cni.CodeInternal},
		{"DEL", nil, 0}, {"CHECK", nil, 0}, {"STATUS", nil, 0}, {"GC", nil, 0},
	} {
		t.Run(fmt.Sprint(c.command, " ", c.err), func(t *testing.T) {
			r := newRun(t, c.command, conf("1.1.0", `"prevResult":{"cniVersion":"1.1.0"}`, `"cni.dev/valid-attachments":[{"containerID":"c9","ifname":"eth0"}]`))
			r.do = func(*cni.Request) (*cni.Result, error) { return nil, c.err }
			if c.code != 0 {
				r.fails(t, c.code)
				return
			}
			exit, out := r.main(t)
			require.Zero(t, exit, out)
			require.Empty(t, out)
			if c.command == "GC" {
				require.Equal(t, []cni.Attachment{{ContainerID: "c9", IfName: "eth0"}}, r.got.ValidAttachments)
			}
		})
	}
	r := newRun(t, "ADD", conf("1.1.0"))
	r.do = func(*cni.Request) (*cni.Result, error) { return nil, nil }
	r.fails(t, cni.CodeInternal)
}

// TestDel is lenient: fields nobody knows, a missing or own namespace.
func TestDel(t *testing.T) {
	for _, ns := range []string{"", "/nonexistent", "/proc/self/ns/net"} {
		r := newRun(t, "DEL", conf("0.4.0", `"bridge":"old"`, `"prevResult":{"ips":[null]}`))
		r.env["CNI_NETNS"] = ns
		exit, out := r.main(t)
		require.Zero(t, exit, out)
		require.Empty(t, r.got.NetNS)
	}
}

func TestBrokenPipes(t *testing.T) {
	var out bytes.Buffer
	env := func(k string) string { return map[string]string{"CNI_COMMAND": "STATUS"}[k] }
	exit := plugin.Plugin{Getenv: env, Stdin: iotest.ErrReader(errors.New("broken")), Stdout: &out}.Main(t.Context())
	require.Equal(t, 1, exit)
	require.Contains(t, out.String(), `"code": 5`)

	out.Reset()
	exit = plugin.Plugin{Getenv: env, Stdin: strings.NewReader(strings.Repeat(" ", 5<<20)), Stdout: &out}.Main(t.Context())
	require.Equal(t, 1, exit)
	require.Contains(t, out.String(), `"code": 5`)
}

// TestWithServer runs the plugin against a real socket, present and absent.
func TestWithServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	status := func(command string) (int, string) {
		var out bytes.Buffer
		env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
		exit := plugin.Plugin{
			Getenv: func(k string) string { return env[k] }, Stdin: strings.NewReader(conf("1.1.0", `"socket":"`+socket+`"`)), Stdout: &out,
		}.Main(t.Context())
		return exit, out.String()
	}
	_, out := status("STATUS")
	require.Contains(t, out, `"code": 50`)
	_, out = status("DEL")
	require.Contains(t, out, `"code": 11`)

	nop := func(context.Context, *cni.Request) (*cni.Result, error) { return nil, nil }
	srv, err := cni.NewServer(cni.Handler{Add: nop, Del: nop, Status: nop}, cni.ServerConfig{UIDs: []uint32{uint32(os.Getuid())}})
	require.NoError(t, err)
	lis, err := cni.Listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, lis) }()
	for _, command := range []string{"STATUS", "DEL"} {
		exit, out := status(command)
		require.Zero(t, exit, out)
		require.Empty(t, out)
	}
	cancel()
	require.NoError(t, <-done)
}
