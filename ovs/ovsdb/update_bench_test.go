package ovsdb

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// qosReply is what a server answers to monitor_cond_since with n rows of QoS.
func qosReply(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"id":1,"result":[false,"00000000-0000-0000-0000-000000000000",{"QoS":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%08x-0000-4000-8000-%012x":{"initial":{"external_ids":["map",[["attached-mac","02:00:00:00:00:01"],`+
			`["iface-id","port-%d"],["vm","vm-%d"]]],"other_config":["map",[["max-rate","%d"]]],"type":"type-%d"}}`, uint32(i)*2654435761, i, i, i%100, i, i)
	}
	b.WriteString(`}}],"error":null}`)
	return b.Bytes()
}

// BenchmarkApply is the part of a first sync that is ours.
func BenchmarkApply(b *testing.B) {
	data := qosReply(20000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		k, err := follow(data)
		require.NoError(b, err)
		require.Equal(b, 20000, k.tables["QoS"].rows.len)
	}
}
