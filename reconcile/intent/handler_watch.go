package intent

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// watch streams events until the client goes, the server shuts down or the store ends the watch.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) error {
	q, values, err := query(r, "from")
	if err != nil {
		return err
	}
	from := uint64(0)
	if s := values.Get("from"); s != "" {
		if from, err = strconv.ParseUint(s, 10, 64); err != nil {
			return invalid("watch", Key{}, "from", fmt.Sprintf("%q is not a revision", s))
		}
	}
	st, err := h.store.Status(r.Context())
	if err != nil {
		return err
	}
	if q.Epoch != "" && q.Epoch != st.Epoch {
		return &Error{Op: "watch", Kind: ErrCompacted, Err: fmt.Errorf("epoch %q asked for, the store's is %q", q.Epoch, st.Epoch)}
	}
	// Pinning the epoch keeps a store that starts anew from passing for the one asked for.
	q.Epoch = st.Epoch

	ctx, cancel := context.WithCancel(r.Context())
	lines := make(chan wireEvent)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev, err := range h.store.Watch(ctx, from, q) {
			line := wireEvent{Type: string(ev.Type), Revision: ev.Revision, More: ev.More, Object: &ev.Object}
			if err != nil {
				we, _ := toWire(err)
				line = wireEvent{Type: "error", Error: we}
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-ended }()

	out := &lineWriter{w: w, control: http.NewResponseController(w), patience: 3 * h.cfg.Heartbeat}
	// A server's own limits are for short requests; each line has its own.
	_ = out.control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(h.cfg.Heartbeat)
	defer tick.Stop()
	line := wireEvent{Type: "heartbeat", Revision: st.Revision}
	for {
		if out.write(line) != nil || line.Type == "error" {
			return nil // the status is sent; there is nobody to tell
		}
		select {
		case line = <-lines:
		case <-tick.C:
			line = wireEvent{Type: "heartbeat"}
			if st, err := h.store.Status(ctx); err == nil {
				line.Revision = st.Revision
			}
		case <-ended:
			return nil
		}
	}
}

// lineWriter writes JSON lines that must each be taken by the peer within patience.
type lineWriter struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

func (l *lineWriter) write(v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(l.patience)) // not every ResponseWriter can
	if _, err := l.w.Write(append(raw, '\n')); err != nil {
		return err
	}
	return l.control.Flush()
}
