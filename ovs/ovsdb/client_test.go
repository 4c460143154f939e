package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// peer is the server's end of a connection, played by the test.
type peer struct {
	t *testing.T
	net.Conn
	f *framer
}

// connect makes a Client and its peer. It must be called inside synctest.
func connect(t *testing.T, cfg Config) (*Client, *peer) {
	near, far := net.Pipe()
	c := New(near, cfg)
	t.Cleanup(func() { _ = c.Close() })
	return c, &peer{t, far, &framer{r: far, max: 1 << 20}}
}

// read returns the next message of the Client.
func (p *peer) read() string {
	p.t.Helper()
	text, err := p.f.read()
	require.NoError(p.t, err)
	return string(text.rest())
}

func (p *peer) write(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p, format, args...)
	require.NoError(p.t, err)
}

// serve answers each request with what the function returns: a result, or an
// error word after "!".
func (p *peer) serve(answer func(method string) string) {
	for {
		text, err := p.f.read()
		if err != nil {
			return
		}
		m, err := parseMessage(text)
		if err != nil || m.Method == nil || isNull(m.ID) {
			continue
		}
		result := answer(*m.Method)
		if word, bad := strings.CutPrefix(result, "!"); bad {
			fmt.Fprintf(p, `{"id":%s,"result":null,"error":{"error":%q}}`, m.ID, word)
		} else {
			fmt.Fprintf(p, `{"id":%s,"result":%s,"error":null}`, m.ID, result)
		}
	}
}

func TestTransactOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Config{})
		go func() {
			require.JSONEq(t, `{"id":1,"method":"transact","params":["db",
				{"op":"insert","table":"T","uuid-name":"x","row":{"name":"a","tags":["set",[]],"m":["map",[["k","v"]]]}},
				{"op":"mutate","table":"R","where":[],"mutations":[["refs","insert",["named-uuid","x"]]]},
				{"op":"select","table":"T","columns":["name"],"where":[["name","==","a"]]},
				{"op":"wait","table":"T","timeout":0,"columns":["name"],"until":"==","rows":[],"where":[]},
				{"op":"update","table":"T","row":{"n":3},"where":[["_uuid","==",["uuid","00000000-0000-0000-0000-000000000001"]]]},
				{"op":"delete","table":"T","where":[["n",">",4]]},
				{"op":"comment","comment":"why"}]}`, p.read())
			p.write(`{"id":1,"error":null,"result":[{"uuid":["uuid","00000000-0000-0000-0000-00000000000A"]},{"count":1},` +
				`{"rows":[{"name":"a"}]},{},{"count":1},{"count":0},{}]}`)
		}()
		got, err := c.Transact(t.Context(), "db",
			Insert("T", "x", Row{"name": "a", "tags": nil, "m": map[string]string{"k": "v"}}),
			Mutate("R", []Mutation{{"refs", "insert", NamedUUID("x")}}),
			Select("T", []string{"name"}, Where("name", "a")),
			Wait("T", 0, []string{"name"}, true, nil),
			Update("T", Row{"n": 3}, Where("_uuid", UUID("00000000-0000-0000-0000-000000000001"))),
			Delete("T", Condition{"n", ">", 4}),
			Comment("why"))
		require.NoError(t, err)
		require.Equal(t, []Result{{UUID: "00000000-0000-0000-0000-00000000000a"}, {Count: 1},
			{Rows: []Row{{"name": "a"}}}, {}, {Count: 1}, {}, {}}, got)
	})
}

