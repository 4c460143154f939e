package intent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Bolt is a Store in a file. Apply returns after the changes are on the disk; callers that wait for
// the disk at the same time share one fsync. All objects are held in memory too, so that reads do
// not touch the file. Use OpenBolt; it must not be copied.
//
// One process may have the file open. The kept history does not outlive the process: after a
// restart a watch resumes from the current revision only.
type Bolt struct {
	*core
	db *bbolt.DB
}

// Layout of the file: bucket "objects" holds type NUL id → the object as JSON; bucket "meta" holds
// "format" (1), "epoch" and "revision" (8 bytes, big endian).
func boltNames() (objects, meta, format, epoch, revision []byte) {
	return []byte("objects"), []byte("meta"), []byte("format"), []byte("epoch"), []byte("revision")
}

// OpenBolt opens or creates the file, with permission for its owner alone. It fails within a second
// if another process has it open.
func OpenBolt(path string) (*Bolt, error) { return OpenBoltWith(path, StoreConfig{}) }

// OpenBoltWith is OpenBolt with other than default settings.
func OpenBoltWith(path string, cfg StoreConfig) (*Bolt, error) {
	fail := func(err error) (*Bolt, error) {
		return nil, &Error{Op: "open " + path, Kind: ErrUnavailable, Err: err}
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			err = errors.New("another process has the file open")
		}
		return fail(err)
	}
	b := &Bolt{core: newCore(cfg.History), db: db}
	b.persist = b.write
	if err := db.Update(func(tx *bbolt.Tx) error { return b.load(tx, cfg.NewEpoch) }); err != nil {
		return fail(errors.Join(err, db.Close()))
	}
	return b, nil
}

// load fills the core from the file, or a new file from the core.
func (b *Bolt) load(tx *bbolt.Tx, newEpoch bool) error {
	objects, meta, format, epoch, revision := boltNames()
	m, err := tx.CreateBucketIfNotExists(meta)
	if err != nil {
		return err
	}
	o, err := tx.CreateBucketIfNotExists(objects)
	if err != nil {
		return err
	}
	switch f := string(m.Get(format)); f {
	case "":
		if err := errors.Join(m.Put(format, []byte("1")), m.Put(revision, make([]byte, 8))); err != nil {
			return err
		}
		newEpoch = true
	case "1":
	default:
		return fmt.Errorf("file format %q, only 1 is known", f)
	}
	if newEpoch {
		if err := m.Put(epoch, []byte(b.epoch)); err != nil {
			return err
		}
	}
	b.epoch = string(m.Get(epoch))
	raw := m.Get(revision)
	if len(raw) != 8 || b.epoch == "" {
		return errors.New("the file lacks its epoch or revision")
	}
	b.rev = binary.BigEndian.Uint64(raw)
	return o.ForEach(func(k, v []byte) error {
		obj, err := decodeObject(v)
		if err != nil {
			return fmt.Errorf("object %q: %w", k, err)
		}
		b.setLocked(obj.Key(), &obj)
		return nil
	})
}

// write makes a group durable.
func (b *Bolt) write(entries []entry) error {
	objects, meta, _, _, revision := boltNames()
	err := b.db.Update(func(tx *bbolt.Tx) error {
		o := tx.Bucket(objects)
		for _, e := range entries {
			k := []byte(e.key.ResourceType + "\x00" + e.key.ID)
			if e.after == nil {
				if err := o.Delete(k); err != nil {
					return fmt.Errorf("delete %s: %w", e.key, err)
				}
				continue
			}
			v, err := e.after.MarshalJSON()
			if err != nil {
				return err
			}
			if err := o.Put(k, v); err != nil {
				return fmt.Errorf("put %s: %w", e.key, err)
			}
		}
		last := entries[len(entries)-1].revision
		return tx.Bucket(meta).Put(revision, binary.BigEndian.AppendUint64(nil, last))
	})
	if err == nil {
		return nil
	}
	// If the file took the group all the same, memory and file differ: refuse until it is opened anew.
	if rev, rerr := b.fileRevision(); rerr != nil || rev != b.rev {
		err = fmt.Errorf("the file must be opened anew: %w", errors.Join(err, rerr))
		b.close(err)
	}
	return err
}

func (b *Bolt) fileRevision() (rev uint64, err error) {
	_, meta, _, _, revision := boltNames()
	err = b.db.View(func(tx *bbolt.Tx) error {
		rev = binary.BigEndian.Uint64(tx.Bucket(meta).Get(revision))
		return nil
	})
	return rev, err
}

// Close waits for the Apply that is being made, ends all watches and closes the file. Later calls
// fail with ErrUnavailable.
func (b *Bolt) Close() error {
	b.commit.Lock()
	defer b.commit.Unlock()
	b.close(errClosed)
	if err := b.db.Close(); err != nil {
		return &Error{Op: "close", Kind: ErrUnavailable, Err: err}
	}
	return nil
}

var _ Store = (*Bolt)(nil)
