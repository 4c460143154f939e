package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file is what was last read of one manifest.
type file struct {
	size   int64
	mod    time.Time
	docs   []document
	faults []Fault
}

// maxManifest is the most bytes of a manifest that are read.
const maxManifest = 16 << 20

// lastGood is the folder, below that of the statuses, of manifests as they
// were without a fault: a process that starts over a manifest at fault goes on
// with what it said before.
const lastGood = "manifests"

func isManifest(e fs.DirEntry) bool {
	ext := filepath.Ext(e.Name())
	return !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && (ext == ".yaml" || ext == ".yml" || ext == ".json")
}

// readFiles brings f.files up to date with the folder.
func (f *Folder) readFiles() error {
	entries, err := os.ReadDir(f.cfg.Manifests)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range entries {
		if !isManifest(e) {
			continue
		}
		info, err := os.Stat(filepath.Join(f.cfg.Manifests, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		seen[e.Name()] = true
		old := f.files[e.Name()]
		if err == nil && old.size == info.Size() && old.mod.Equal(info.ModTime()) {
			continue
		}
		f.files[e.Name()] = f.readFile(e.Name(), info, err, old)
	}
	if f.cfg.Writer {
		f.forgetGood(seen)
	}
	maps.DeleteFunc(f.files, func(name string, _ file) bool { return !seen[name] })
	return nil
}

// readFile reads a manifest; where it is at fault, old or its last good copy
// counts. One that cannot be read at all is tried again the next time.
func (f *Folder) readFile(name string, info fs.FileInfo, err error, old file) file {
	var raw []byte
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s: not a regular file", info.Mode().Type())
	case info.Size() > maxManifest:
		err = fmt.Errorf("%d bytes: at most %d are read", info.Size(), maxManifest)
	default:
		raw, err = os.ReadFile(filepath.Join(f.cfg.Manifests, name))
	}
	if old.docs == nil {
		old.docs = f.good(name)
	}
	if err != nil {
		return file{docs: old.docs, faults: []Fault{{File: name, Err: err.Error()}}}
	}
	docs, faults := parseFile(name, raw)
	if len(faults) > 0 {
		docs = keepLastGood(docs, old.docs)
	} else if err := f.keepGood(name, raw); err != nil {
		f.log.Warn("copy of a manifest", "file", name, "err", err)
	}
	return file{info.Size(), info.ModTime(), docs, faults}
}

// good returns the documents of a manifest's last good copy.
func (f *Folder) good(name string) []document {
	raw, err := os.ReadFile(filepath.Join(f.cfg.Status, lastGood, name))
	if err != nil {
		return nil
	}
	docs, _ := parseFile(name, raw)
	return docs
}

// keepGood makes the copy that [Folder.good] reads. It is the writer's to do.
func (f *Folder) keepGood(name string, raw []byte) error {
	dir := filepath.Join(f.cfg.Status, lastGood)
	if have, err := os.ReadFile(filepath.Join(dir, name)); !f.cfg.Writer || err == nil && bytes.Equal(have, raw) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, name), raw)
}

// forgetGood removes the copies of manifests that are gone.
func (f *Folder) forgetGood(seen map[string]bool) {
	entries, err := os.ReadDir(filepath.Join(f.cfg.Status, lastGood))
	if err != nil {
		return // there are none yet
	}
	for _, e := range entries {
		if isManifest(e) && !seen[e.Name()] {
			_ = os.Remove(filepath.Join(f.cfg.Status, lastGood, e.Name())) // tried again at the next reading
		}
	}
}

// keepLastGood adds to docs what the file said before of objects it now has
// no good document for: a document at fault must not delete its object.
func keepLastGood(docs, old []document) []document {
	have := map[Ref]bool{}
	for _, d := range docs {
		have[d.ref] = true
	}
	for _, d := range old {
		if !have[d.ref] {
			docs = append(docs, d)
		}
	}
	return docs
}

// merge joins the files in the order of their names. The first document of
// an object counts; a second is a fault.
func (f *Folder) merge() (map[Ref]document, []Fault) {
	first := map[Ref]document{}
	var faults []Fault
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		faults = append(faults, f.files[name].faults...)
		for _, d := range f.files[name].docs {
			if at, ok := first[d.ref]; ok {
				faults = append(faults, Fault{name, d.line, fmt.Sprintf("%s: already defined in %s:%d", d.ref, at.file, at.line)})
				continue
			}
			first[d.ref] = d
		}
	}
	return first, faults
}
