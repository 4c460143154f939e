// Package cluster is where NCP and the node agent take Kubernetes objects
// from: a Kubernetes API server ([Kube]) or, in standalone mode, a folder of
// manifests ([Folder]). Both fill a [Cache] and report each change by [Ref];
// both take annotations, events and load balancer addresses back.
//
// In standalone mode the folder is read only. What an API server would keep
// beside the objects (UIDs, annotations, events, service status) lies in a
// second folder, one JSON file an object, which the processes of the nodes
// read as they would watch the API server.
//
// A manifest at fault is reported with its file, line and field, and its last
// good version stays in force, over a restart too; every other document is
// applied.
package cluster