func TestTransactErrors(t *testing.T) {
	abort := Operation{map[string]any{"op": "abort"}}
	for _, tc := range []struct{ name, result, want string }{
		{"operation", `[{"error":"aborted","details":"d"}]`, `ovsdb: transact: aborted: d (operation 0: {"op":"abort"})`},
		{"commit", `[{},{"error":"constraint violation"}]`, `ovsdb: transact: constraint violation`},
		{"call", `!unknown database`, `ovsdb: transact: unknown database`},
		{"too few", `[]`, `ovsdb: malformed: transact: 0 results for 1 operations`},
		{"no array", `{}`, `ovsdb: malformed: transact: json: cannot unmarshal object`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Config{})
				go p.serve(func(method string) string {
					if method == "echo" {
						return "[]"
					}
					return tc.result
				})
				_, err := c.Transact(t.Context(), "db", abort)
				require.ErrorContains(t, err, tc.want)
				require.NoError(t, c.Echo(t.Context()), "the connection lasts")
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c, _ := connect(t, Config{})
		_, err := c.Transact(t.Context(), "db", Operation{})
		require.ErrorContains(t, err, "operation of no kind")
		_, err = c.Transact(t.Context(), "db", Insert("T", "", Row{"c": struct{}{}}))
		require.ErrorContains(t, err, `column "c"`)
	})
}

func TestEchoIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := connect(t, Config{})
		p.write(`{"id":"e","method":"echo","params":[1,{"a":"}"}]}`)
		require.JSONEq(t, `{"id":"e","result":[1,{"a":"}"}],"error":null}`, p.read())
		p.write(`{"id":5,"method":"dance","params":[]}`)
		require.JSONEq(t, `{"id":5,"result":null,"error":"unknown method"}`, p.read())
	})
}

func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c, p := connect(t, Config{Probe: 5 * time.Second})
		require.JSONEq(t, `{"id":"echo","method":"echo","params":[]}`, p.read())
		p.write(`{"id":"echo","result":[],"error":null}`)
		require.JSONEq(t, `{"id":"echo","method":"echo","params":[]}`, p.read())
		require.NoError(t, c.Err())
		err := c.Wait() // not answered this time
		require.ErrorIs(t, err, ErrDisconnected)
		require.ErrorContains(t, err, "silent for 10s")
		require.Equal(t, 15*time.Second, time.Since(start), "heard at 5 s, asked at 10 s")
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() {
			_, err := c.Transact(ctx, "db", Comment("x"))
			ended <- err
		}()
		p.read()
		why := errors.New("had enough")
		cancel(why)
		require.ErrorIs(t, <-ended, why)
		require.JSONEq(t, `{"id":null,"method":"cancel","params":[1]}`, p.read())
		p.write(`{"id":1,"result":null,"error":"canceled"}`)
		go p.serve(func(string) string { return `["a"]` })
		names, err := c.Databases(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, names)
	})
}

// Each way a connection can end fails the calls under way and later ones.
func TestDisconnect(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*Client, *peer)
		want error
	}{
		{"closed here", func(c *Client, _ *peer) { _ = c.Close() }, net.ErrClosed},
		{"closed there", func(_ *Client, p *peer) { p.Close() }, nil},
		{"not json", func(_ *Client, p *peer) { p.write("hello") }, ErrMalformed},
		{"bad json", func(_ *Client, p *peer) { p.write(`{"id":}`) }, ErrMalformed},
		{"too deep", func(_ *Client, p *peer) { p.Write([]byte(`{"id":` + strings.Repeat("[", 100))) }, ErrTooLarge},
		{"too long", func(_ *Client, p *peer) { p.Write([]byte(`{"id":"` + strings.Repeat("x", 2000))) }, ErrTooLarge},
		{"bad update", func(_ *Client, p *peer) { p.write(`{"method":"update2","params":[1]}`) }, ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Config{MaxMessage: 1000})
				ended := make(chan error)
				go func() { ended <- c.Echo(t.Context()) }()
				p.read()
				tc.end(c, p)
				require.ErrorIs(t, <-ended, ErrDisconnected)
				<-c.Done()
				require.ErrorIs(t, c.Wait(), ErrDisconnected)
				if tc.want != nil && tc.want != net.ErrClosed {
					require.ErrorIs(t, c.Err(), tc.want)
				}
				require.ErrorIs(t, c.Echo(t.Context()), ErrDisconnected)
			})
		})
	}
}

const testSchema = `{"name":"db","version":"1","tables":{"T":{"columns":{"name":{"type":"string"},
	"tags":{"type":{"key":"string","min":0,"max":"unlimited"}},"opt":{"type":{"key":"integer","min":0}},
	"ids":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}},"r":{"type":"real"}}}}}`

const idA = UUID("00000000-0000-0000-0000-00000000000a")

