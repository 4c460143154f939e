package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// Config is what a manager works with.
type Config struct {
	Listen string   `json:"listen"`
	Data   string   `json:"data"` // folder of the stores
	TLS    proc.TLS `json:"tls"`
	// Quarantine is how long a released lease is held back, as a duration.
	Quarantine string `json:"quarantine"`
}

// Validate names every fault.
func (c Config) Validate() error {
	var errs []error
	if c.Data == "" {
		errs = append(errs, errors.New("data: required: the folder that stores are kept in"))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen %q: %w", c.Listen, err))
	}
	if d, err := time.ParseDuration(c.Quarantine); err != nil || d < 0 {
		errs = append(errs, fmt.Errorf("quarantine %q: want a duration such as 60s", c.Quarantine))
	}
	return errors.Join(append(errs, c.TLS.Validate())...)
}

// Run serves until ctx is done.
func Run(ctx context.Context, cfg Config, log *slog.Logger, health *proc.Health) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return err
	}
	intents, err := intent.OpenBolt(filepath.Join(cfg.Data, "intent.db"))
	if err != nil {
		return err
	}
	defer intents.Close()
	store, err := boltstore.Open(filepath.Join(cfg.Data, "leases.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	quarantine, err := time.ParseDuration(cfg.Quarantine)
	if err != nil {
		return err
	}
	registry, err := ipam.Open(ctx, store, ipam.Config{Quarantine: quarantine})
	if err != nil {
		return err
	}
	realized := intent.NewMemory()
	defer realized.Close()
	s := &server{
		log: log, intents: intents, realized: realized, plane: ccp.New(realized), registry: registry,
		allocator: &allocator{registry: registry, intents: intents, open: map[string]space{}},
	}
	return s.run(ctx, cfg, health)
}

type server struct {
	log       *slog.Logger
	intents   *intent.Bolt
	realized  *intent.Memory
	plane     *ccp.Plane
	registry  *ipam.Registry
	allocator *allocator
}

// run computes every span, then listens: an agent that asks early must not
// take an empty span for the truth.
func (s *server) run(ctx context.Context, cfg Config, health *proc.Health) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	computed := make(chan struct{})
	first := sync.OnceFunc(func() { close(computed) })
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		_ = intent.Mirror(ctx, s.intents, intent.Query{}, func(snap intent.Snapshot) {
			if err := s.plane.Update(ctx, snap.Objects()); err != nil {
				s.log.Error("spans", "err", err)
			}
			health.Set("objects", s.plane.Faults())
			first()
		})
	})
	select {
	case <-ctx.Done():
		return nil
	case <-computed:
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if cfg.TLS.Enabled() {
		if srv.TLSConfig, err = cfg.TLS.Server(); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	wg.Go(func() {
		var err error
		if srv.TLSConfig != nil {
			err = srv.ServeTLS(l, "", "")
		} else {
			err = srv.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			cancel(err)
		}
	})
	s.log.Info("serving", "address", l.Addr().String(), "tls", cfg.TLS.Enabled())
	<-ctx.Done()
	err = context.Cause(ctx)
	_ = srv.Close()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mount := func(prefix string, h http.Handler) { mux.Handle(prefix+"/", http.StripPrefix(prefix, h)) }
	exact := func(prefix string, h http.Handler) { mux.Handle(prefix, http.StripPrefix(prefix, h)) }
	intents := intent.NewHandler(s.intents, intent.Config{Validate: s.validate, Principal: principal, Log: s.log})
	mount("/api/v1/intent", intents)
	exact("/api/v1/intent", intents)
	readOnly := intent.Config{
		Log:       s.log,
		Principal: principal,
		Authorize: func(string, intent.Change) error { return errors.New("this state is derived: it cannot be written") },
	}
	realized := intent.NewHandler(s.realized, readOnly)
	mount("/api/v1/realized", realized)
	exact("/api/v1/realized", realized)
	span := func(w http.ResponseWriter, r *http.Request) {
		host := r.PathValue("host")
		http.StripPrefix("/api/v1/spans/"+host, intent.NewHandler(s.plane.Span(host), readOnly)).ServeHTTP(w, r)
	}
	mux.HandleFunc("/api/v1/spans/{host}", span)
	mux.HandleFunc("/api/v1/spans/{host}/", span)
	mux.HandleFunc("POST /api/v1/hosts/{host}/realized", handle(s.acknowledge))
	mux.HandleFunc("GET /api/v1/allocations", handle(s.listAllocations))
	mux.HandleFunc("POST /api/v1/allocations", handle(s.allocate))
	mux.HandleFunc("DELETE /api/v1/allocations", handle(s.release))
	mux.HandleFunc("GET /api/v1/records", handle(s.records))
	mux.HandleFunc("GET /api/v1/status", handle(s.status))
	return mux
}

// principal names the client by its certificate.
func principal(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "anonymous"
	}
	return r.TLS.PeerCertificates[0].Subject.CommonName
}

