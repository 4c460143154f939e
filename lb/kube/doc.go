// Package kube reads Kubernetes services and EndpointSlices into the values of
// package lb, and derives EndpointSlices from selectors and pods where no
// endpoint controller runs.
//
//	svc, err := kube.ServiceFrom(service)           // one corev1.Service
//	endpoints, err := kube.EndpointsFrom(slices)    // all its EndpointSlices
//	err = table.SetService(svc)
//	err = table.SetEndpoints(svc.ID, endpoints)
//
//	slices, err := kube.SlicesFor(service, pods)    // standalone mode
//
// Headless and ExternalName services have no virtual address: ServiceFrom
// gives them a Service without any, so that they make no frontend.
//
// Concurrency: all functions are pure; they keep and change nothing they are given.
//
// Errors name the object and the field; all faults of an object are reported
// at once. What is not faulty is returned along with the error, so that one bad
// endpoint does not take a service away.
package kube
