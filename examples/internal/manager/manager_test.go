package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/manager"
	"github.com/tierloom/tierloom/examples/internal/managertest"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// A process that is started with this variable is a manager: JSON of its
// configuration. It can be killed.
const managerEnv = "TIERLOOM_TEST_MANAGER"

func TestMain(m *testing.M) {
	raw := os.Getenv(managerEnv)
	if raw == "" {
		os.Exit(m.Run())
	}
	var cfg manager.Config
	err := json.Unmarshal([]byte(raw), &cfg)
	if err == nil {
		err = manager.Run(context.Background(), cfg, slog.New(slog.DiscardHandler), proc.NewHealth())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func object(t *testing.T, doc string) intent.Object {
	t.Helper()
	var o intent.Object
	require.NoError(t, json.Unmarshal([]byte(doc), &o), doc)
	return o
}

// put writes objects, all or none.
func put(t *testing.T, c *api.Client, docs ...string) error {
	t.Helper()
	var changes []intent.Change
	for _, d := range docs {
		changes = append(changes, intent.Put(object(t, d)))
	}
	_, err := c.Intent.Apply(t.Context(), changes)
	return err
}

// pools are what the tests allocate from.
var pools = []string{
	`{"resource_type":"IpAddressBlock","id":"pods","cidrs":["10.4.0.0/22"]}`,
	`{"resource_type":"IpAddressPool","id":"snat","ranges":["203.0.113.4-203.0.113.5"]}`,
	`{"resource_type":"IpAddressPool","id":"lb","cidrs":["203.0.113.16/28"],"excluded":["203.0.113.20"]}`,
	`{"resource_type":"Tier0","id":"t0","transit_vni":100}`,
	`{"resource_type":"Tier1","id":"t1","tier0_path":"t0"}`,
	`{"resource_type":"Segment","id":"s","connectivity_path":"t1","vni":5000,"subnets":[{"gateway_address":"10.8.0.1/29"}]}`,
	`{"resource_type":"SegmentPort","id":"node1","attachment":{"type":"PARENT","id":"v1"}}`,
}

// ask is an allocation as "kind pool owner [value or /length]"; "-" is no pool.
func ask(text string) api.Allocation {
	f := strings.Fields(text + " ")
	a := api.Allocation{Kind: f[0], Pool: strings.TrimPrefix(f[1], "-"), Owner: f[2]}
	if len(f) > 3 {
		if _, err := fmt.Sscanf(f[3], "/%d", &a.PrefixLength); err != nil {
			a.Value = f[3]
		}
	}
	return a
}

// answer is what came of it: the value, or reason and status.
func answer(c *api.Client, a api.Allocation) string {
	got, err := c.Allocate(context.Background(), a)
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return fmt.Sprintf("%d %s", e.Code, e.Reason)
	case err != nil:
		return err.Error()
	}
	return got.Value
}

func TestAllocate(t *testing.T) {
	c, _ := managertest.Start(t, managertest.Config(t))
	require.NoError(t, put(t, c, pools...))
	for _, s := range []struct{ ask, want string }{ // in this order
		{"subnet pods c/ns/1 /24", "10.4.0.0/24"},
		{"subnet pods c/ns/1 /24", "10.4.0.0/24"}, // the same again
		{"subnet pods c/ns/1 /25", "409 IN_USE"},  // it has another size
		{"subnet pods c/ns/2 /23", "10.4.2.0/23"},
		{"subnet pods c/ns/3 /23", "409 EXHAUSTED"},
		{"subnet pods c/ns/4 /24", "10.4.1.0/24"},
		{"subnet pods c/ns/5 /30", "409 EXHAUSTED"},
		{"subnet pods c/ns/5 /21", "409 OUT_OF_RANGE"}, // larger than the block
		{"subnet pods c/ns/5 /33", "409 OUT_OF_RANGE"},
		{"subnet pods c/ns/5", "409 OUT_OF_RANGE"}, // no length
		{"subnet nope c/ns/5 /24", "404 POOL_NOT_FOUND"},
		{"subnet snat c/ns/5 /24", "404 POOL_NOT_FOUND"}, // not of that kind

		{"address snat c/snat/1", "203.0.113.4"},
		{"address snat c/snat/2", "203.0.113.5"},
		{"address snat c/snat/1", "203.0.113.4"},
		{"address snat c/snat/3", "409 EXHAUSTED"},
		{"address snat c/snat/3 203.0.113.5", "409 IN_USE"},
		{"address snat c/snat/3 203.0.113.6", "409 OUT_OF_RANGE"}, // a static SNAT address outside its pool
		{"address snat c/snat/1 203.0.113.5", "409 IN_USE"},       // has another
		{"address snat c/snat/1 203.0.113.4", "203.0.113.4"},
		{"address lb c/lb/1 203.0.113.18", "203.0.113.18"},     // a loadBalancerIP
		{"address lb c/lb/2 203.0.113.18", "409 IN_USE"},       // of another service
		{"address lb c/lb/2 203.0.113.4", "409 OUT_OF_RANGE"},  // of another pool
		{"address lb c/lb/2 203.0.113.16", "409 OUT_OF_RANGE"}, // the network
		{"address lb c/lb/2 203.0.113.31", "409 OUT_OF_RANGE"}, // its broadcast
		{"address lb c/lb/2 203.0.113.20", "409 OUT_OF_RANGE"}, // excluded
		{"address lb c/lb/2 2001:db8::1", "409 OUT_OF_RANGE"},  // another family
		{"address lb c/lb/2 ::ffff:203.0.113.19", "409 OUT_OF_RANGE"},
		{"address lb c/lb/2 203.0.113.300", "400 INVALID"},
		{"address lb c/lb/2 fe80::1%eth0", "409 OUT_OF_RANGE"},
		{"address lb c/lb/2", "203.0.113.17"},
		{"address nope c/lb/3", "404 POOL_NOT_FOUND"},
		{"address segment/s c/port/1", "10.8.0.2"}, // not the gateway
		{"address segment/s c/port/2 10.8.0.1", "409 OUT_OF_RANGE"},
		{"address segment/s c/port/2 10.9.0.2", "409 OUT_OF_RANGE"},
		{"address segment/nope c/port/2", "404 POOL_NOT_FOUND"},

		{"vlan node1 c/port/1", "1"},
		{"vlan node1 c/port/2", "2"},
		{"vlan node1 c/port/1", "1"},
		{"vlan node2 c/port/1", "404 POOL_NOT_FOUND"},
		{"vni - c/segment/1", "4096"},
		{"vni - c/segment/2", "4097"},
		{"vni x c/segment/3", "400 INVALID"},
		{"mac - c/port/1", "02:74:6c:00:01:00"},
		{"mac x c/port/1", "400 INVALID"},
		{"colour - c/port/1", "400 INVALID"},
		{"mac - c/port", "400 INVALID"}, // no such owner
		{"mac - c//", "400 INVALID"},
	} {
		require.Equal(t, s.want, answer(c, ask(s.ask)), s.ask)
	}
	list, err := c.Allocations(t.Context(), "c/snat/")
	require.NoError(t, err)
	require.Equal(t, []api.Allocation{
		{Kind: "address", Pool: "snat", Owner: "c/snat/1", Value: "203.0.113.4"},
		{Kind: "address", Pool: "snat", Owner: "c/snat/2", Value: "203.0.113.5"},
	}, list)
}

func TestAllocate_MessagesNameWhatAndWhy(t *testing.T) {
	c, _ := managertest.Start(t, managertest.Config(t))
	require.NoError(t, put(t, c, pools...))
	for range 2 {
		_ = answer(c, ask("address snat c/snat/1"))
		_ = answer(c, ask("address snat c/snat/2"))
	}
	for text, want := range map[string][]string{
		"address snat c/snat/3":              {"address from snat", "c/snat/3", "2 of 2"},
		"address snat c/snat/3 203.0.113.5":  {"203.0.113.5", "c/snat/2"},
		"address snat c/snat/3 198.51.100.1": {"198.51.100.1", "snat"},
		"subnet nope c/ns/1 /24":             {`no IpAddressBlock "nope"`},
		"vlan nope c/ns/1":                   {`no SegmentPort "nope"`},
		"mac - c/1":                          {`owner "c/1"`, "cluster/role/uid"},
	} {
		_, err := c.Allocate(t.Context(), ask(text))
		for _, w := range want {
			require.ErrorContains(t, err, w, text)
		}
	}
}

func TestRelease(t *testing.T) {
	c, _ := managertest.Start(t, managertest.Config(t))
	require.NoError(t, put(t, c, pools...))
	release := func(text string) { t.Helper(); require.NoError(t, c.Release(t.Context(), ask(text))) }
	require.Equal(t, "203.0.113.4", answer(c, ask("address snat c/snat/1")))
	require.Equal(t, "203.0.113.5", answer(c, ask("address snat c/snat/2")))
	release("address snat c/snat/nobody")
	release("address nope c/snat/1")
	release("vlan snat c/snat/1")
	require.Equal(t, "409 EXHAUSTED", answer(c, ask("address snat c/snat/3")))
	release("address snat c/snat/1")
	release("address snat c/snat/1")
	require.Equal(t, "203.0.113.4", answer(c, ask("address snat c/snat/3")))

	_, err := c.Intent.Apply(t.Context(), []intent.Change{intent.Delete("IpAddressPool", "snat")})
	require.NoError(t, err)
	require.Equal(t, "404 POOL_NOT_FOUND", answer(c, ask("address snat c/snat/4")))
	release("address snat c/snat/2")
	list, err := c.Allocations(t.Context(), "c/")
	require.NoError(t, err)
	require.Equal(t, []api.Allocation{{Kind: "address", Pool: "snat", Owner: "c/snat/3", Value: "203.0.113.4"}}, list)
}

func TestQuarantine(t *testing.T) {
	cfg := managertest.Config(t)
	cfg.Quarantine = "1h"
	c, stop := managertest.Start(t, cfg)
	require.NoError(t, put(t, c, pools...))
	require.Equal(t, "203.0.113.4", answer(c, ask("address snat c/snat/1")))
	require.NoError(t, c.Release(t.Context(), ask("address snat c/snat/1")))
	stop()
	c, _ = managertest.Start(t, cfg)
	require.Equal(t, "203.0.113.5", answer(c, ask("address snat c/snat/2")), "a restart does not end it")
	require.Equal(t, "409 EXHAUSTED", answer(c, ask("address snat c/snat/3")))
	require.Equal(t, "203.0.113.4", answer(c, ask("address snat c/snat/1")), "who had it may have it back")
}

// A pool that is made smaller, or of other addresses, keeps its leases: what
// would lose them is refused until they are given back.
func TestPoolChanges(t *testing.T) {
	c, _ := managertest.Start(t, managertest.Config(t))
	require.NoError(t, put(t, c, pools...))
	require.Equal(t, "203.0.113.4", answer(c, ask("address snat c/snat/1")))
	require.Equal(t, "203.0.113.5", answer(c, ask("address snat c/snat/2")))
	require.NoError(t, put(t, c, `{"resource_type":"IpAddressPool","id":"snat","ranges":["203.0.113.4-203.0.113.6"]}`))
	require.Equal(t, "203.0.113.6", answer(c, ask("address snat c/snat/3")))
	require.NoError(t, put(t, c, `{"resource_type":"IpAddressPool","id":"snat","ranges":["203.0.113.5-203.0.113.8"]}`))
	_, err := c.Allocate(t.Context(), ask("address snat c/snat/4"))
	require.True(t, api.IsReason(err, api.ReasonInvalid))
	require.ErrorContains(t, err, "c/snat/1", "whose lease is in the way")
	require.NoError(t, c.Release(t.Context(), ask("address snat c/snat/1")))
	require.Equal(t, "203.0.113.7", answer(c, ask("address snat c/snat/4")))
}

func TestValidate(t *testing.T) {
	c, _ := managertest.Start(t, managertest.Config(t))
	require.NoError(t, put(t, c, pools...))
	for _, s := range []struct{ doc, want string }{
		{`{"resource_type":"Colour","id":"x"}`, `"Colour": not a kind`},
		{`{"resource_type":"RealizedPort","id":"x"}`, "not a kind"},
		{`{"resource_type":"IpAddressBlock","id":"x","cidrs":["10.4.2.0/24"]}`, `10.4.2.0/24 overlaps 10.4.0.0/22 of IpAddressBlock "pods"`},
		{`{"resource_type":"IpAddressBlock","id":"x","cidrs":["10.0.0.0/8"]}`, `overlaps 10.4.0.0/22`},
		{`{"resource_type":"IpAddressBlock","id":"x","cidrs":["10.9.0.0/24","10.9.0.128/25"]}`, "10.9.0.128/25"},
		{`{"resource_type":"IpAddressBlock","id":"x","cidrs":["10.9.0.1/24"]}`, "10.9.0.1/24"},
		{`{"resource_type":"IpAddressBlock","id":"x","cidrs":[]}`, "prefix"},
		{`{"resource_type":"IpAddressBlock","id":"x","cidr":["10.9.0.0/24"]}`, `"cidr"`},
		{`{"resource_type":"IpAddressPool","id":"x"}`, "neither prefix nor range"},
		{`{"resource_type":"IpAddressPool","id":"x","ranges":["10.9.0.9-10.9.0.1"]}`, "10.9.0.9-10.9.0.1"},
		{`{"resource_type":"IpAddressPool","id":"x","ranges":["ten"]}`, `"ten"`},
		{`{"resource_type":"IpAddressPool","id":"x","cidrs":["10.9.0.0/24"],"excluded":["10.8.0.1"]}`, "10.8.0.1"},
		{`{"resource_type":"IpAddressPool","id":"x","cidrs":["203.0.113.0/24"]}`, `203.0.113.0/24 overlaps 203.0.113.16/28 of IpAddressPool "lb"`},
		{`{"resource_type":"IpAddressPool","id":"x","ranges":["203.0.113.1-203.0.113.4"]}`, `overlaps 203.0.113.4-203.0.113.5 of IpAddressPool "snat"`},
		{`{"resource_type":"IpAddressPool","id":"x","ranges":["10.4.0.7"]}`, `overlaps 10.4.0.0/22 of IpAddressBlock "pods"`},
		{`{"resource_type":"IpAddressBlock","id":"x","cidrs":["203.0.112.0/23"]}`, `of IpAddressPool "lb"`},
		{`{"resource_type":"SegmentPort","id":"x","atachment":{}}`, `"atachment"`},
		{`{"resource_type":"Group","id":"x","expresion":{}}`, `"expresion"`},
	} {
		err := put(t, c, s.doc)
		require.ErrorIs(t, err, intent.ErrInvalid, s.doc)
		require.ErrorContains(t, err, s.want, s.doc)
		require.Error(t, put(t, c, `{"resource_type":"Tier0","id":"rest","transit_vni":101}`, s.doc))
	}
	objs, _, err := c.Intent.List(t.Context(), intent.Query{ID: "rest"})
	require.NoError(t, err)
	require.Empty(t, objs, "all or none")
	require.NoError(t, put(t, c, pools...), "what is there may be written again")
	require.NoError(t, put(t, c, `{"resource_type":"IpAddressBlock","id":"pods","cidrs":["10.4.0.0/21"]}`), "and grow")
}

// Two blocks of one request are not in the store when each is looked at.
func TestBlocksOfOneRequest(t *testing.T) {
	c, _ := managertest.Start(t, managertest.Config(t))
	a, b := `{"resource_type":"IpAddressBlock","id":"a","cidrs":["10.4.0.0/24"]}`, `{"resource_type":"IpAddressBlock","id":"b","cidrs":["10.4.0.0/16"]}`
	if err := put(t, c, a, b); err == nil {
		for _, text := range []string{"subnet a c/ns/1 /26", "subnet b c/ns/2 /26"} {
			_, err := c.Allocate(t.Context(), ask(text))
			require.True(t, api.IsReason(err, api.ReasonInvalid), "%s: %v", text, err)
			require.ErrorContains(t, err, "overlaps")
		}
	}
	require.NoError(t, put(t, c, `{"resource_type":"IpAddressBlock","id":"b","cidrs":["10.5.0.0/16"]}`))
	require.Equal(t, "10.5.0.0/26", answer(c, ask("subnet b c/ns/2 /26")))
	require.Equal(t, "10.4.0.0/26", answer(c, ask("subnet a c/ns/1 /26")))
}

func TestBadRequests(t *testing.T) {
	cfg := managertest.Config(t)
	managertest.Start(t, cfg)
	do := func(method, path, body string) (int, string) {
		req, err := http.NewRequest(method, "http://"+cfg.Listen+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(raw)
	}
	for _, s := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/api/v1/allocations", ``, 400, "owner"},
		{"POST", "/api/v1/allocations", `{`, 400, "request body"},
		{"POST", "/api/v1/allocations", `{"kindd":"mac"}`, 400, `kindd`},
		{"POST", "/api/v1/allocations", `{"kind":"mac","owner":"a/b/c"} {"kind":"mac"}`, 400, "request body"},
		{"POST", "/api/v1/allocations", `{"owner":"` + strings.Repeat("x", 5<<20) + `"}`, 400, "too large"},
		{"POST", "/api/v1/allocations", `{"kind":"mac","owner":"a/b/\u0000"}`, 400, "owner"},
		{"POST", "/api/v1/hosts/h1/realized", `[]`, 400, "request body"},
		{"PUT", "/api/v1/realized/RealizedPort/p", `{}`, 403, "derived"},
		{"PUT", "/api/v1/spans/h1/SpanPort/p", `{}`, 403, "derived"},
		{"PUT", "/api/v1/intent/Tier0/x", `{"transit_vn":1}`, 400, "transit_vn"},
		{"GET", "/api/v1/nothing", ``, 404, ""},
		{"PUT", "/api/v1/allocations", ``, 405, ""},
	} {
		code, body := do(s.method, s.path, s.body)
		require.Equal(t, s.code, code, "%s %s: %s", s.method, s.path, body)
		require.Contains(t, body, s.want)
	}
	code, body := do("GET", "/api/v1/status", "")
	require.Equal(t, 200, code)
	require.Contains(t, body, `"leases":0`)
}

func TestRestartKeepsAllocations(t *testing.T) {
	cfg := managertest.Config(t)
	c, stop := managertest.Start(t, cfg)
	require.NoError(t, put(t, c, pools...))
	asks := []string{
		"subnet pods c/ns/1 /24", "subnet pods c/ns/2 /26", "address snat c/snat/1", "address lb c/lb/1 203.0.113.30",
		"address segment/s c/port/1", "vlan node1 c/port/1", "vni - c/segment/1", "mac - c/port/1", "mac - c/port/2",
	}
	before := map[string]string{}
	for _, a := range asks {
		before[a] = answer(c, ask(a))
	}
	list, err := c.Allocations(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, list, len(asks))
	st, err := c.Status(t.Context())
	require.NoError(t, err)
	stop()

	c, _ = managertest.Start(t, cfg)
	again, err := c.Allocations(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, list, again)
	now, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, st.Revision, now.Revision)
	require.Equal(t, st.Objects, now.Objects)
	for _, a := range asks {
		require.Equal(t, before[a], answer(c, ask(a)), a)
	}
	now, err = c.Status(t.Context())
	require.NoError(t, err)
	require.Zero(t, now.Allocations, "the same again is no write")
	require.Equal(t, "02:74:6c:00:01:02", answer(c, ask("mac - c/port/3")), "no value of before")
}

