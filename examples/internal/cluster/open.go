package cluster

import "log/slog"

// Options say where a process takes its objects from.
type Options struct {
	// Manifests and Status are the folders of standalone mode.
	Manifests, Status string
	Writer            bool
	// Kubeconfig says where the API server is, outside standalone mode.
	Kubeconfig string
	// Node is the node whose agent asks; empty is NCP, which sees everything.
	Node string
	Log  *slog.Logger
}

// A SourceReporter is both ends of a cluster.
type SourceReporter interface {
	Source
	Reporter
}

// Open returns the source that the options name.
func Open(o Options) (SourceReporter, error) {
	if o.Kubeconfig != "" {
		return OpenKube(o.Kubeconfig, o.Node, o.Log)
	}
	return NewFolder(FolderConfig{Manifests: o.Manifests, Status: o.Status, Writer: o.Writer, Log: o.Log}), nil
}
