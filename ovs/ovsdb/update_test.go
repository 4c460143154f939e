package ovsdb

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// qos is a table without rows for those of qosReply.
func qos() *table {
	text := ColumnSchema{Type: ColumnType{Key: BaseType{Type: "string"}, Value: BaseType{Type: "string"}, Max: Unlimited}}
	return &table{
		columns: map[string]ColumnSchema{"external_ids": text, "other_config": text,
			"type": {Type: ColumnType{Key: BaseType{Type: "string"}, Min: 1, Max: 1}}},
		indexes: []*index{{Index: Index{Table: "QoS", Column: "type"}}},
	}
}

// follow gives a new Cache the reply to monitor_cond_since.
func follow(reply []byte) (*Cache, error) {
	f := framer{r: bytes.NewReader(reply), max: 1 << 30}
	text, err := f.read()
	if err != nil {
		return nil, err
	}
	m, err := parseMessage(text)
	if err != nil {
		return nil, err
	}
	k := newCache(nil, "m")
	return k, k.initial(nil, "m", "monitor_cond_since", map[string]*table{"QoS": qos()}, m.Result)
}

// Many rows, which are decoded side by side, are what each is alone; and so are
// their differences and their removal.
func TestManyRows(t *testing.T) {
	const rows = 3*batchRows + 7
	many, err := follow(qosReply(rows))
	require.NoError(t, err)
	require.Equal(t, rows, many.tables["QoS"].rows.len)
	one := newCache(nil, "m")
	one.tables["QoS"] = qos()
	update := func(change string) {
		var all bytes.Buffer
		sep := `{"QoS":{`
		for id := range many.tables["QoS"].rows.all() {
			text := `"` + id + `":` + change
			if change == "" {
				data, err := many.tables["QoS"].initial(id)
				require.NoError(t, err)
				text = `"` + id + `":{"insert":` + string(data) + `}`
			}
			_, err := one.applyLocked(scanner{data: []byte(`{"QoS":{` + text + `}}`)})
			require.NoError(t, err)
			all.WriteString(sep + text)
			sep = ","
		}
		if change != "" {
			_, err := many.applyLocked(scanner{data: append(all.Bytes(), "}}"...)})
			require.NoError(t, err)
		}
		require.Empty(t, cmp.Diff(contents(one), contents(many)), "after %s", change)
	}
	update("")
	update(`{"modify":{"external_ids":["map",[["vm","changed"]]],"type":"same"}}`)
	update(`{"delete":null}`)
	require.Zero(t, many.tables["QoS"].rows.len)
}

// initial is a row as the server writes it.
func (t *table) initial(id string) ([]byte, error) {
	row, _ := t.rows.get(id)
	out := Row{}
	for name, v := range row {
		if name != "_uuid" {
			out[name] = v
		}
	}
	return out.MarshalJSON()
}

// contents is every row, and what the index has.
func contents(k *Cache) map[string]any {
	all := map[string]any{}
	t := k.tables["QoS"]
	for id, row := range t.rows.all() {
		all["row "+id] = row
	}
	for key, rows := range t.indexes[0].rows.all() {
		ids := map[any]bool{}
		for _, row := range rows {
			ids[row["_uuid"]] = true
		}
		all["index "+key] = ids
	}
	return all
}

// One row of many that is no row is an error that names it.
func TestManyRowsOneBad(t *testing.T) {
	for _, tc := range []struct{ name, was, is, want string }{
		{"value", `"port-1500"`, `[1,2]`, `row .*column "external_ids"`},
		{"column", `"type":"type-1500"`, `"kind":"type-1500"`, `column "kind" is not monitored`},
		{"uuid", `-0000000005dc":`, `-0000000005dX":`, `uuid ".*X"`},
		{"no object", `{"external_ids":["map",[["attached-mac","02:00:00:00:00:01"],["iface-id","port-1500"],["vm","vm-0"]]],"other_config":["map",[["max-rate","1500"]]],"type":"type-1500"}`, `[]`, `JSON has '\['`},
		{"row", `"type":"type-1500"}`, `"type":"type-1500"]`, `JSON has`},
	} {
		reply := qosReply(2000)
		require.Contains(t, string(reply), tc.was)
		_, err := follow(bytes.Replace(reply, []byte(tc.was), []byte(tc.is), 1))
		require.ErrorIs(t, err, ErrMalformed, tc.name)
		require.Regexp(t, tc.want, err.Error(), tc.name)
	}
}