// kill -9 in the middle of allocations: what was answered is kept, what was
// not is asked again, and no value has two owners.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	cfg := managertest.Config(t)
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	acked := map[string]string{} // what was answered
	var mu sync.Mutex
	asked := 0
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), managerEnv+"="+string(raw))
		require.NoError(t, cmd.Start())
		killed := false
		kill := func() {
			if !killed {
				killed = true
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
		t.Cleanup(kill)
		c := managertest.Client(t, cfg)
		require.NoError(t, put(t, c, `{"resource_type":"IpAddressBlock","id":"pods","cidrs":["10.0.0.0/8"]}`))
		for owner, value := range acked {
			kind, rest, _ := strings.Cut(owner, " ")
			pool, o, _ := strings.Cut(rest, " ")
			require.Equal(t, value, answer(c, api.Allocation{Kind: kind, Pool: strings.TrimPrefix(pool, "-"), Owner: o, PrefixLength: 24}), owner)
		}
		enough := make(chan struct{})
		var wg sync.WaitGroup
		count := 0
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					text := []string{"mac - c/port/", "subnet pods c/ns/"}[i%2] + fmt.Sprintf("%d-%d-%d", round, w, i)
					a := ask(text)
					a.PrefixLength = 24
					got, err := c.Allocate(t.Context(), a)
					if err != nil {
						return // it is dead
					}
					mu.Lock()
					acked[text] = got.Value
					if count++; count == 40 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		kill() // while four requests are under way
		wg.Wait()
		asked += count
	}
	require.Len(t, acked, asked)
	c, _ := managertest.Start(t, cfg)
	list, err := c.Allocations(t.Context(), "")
	require.NoError(t, err)
	values, owners := map[string]string{}, map[string]string{}
	for _, a := range list {
		require.Empty(t, values[a.Kind+a.Value], "%s: given twice", a.Value)
		values[a.Kind+a.Value] = a.Owner
		owners[a.Owner] = a.Value
	}
	for text, value := range acked {
		require.Equal(t, value, owners[ask(text).Owner], text)
	}
}

