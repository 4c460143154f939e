// Package cni is the meeting point of a CNI plugin executable and the agent
// that does its work: the request, the result and the error of one CNI
// command, and the protocol that carries them over a unix socket.
//
// The runtime starts the plugin executable once per command (CNI spec 1.1,
// section 2). That process knows nothing: it turns its environment and its
// standard input into a [Request], sends it with a [Client], and prints the
// [Result] or the [Error] it gets back (package cni/plugin). The agent holds
// the state; it gives a [Handler], one func per command, to a [Server]:
//
//	srv, err := cni.NewServer(cni.Handler{Add: agent.add, Del: agent.del}, cni.ServerConfig{})
//	lis, err := cni.Listen("/run/tierloom/cni.sock")
//	err = srv.Serve(ctx, lis)
//
// One connection carries one exchange: a line of JSON each way, of bounded
// size. A client that goes away, because the runtime gave up and killed it,
// cancels the context of its handler. Commands for the same attachment
// (container id and interface name) never run at once, so a DEL sent after an
// abandoned ADD sees what that ADD left. A socket made by [Listen] has mode
// 0600, and a server answers peers of the permitted user ids only.
//
// # Concurrency
//
// Server and Client are safe for concurrent use. Requests and results are
// plain values; a handler owns the request it is given.
//
// # Errors
//
// A handler chooses the code the runtime sees by returning, wrapped or not, an
// [*Error]; any other error becomes [CodeInternal], and an expired or
// cancelled context [CodeTryAgainLater]. [Client.Do] returns an *Error for
// what the agent said, and an error that wraps [ErrUnavailable] when there was
// no answer: the two are never mixed up, since a DEL may succeed after "gone"
// but must be retried after silence.
package cni
