package api

import (
	"net/http"
	"slices"
)

// handler answers one request. An error that it returns becomes the answer
// where none has begun.
type handler func(h *Handler, w *response, r *request) error

const (
	get  = http.MethodGet
	head = http.MethodHead
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

// route is one line of the table.
type route struct {
	method, path string
	handle       handler
}

// routes are what is served.
var routes = []route{
	{get, "/_ping", (*Handler).ping},
	{head, "/_ping", (*Handler).ping},
	{get, "/version", (*Handler).version},
	{get, "/info", (*Handler).info},
	{get, "/events", (*Handler).events},
	{get, "/engine-lite/journal/check", (*Handler).journalCheck},
	{get, "/engine-lite/journal/dump", (*Handler).journalDump},

	{get, "/containers/json", (*Handler).containerList},
	{post, "/containers/create", (*Handler).containerCreate},
	{get, "/containers/{id}/json", (*Handler).containerInspect},
	{post, "/containers/{id}/start", (*Handler).containerStart},
	{post, "/containers/{id}/stop", (*Handler).containerStop},
	{post, "/containers/{id}/restart", (*Handler).containerRestart},
	{post, "/containers/{id}/kill", (*Handler).containerKill},
	{post, "/containers/{id}/pause", (*Handler).containerPause},
	{post, "/containers/{id}/unpause", (*Handler).containerUnpause},
	{post, "/containers/{id}/rename", (*Handler).containerRename},
	{post, "/containers/{id}/resize", (*Handler).containerResize},
	{post, "/containers/{id}/wait", (*Handler).containerWait},
	{post, "/containers/{id}/attach", (*Handler).containerAttach},
	{get, "/containers/{id}/logs", (*Handler).containerLogs},
	{get, "/containers/{id}/top", (*Handler).containerTop},
	{get, "/containers/{id}/stats", (*Handler).containerStats},
	{del, "/containers/{id}", (*Handler).containerRemove},

	{post, "/containers/{id}/exec", (*Handler).execCreate},
	{post, "/exec/{id}/start", (*Handler).execStart},
	{post, "/exec/{id}/resize", (*Handler).execResize},
	{get, "/exec/{id}/json", (*Handler).execInspect},

	{get, "/images/json", (*Handler).imageList},
	{post, "/images/create", (*Handler).imageCreate},
	{post, "/images/load", (*Handler).imageLoad},
	{get, "/images/get", (*Handler).imageSave},
	{get, "/images/{name...}/get", (*Handler).imageSave},
	{get, "/images/{name...}/json", (*Handler).imageInspect},
	{get, "/images/{name...}/history", (*Handler).imageHistory},
	{post, "/images/{name...}/tag", (*Handler).imageTag},
	{del, "/images/{name...}", (*Handler).imageRemove},

	{get, "/networks", (*Handler).networkList},
	{get, "/networks/{id}", (*Handler).networkInspect},

	{get, "/volumes", (*Handler).volumeList},
	{get, "/volumes/{name}", (*Handler).volumeMissing},
	{del, "/volumes/{name}", (*Handler).volumeMissing},
}

// refusal is a part of Docker's API that isn't there.
type refusal struct {
	method, path, what string
}

// refusals are what Docker's API has beside [routes].
var refusals = []refusal{
	{post, "/auth", "registry login"},
	{get, "/system/df", "disk usage"},
	{post, "/session", "build sessions"},
	{post, "/grpc", "BuildKit"},
	{post, "/build", "building images"},
	{post, "/build/prune", "building images"},
	{post, "/build/cancel", "building images"},
	{post, "/commit", "committing a container to an image"},

	{get, "/containers/{id}/changes", "the changes in a container's filesystem"},
	{get, "/containers/{id}/export", "exporting a container"},
	{post, "/containers/{id}/update", "updating a container"},
	{get, "/containers/{id}/attach/ws", "attaching over a web socket"},
	{head, "/containers/{id}/archive", "copying from and to containers"},
	{get, "/containers/{id}/archive", "copying from and to containers"},
	{put, "/containers/{id}/archive", "copying from and to containers"},
	{post, "/containers/{id}/copy", "copying from and to containers"},
	{post, "/containers/prune", "pruning containers"},
	{get, "/containers/{id}/checkpoints", "checkpoints"},
	{post, "/containers/{id}/checkpoints", "checkpoints"},
	{del, "/containers/{id}/checkpoints/*", "checkpoints"},

	{get, "/images/search", "searching a registry"},
	{post, "/images/prune", "pruning images"},
	{post, "/images/{name...}/push", "pushing an image"},
	{get, "/images/{name...}/attestations", "image attestations"},
	{get, "/distribution/{name...}/json", "asking a registry about an image"},

	{post, "/volumes/create", "volumes"},
	{post, "/volumes/prune", "volumes"},
	{put, "/volumes/{name}", "volumes"},

	{post, "/networks/create", "creating networks"},
	{post, "/networks/prune", "pruning networks"},
	{post, "/networks/{id}/connect", "connecting a container to a network"},
	{post, "/networks/{id}/disconnect", "disconnecting a container from a network"},
	{del, "/networks/{id}", "removing networks"},

	{get, "/plugins", "plugins"},
	{get, "/plugins/privileges", "plugins"},
	{post, "/plugins/pull", "plugins"},
	{post, "/plugins/create", "plugins"},
	{get, "/plugins/{name...}/json", "plugins"},
	{del, "/plugins/{name...}", "plugins"},
	{post, "/plugins/{name...}/enable", "plugins"},
	{post, "/plugins/{name...}/disable", "plugins"},
	{post, "/plugins/{name...}/upgrade", "plugins"},
	{post, "/plugins/{name...}/push", "plugins"},
	{post, "/plugins/{name...}/set", "plugins"},

	{get, "/swarm", "swarm mode"},
	{post, "/swarm/init", "swarm mode"},
	{post, "/swarm/join", "swarm mode"},
	{post, "/swarm/leave", "swarm mode"},
	{post, "/swarm/update", "swarm mode"},
	{get, "/swarm/unlockkey", "swarm mode"},
	{post, "/swarm/unlock", "swarm mode"},
	{get, "/nodes", "swarm nodes"},
	{get, "/nodes/{id}", "swarm nodes"},
	{del, "/nodes/{id}", "swarm nodes"},
	{post, "/nodes/{id}/update", "swarm nodes"},
	{get, "/services", "swarm services"},
	{post, "/services/create", "swarm services"},
	{get, "/services/{id}", "swarm services"},
	{del, "/services/{id}", "swarm services"},
	{post, "/services/{id}/update", "swarm services"},
	{get, "/services/{id}/logs", "swarm services"},
	{get, "/tasks", "swarm tasks"},
	{get, "/tasks/{id}", "swarm tasks"},
	{get, "/tasks/{id}/logs", "swarm tasks"},
	{get, "/secrets", "swarm secrets"},
	{post, "/secrets/create", "swarm secrets"},
	{get, "/secrets/{id}", "swarm secrets"},
	{del, "/secrets/{id}", "swarm secrets"},
	{post, "/secrets/{id}/update", "swarm secrets"},
	{get, "/configs", "swarm configs"},
	{post, "/configs/create", "swarm configs"},
	{get, "/configs/{id}", "swarm configs"},
	{del, "/configs/{id}", "swarm configs"},
	{post, "/configs/{id}/update", "swarm configs"},
}

// entry is a route that is ready to be matched.
type entry struct {
	route
	pattern pattern
}

// table holds the entries by their first segment, the ones that are meant first
// in front.
type table map[string][]entry

func newTable() table {
	t := table{}
	for _, r := range routes {
		t.add(r)
	}
	for _, r := range refusals {
		refuse := func(*Handler, *response, *request) error { return notSupported(r.what) }
		t.add(route{r.method, r.path, refuse})
	}
	for _, entries := range t {
		slices.SortStableFunc(entries, func(a, b entry) int { return b.pattern.rank() - a.pattern.rank() })
	}
	return t
}

func (t table) add(r route) {
	first := segments(r.path)[0]
	t[first] = append(t[first], entry{r, newPattern(r.path)})
}

// find returns the handler for a request and what its wildcard stands for. It
// fails where no route has the path, and where none that has it has the method;
// then allow tells the methods.
func (t table) find(method string, segs []string) (handle handler, name string, allow []string, err error) {
	if len(segs) == 0 {
		return nil, "", nil, errPageNotFound
	}
	for _, e := range t[segs[0]] {
		name, ok := e.pattern.match(segs)
		if ok && e.method == method {
			return e.handle, name, nil, nil
		}
		if ok {
			allow = append(allow, e.method)
		}
	}
	if allow == nil {
		return nil, "", nil, errPageNotFound
	}
	return nil, "", allow, errMethod
}
