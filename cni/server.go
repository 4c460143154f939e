package cni

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Func does one command. It must be idempotent, and return when ctx ends: the
// plugin that asked is gone then, and nobody reads the answer. Returning an
// *Error chooses the code the runtime sees. A nil result is an empty one.
type Func func(ctx context.Context, req *Request) (*Result, error)

// Handler holds what an agent does for each command. Add and Del are needed;
// a command whose func is nil is answered with CodeUnsupportedCommand.
//
// Add returns the result the runtime is told. Del returns nil for an
// attachment it does not know. Status returns an *Error with CodeNotAvailable
// or CodeLimitedConnectivity while no ADD could succeed. GC removes every
// attachment of the network that is not in Request.ValidAttachments.
type Handler struct {
	Add, Del, Check, Status, GC Func
}

func (h Handler) of(c Command) Func {
	switch c {
	case Add:
		return h.Add
	case Del:
		return h.Del
	case Check:
		return h.Check
	case Status:
		return h.Status
	case GC:
		return h.GC
	}
	return nil
}

// ServerConfig holds the options of a Server. The zero value is good.
type ServerConfig struct {
	// UIDs are the user ids that may connect; nil means root only.
	UIDs []uint32
	// MaxMessage bounds a message in bytes; 0 means 4 MiB.
	MaxMessage int
	// MaxRequests bounds the connections served at once; more wait to be
	// accepted. 0 means 64.
	MaxRequests int
	// ReadTimeout bounds the time from connection to complete request, and
	// that of writing the reply; 0 means 10 s.
	ReadTimeout time.Duration
	// RequestTimeout bounds a handler; 0 means 3 minutes.
	RequestTimeout time.Duration
	// Log gets a line for each request; nil is silent.
	Log *slog.Logger
}

// Server answers plugin executables. It must be made by NewServer.
type Server struct {
	handler Handler
	cfg     ServerConfig
	locks   keyedLock
}

// NewServer returns a server that serves nothing yet.
func NewServer(h Handler, cfg ServerConfig) (*Server, error) {
	if h.Add == nil || h.Del == nil {
		return nil, errors.New("cni: handler needs Add and Del")
	}
	if cfg.MaxMessage < 0 || cfg.MaxRequests < 0 || cfg.ReadTimeout < 0 || cfg.RequestTimeout < 0 {
		return nil, errors.New("cni: server config has a negative bound")
	}
	if cfg.UIDs == nil {
		cfg.UIDs = []uint32{0}
	}
	cfg.MaxMessage = orDefault(cfg.MaxMessage, defaultMaxMessage)
	cfg.MaxRequests = orDefault(cfg.MaxRequests, 64)
	cfg.ReadTimeout = orDefault(cfg.ReadTimeout, 10*time.Second)
	cfg.RequestTimeout = orDefault(cfg.RequestTimeout, 3*time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{handler: h, cfg: cfg}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Serve accepts connections until ctx ends, then closes lis, cancels the
// handlers that run and waits for them. It returns nil after ctx ended and
// the error of Accept otherwise.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	// Closed by whichever comes first; when Serve returns it is done.
	defer context.AfterFunc(ctx, func() { _ = lis.Close() })()
	defer func() { _ = lis.Close() }()
	slots := make(chan struct{}, s.cfg.MaxRequests)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := lis.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cni: accept: %w", err)
		}
		conns.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			s.serve(ctx, conn)
		})
	}
}

// serve does the one exchange of a connection.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	// An ended context must also unblock the reads below.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	if err := s.permit(conn); err != nil {
		s.cfg.Log.Warn("cni peer refused", "err", err)
		s.answer(conn, nil, err)
		return
	}
	r := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(s.cfg.ReadTimeout))
	line, err := readLine(r, s.cfg.MaxMessage)
	if err != nil {
		s.answer(conn, nil, &Error{Code: CodeIOFailure, Msg: "cannot read request", Details: err.Error()})
		return
	}
	req, err := decodeCall(line)
	if err != nil {
		if errors.Is(err, ErrProtocol) {
			err = &Error{Code: CodeDecodingFailure, Msg: "cannot decode request", Details: err.Error()}
		}
		s.answer(conn, nil, err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if ctx.Err() != nil { // the deadline of AfterFunc may just have been undone
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
	// The peer sends nothing more: a read that ends means that it is gone.
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = r.ReadByte()
		cancel()
	}()

	began := time.Now()
	res, err := s.run(ctx, req)
	s.cfg.Log.Info("cni request", "command", req.Command, "container", req.ContainerID, "ifname", req.IfName,
		"namespace", req.Pod.Namespace, "pod", req.Pod.Name, "took", time.Since(began), "err", err)
	s.answer(conn, res, err)
	_ = conn.Close()
	<-gone
}

// run calls the handler, one at a time for each attachment.
func (s *Server) run(ctx context.Context, req *Request) (*Result, error) {
	f := s.handler.of(req.Command)
	if f == nil {
		return nil, Errorf(CodeUnsupportedCommand, "agent does not support %s", req.Command)
	}
	if a := req.Attachment(); a != (Attachment{}) {
		unlock, err := s.locks.lock(ctx, a)
		if err != nil {
			return nil, fmt.Errorf("wait for an earlier command on %s/%s: %w", a.ContainerID, a.IfName, err)
		}
		defer unlock()
	}
	res, err := f(ctx, req)
	if err != nil {
		return nil, err
	}
	if res != nil {
		if err := res.Validate(); err != nil {
			return nil, fmt.Errorf("agent made an invalid result: %w", err)
		}
	}
	return res, nil
}

// answer writes the reply; a peer that left is no fault.
func (s *Server) answer(conn net.Conn, res *Result, err error) {
	_ = conn.SetWriteDeadline(time.Now().Add(s.cfg.ReadTimeout))
	if err := writeLine(conn, reply{Protocol: protocolVersion, Result: res, Error: AsError(err)}, s.cfg.MaxMessage); err != nil {
		s.cfg.Log.Debug("cni reply not delivered", "err", err)
	}
}

// permit checks the user id of the peer.
func (s *Server) permit(conn net.Conn) error {
	uid, err := peerUID(conn)
	if err != nil {
		return &Error{Code: CodeNotPermitted, Msg: "peer's credentials unknown", Details: err.Error()}
	}
	if !slices.Contains(s.cfg.UIDs, uid) {
		return Errorf(CodeNotPermitted, "user id %d may not use this socket", uid)
	}
	return nil
}

// keyedLock is a set of mutexes, one for each attachment in use. The zero
// value is ready.
type keyedLock struct {
	mu sync.Mutex // protects m
	m  map[Attachment]*lockEntry
}

type lockEntry struct {
	token   chan struct{} // holds one token while locked
	holders int           // holder and waiters
}

// lock waits for the attachment's mutex or the end of ctx.
func (k *keyedLock) lock(ctx context.Context, a Attachment) (unlock func(), err error) {
	k.mu.Lock()
	if k.m == nil {
		k.m = make(map[Attachment]*lockEntry)
	}
	e := k.m[a]
	if e == nil {
		e = &lockEntry{token: make(chan struct{}, 1)}
		k.m[a] = e
	}
	e.holders++
	k.mu.Unlock()
	drop := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if e.holders--; e.holders == 0 {
			delete(k.m, a)
		}
	}
	select {
	case e.token <- struct{}{}:
		return func() { <-e.token; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, ctx.Err()
	}
}