// The three generations of monitor give the same cache.
func TestMonitorGenerations(t *testing.T) {
	first2 := `{"T":{"` + string(idA) + `":{"initial":{"name":"a","tags":["set",["x","y"]],"ids":["map",[["k","1"],["l","2"]]],"r":1}}}}`
	mod2 := `{"T":{"` + string(idA) + `":{"modify":{"tags":["set",["y","z"]],"opt":4,"ids":["map",[["k","1"],["l","3"],["m","5"]]]}}}}`
	first1 := `{"T":{"` + string(idA) + `":{"new":{"name":"a","tags":["set",["x","y"]],"ids":["map",[["k","1"],["l","2"]]],"r":1,"opt":["set",[]]}}}}`
	mod1 := `{"T":{"` + string(idA) + `":{"old":{"opt":["set",[]]},"new":{"name":"a","tags":["set",["x","z"]],"ids":["map",[["l","3"],["m","5"]]],"r":1,"opt":4}}}}`
	for _, tc := range []struct{ method, initial, update, gone string }{
		{"monitor_cond_since", `[false,"` + string(idA) + `",` + first2 + `]`,
			`{"method":"update3","id":null,"params":["m2","` + string(idA) + `",` + mod2 + `]}`,
			`{"method":"update3","id":null,"params":["m2","` + string(idA) + `",{"T":{"` + string(idA) + `":{"delete":null}}}]}`},
		{"monitor_cond", first2, `{"method":"update2","id":null,"params":["m2",` + mod2 + `]}`,
			`{"method":"update2","id":null,"params":["m2",{"T":{"` + string(idA) + `":{"delete":null}}}]}`},
		{"monitor", first1, `{"method":"update","id":null,"params":["m2",` + mod1 + `]}`,
			`{"method":"update","id":null,"params":["m2",{"T":{"` + string(idA) + `":{"old":{"name":"a"}}}}]}`},
	} {
		t.Run(tc.method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Config{Probe: -1})
				go p.serve(func(method string) string {
					switch method {
					case "get_schema":
						return testSchema
					case tc.method:
						return tc.initial
					}
					return "!unknown method"
				})
				k, err := c.Monitor(t.Context(), "db", TableMonitor{Table: "T"})
				require.NoError(t, err)
				rows, err := k.Rows("T")
				require.NoError(t, err)
				require.Equal(t, []Row{{"_uuid": idA, "name": "a", "tags": Set{"x", "y"}, "opt": Set{},
					"ids": Map{"k": "1", "l": "2"}, "r": 1.0}}, rows)
				p.write("%s", tc.update)
				synctest.Wait()
				after, err := k.Rows("T")
				require.NoError(t, err)
				require.Equal(t, []Row{{"_uuid": idA, "name": "a", "tags": Set{"x", "z"}, "opt": Set{int64(4)},
					"ids": Map{"l": "3", "m": "5"}, "r": 1.0}}, after)
				require.Equal(t, Set{"x", "y"}, rows[0]["tags"], "rows given out do not change")
				p.write("%s", tc.gone)
				require.NoError(t, k.WaitFor(t.Context(), func(v View) (bool, error) { return len(v.Rows("T")) == 0, nil }))
				p.Close()
				<-c.Done()
				_, err = k.Rows("T")
				require.ErrorIs(t, err, ErrDisconnected)
			})
		})
	}
}

func TestMonitorRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Config{Probe: -1})
		go p.serve(func(method string) string {
			if method == "get_schema" {
				return testSchema
			}
			return "!unknown method"
		})
		_, err := c.Monitor(t.Context(), "db", TableMonitor{Table: "U"})
		require.ErrorIs(t, err, ErrNotFound)
		_, err = c.Monitor(t.Context(), "db", TableMonitor{Table: "T", Columns: []string{"u"}})
		require.ErrorContains(t, err, `column "u" of table "T"`)
		_, err = c.Monitor(t.Context(), "db", TableMonitor{Table: "T", Where: []Condition{Where("name", "a")}})
		require.True(t, hasCode(err, "unknown method"), "conditions need a server that knows them")
		require.Empty(t, c.monitors)
	})
}
