package cluster

import (
	"fmt"
	"hash/fnv"
)

// eventHash tells events of one object apart.
func eventHash(ref Ref, uid, reason, message string) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s", ref, uid, reason, message)
	return fmt.Sprintf("%016x", h.Sum64())
}
