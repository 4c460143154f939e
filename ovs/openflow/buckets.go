package openflow

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// Places in a group, beside the ids of its buckets (section 7.3.4.3).
const (
	BucketFirst = 0xfffffffd
	BucketLast  = 0xfffffffe
	BucketAll   = 0xffffffff
)

const (
	groupInsertBucket = 3
	groupRemoveBucket = 5
)

// InsertBuckets puts the buckets of g into the group with its id and type,
// behind the one with the id after, or at [BucketFirst] or [BucketLast].
func (c *Conn) InsertBuckets(ctx context.Context, g ovs.Group, after uint32) error {
	return c.bucketMod(ctx, "insert-buckets", groupInsertBucket, g, after)
}

// RemoveBucket removes a bucket of a group, by its id, [BucketFirst],
// [BucketLast] or [BucketAll].
func (c *Conn) RemoveBucket(ctx context.Context, group, bucket uint32) error {
	return c.bucketMod(ctx, "remove-buckets", groupRemoveBucket, ovs.Group{ID: group}, bucket)
}

func (c *Conn) bucketMod(ctx context.Context, verb string, command uint16, g ovs.Group, bucket uint32) error {
	what := fmt.Sprintf("%s group_id=%d,command_bucket_id=%s", verb, g.ID, bucketText(bucket))
	if err := c.since(OpenFlow15, what); err != nil {
		return err
	}
	return c.confirmed(ctx, what, func(xid uint32) ([]byte, error) {
		b := be.AppendUint16(begin(nil, typeGroupMod, xid), command)
		b = be.AppendUint32(append(b, byte(g.Type), 0), g.ID)
		at := len(b)
		b = be.AppendUint32(append(b, 0, 0, 0, 0), bucket)
		for i := range g.Buckets {
			var err error
			if b, err = appendBucket(b, g.Type, &g.Buckets[i]); err != nil {
				return nil, err
			}
		}
		if len(b) > maxLen {
			return nil, fmt.Errorf("openflow: group %d: %d buckets do not fit a message", g.ID, len(g.Buckets))
		}
		be.PutUint16(b[at:], uint16(len(b)-at-8))
		return end(b, 0), nil
	})
}

func bucketText(id uint32) string {
	if id >= BucketFirst {
		return [...]string{"first", "last", "all"}[id-BucketFirst]
	}
	return fmt.Sprint(id)
}
