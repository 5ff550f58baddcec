// Package api is the Docker Engine REST API in front of an [Engine]: a route
// table, and handlers that decode a request, make one call and encode the
// answer. What a request means is the engine's business; how it looks on the
// wire, in the version that the client speaks, is this package's.
//
// Every path is served with and without a version ("/v1.41/info" and "/info").
// Without one, the newest version applies. What Docker's API has and this
// engine doesn't is in the route table too, and is refused with status 501 and
// its name.
//
//	client ──> Handler.ServeHTTP ──> version, route ──> handler ──> Engine
//	              │                                       │
//	              └─ error class -> status, {"message"}   └─ plain JSON,
//	                                                         stream (batched flushes)
//	                                                         or connection (hijacked)
package api

// Engine is what the handlers ask for, one interface for each family of requests.
// A container or image is named by its name, its id or the beginning of its id.
// Errors carry the classes of github.com/containerd/errdefs.
type Engine interface {
	Containers
	Execs
	Images
	Networks
	Volumes
	Checkpoints
	System
	Events
	Journal
}
