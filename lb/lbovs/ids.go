package lbovs

import (
	"hash/fnv"
	"slices"

	"github.com/tierloom/tierloom/lb"
)

// maxBucketID is the highest bucket id OpenFlow 1.5 allows (OFPG_BUCKET_MAX, 7.3.4.3).
const maxBucketID = 0xffffff00

// GroupIDs gives each frontend its group id in the layout's range: a hash of
// its key, or, where two meet, the next free one, the lower key going first.
func GroupIDs(state []lb.Frontend, l Layout) map[lb.Key]uint32 {
	keys := make([]lb.Key, 0, len(state))
	for _, f := range state {
		keys = append(keys, f.Key)
	}
	slices.SortFunc(keys, lb.Key.Compare)
	return assign(keys, lb.Key.String, l.GroupMin, l.GroupMax)
}

// bucketIDs does the same for the backends of a frontend.
func bucketIDs(backends []lb.Backend) map[lb.Backend]uint32 {
	return assign(slices.SortedFunc(slices.Values(backends), lb.Backend.Compare), lb.Backend.String, 1, maxBucketID)
}

// assign spreads sorted things over lowest..highest by hash; of those that
// find all ids taken, which the caller excludes, the last gets none.
func assign[T comparable](sorted []T, name func(T) string, lowest, highest uint32) map[T]uint32 {
	ids := make(map[T]uint32, len(sorted))
	taken := make(map[uint32]bool, len(sorted))
	span := uint64(highest) - uint64(lowest) + 1
	for _, t := range sorted {
		if _, ok := ids[t]; ok || uint64(len(taken)) == span {
			continue
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(name(t)))
		id := lowest + uint32(uint64(h.Sum32())%span)
		for taken[id] {
			if id++; id > highest || id < lowest {
				id = lowest
			}
		}
		ids[t], taken[id] = id, true
	}
	return ids
}