func TestConfig(t *testing.T) {
	good := manager.Config{Listen: "127.0.0.1:0", Data: "d", Quarantine: "60s"}
	require.NoError(t, good.Validate())
	for want, change := range map[string]func(*manager.Config){
		"data: required":    func(c *manager.Config) { c.Data = "" },
		`listen "nowhere"`:  func(c *manager.Config) { c.Listen = "nowhere" },
		`quarantine "60"`:   func(c *manager.Config) { c.Quarantine = "60" },
		`quarantine "-1s"`:  func(c *manager.Config) { c.Quarantine = "-1s" },
		"all three or none": func(c *manager.Config) { c.TLS.CA = "ca.pem" },
	} {
		cfg := good
		change(&cfg)
		require.ErrorContains(t, cfg.Validate(), want)
	}
	require.ErrorContains(t, manager.Config{}.Validate(), "quarantine", "every fault is named")
}

func TestRun_Faults(t *testing.T) {
	log, health := slog.New(slog.DiscardHandler), proc.NewHealth()
	cfg := managertest.Config(t)
	l, err := net.Listen("tcp", cfg.Listen)
	require.NoError(t, err)
	defer l.Close()
	require.ErrorContains(t, manager.Run(t.Context(), cfg, log, health), "address already in use")
	require.NoError(t, os.WriteFile(filepath.Join(cfg.Data, "leases.db"), []byte("rubbish"), 0o600))
	require.ErrorContains(t, manager.Run(t.Context(), cfg, log, health), "leases.db")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cfg.Data = file
	require.ErrorContains(t, manager.Run(t.Context(), cfg, log, health), file)
}