// handle answers with JSON, and with an [api.Error] for an error.
func handle(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<20)
		v, err := f(r)
		code := http.StatusOK
		if err != nil {
			e := &api.Error{Code: http.StatusInternalServerError, Message: err.Error()}
			errors.As(err, &e)
			code, v = e.Code, e
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
}

func body[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("more than one value")
		}
	}
	if !errors.Is(err, io.EOF) {
		return v, refuse(http.StatusBadRequest, api.ReasonInvalid, "request body: %v", err)
	}
	return v, nil
}

func (s *server) records(*http.Request) (any, error) {
	return slices.AppendSeq([]ipam.Record{}, s.registry.Records()), nil
}

func (s *server) acknowledge(r *http.Request) (any, error) {
	ack, err := body[api.Ack](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.plane.Acknowledge(r.Context(), r.PathValue("host"), ack)
}

func (s *server) listAllocations(r *http.Request) (any, error) {
	return s.allocator.list(r.URL.Query().Get("owner_prefix")), nil
}

func (s *server) allocate(r *http.Request) (any, error) {
	a, err := body[api.Allocation](r)
	if err != nil {
		return nil, err
	}
	return s.allocator.allocate(r.Context(), a)
}

func (s *server) release(r *http.Request) (any, error) {
	a, err := body[api.Allocation](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.allocator.release(r.Context(), a)
}

func (s *server) status(r *http.Request) (any, error) {
	st, err := s.intents.Status(r.Context())
	if err != nil {
		return nil, err
	}
	out := api.Status{Epoch: st.Epoch, Revision: st.Revision, Objects: st.Objects, Allocations: s.registry.Writes()}
	for range s.registry.Leases() {
		out.Leases++
	}
	return out, nil
}

// validate refuses objects that no reader could use, naming the fault.
func (s *server) validate(o intent.Object) error {
	switch o.ResourceType {
	case model.KindTier0:
		return decodes[model.Tier0](o)
	case model.KindTier1:
		return decodes[model.Tier1](o)
	case model.KindSegment:
		return decodes[model.Segment](o)
	case model.KindSegmentPort:
		return decodes[model.Port](o)
	case model.KindNATRule:
		return decodes[model.NATRule](o)
	case model.KindHost:
		return decodes[model.Host](o)
	case model.KindGroup:
		return decodes[policy.Group](o)
	case model.KindSection:
		return decodes[policy.Section](o)
	case model.KindVirtualServer:
		return decodes[model.VirtualServer](o)
	case model.KindHostAttachments:
		return decodes[model.HostAttachments](o)
	case model.KindClusterNode:
		return decodes[model.ClusterNode](o)
	case model.KindPool, model.KindBlock:
		return overlaps(context.Background(), s.intents, o)
	}
	return fmt.Errorf("resource_type %q: not a kind that the manager keeps", o.ResourceType)
}

func decodes[T any](o intent.Object) error {
	_, err := model.Decode[T](o)
	return err
}
