package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Status is what an API server would keep beside an object of the folder.
type Status struct {
	UID          string            `json:"uid"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	LoadBalancer string            `json:"load_balancer,omitempty"`
	Events       []Event           `json:"events,omitempty"`
}

// An Event is a condition told to an object's owner.
type Event struct {
	Time    time.Time `json:"time"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
}

// maxEvents bounds the events kept for an object; the oldest go first.
const maxEvents = 16

// statusDir is a folder of [Status] files, one for each object. Its writer is
// one process; any number may read. Files are replaced whole.
type statusDir struct {
	path string
	mu   sync.Mutex // orders read-change-write of a file
}

// file returns where a status lies.
func (d *statusDir) file(ref Ref) string { return filepath.Join(d.path, fileName(ref)) }

// maxFileName is the most bytes of a file's name on Linux (limits.h, NAME_MAX).
const maxFileName = 255

// fileName names the status of an object. Kubernetes names have no underscore.
func fileName(ref Ref) string { return ref.Kind + "_" + ref.Namespace + "_" + ref.Name + ".json" }

// refOf is the inverse of fileName.
func refOf(name string) (Ref, bool) {
	base, ok := strings.CutSuffix(name, ".json")
	f := strings.Split(base, "_")
	if !ok || len(f) != 3 {
		return Ref{}, false
	}
	return Ref{f[0], f[1], f[2]}, true
}

// read returns the status of an object, and false if it has none.
func (d *statusDir) read(ref Ref) (Status, bool, error) {
	raw, err := os.ReadFile(d.file(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, false, nil
	}
	if err != nil {
		return Status{}, false, err
	}
	var s Status
	if err := json.Unmarshal(raw, &s); err != nil {
		return Status{}, false, fmt.Errorf("%s: %w", d.file(ref), err)
	}
	return s, true, nil
}

func (d *statusDir) write(ref Ref, s Status) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(d.file(ref), raw)
}

// replaceFile writes a file so that a reader sees the old or the new content, whole.
func replaceFile(name string, raw []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Sync(), tmp.Close(), os.Chmod(tmp.Name(), 0o644))
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// ensure returns the status of an object, with a UID made when it is new.
func (d *statusDir) ensure(ref Ref, uid string) (Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok, err := d.read(ref)
	if err != nil || ok && (uid == "" || uid == s.UID) {
		return s, err
	}
	if uid == "" {
		uid = newUID()
	}
	s = Status{UID: uid}
	return s, d.write(ref, s)
}

// remove forgets an object that is gone from the folder.
func (d *statusDir) remove(ref Ref) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Remove(d.file(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// list returns the objects that have a status.
func (d *statusDir) list() ([]Ref, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, e := range entries {
		if ref, ok := refOf(e.Name()); ok {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// update changes the status of an object that still has the UID. It writes
// only when change reports that something changed.
func (d *statusDir) update(ref Ref, uid string, change func(*Status) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok, err := d.read(ref)
	if err != nil {
		return err
	}
	if !ok || s.UID != uid || !change(&s) {
		return nil
	}
	return d.write(ref, s)
}

// Annotate implements [Reporter].
func (d *statusDir) Annotate(_ context.Context, ref Ref, uid string, annotations map[string]string) error {
	return d.update(ref, uid, func(s *Status) bool {
		old := maps.Clone(s.Annotations)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		for k, v := range annotations {
			if s.Annotations[k] = v; v == "" {
				delete(s.Annotations, k)
			}
		}
		return !maps.Equal(old, s.Annotations)
	})
}

// Event implements [Reporter]. A repeat of the last event is not recorded.
func (d *statusDir) Event(_ context.Context, ref Ref, uid, reason, message string) error {
	return d.update(ref, uid, func(s *Status) bool {
		if n := len(s.Events); n > 0 && s.Events[n-1].Reason == reason && s.Events[n-1].Message == message {
			return false
		}
		s.Events = append(s.Events, Event{time.Now().UTC(), reason, message})
		s.Events = slices.Delete(s.Events, 0, max(0, len(s.Events)-maxEvents))
		return true
	})
}

// LoadBalancer implements [Reporter].
func (d *statusDir) LoadBalancer(_ context.Context, ref Ref, uid, address string) error {
	return d.update(ref, uid, func(s *Status) bool {
		changed := s.LoadBalancer != address
		s.LoadBalancer = address
		return changed
	})
}

// newUID returns a random version 4 UUID (RFC 9562, section 5.4).
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ReadStatus reads the status of one object from a status folder; that of an
// object without one is empty.
func ReadStatus(dir string, ref Ref) (Status, error) {
	d := statusDir{path: dir}
	s, _, err := d.read(ref)
	return s, err
}
