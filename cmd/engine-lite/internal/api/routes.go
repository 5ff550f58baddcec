package api

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// handler answers one request. An error that it returns becomes the answer
// where none has begun.
type handler func(w *response, r *request) error

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

// routes are those of all families; each family gets its part of the engine.
func (h *Handler) routes(e Engine, heartbeat time.Duration) []route {
	sessions := &sessions{streaming: h.streaming, hangups: h.hangups, log: h.log}
	return slices.Concat(
		systemHandlers{e}.routes(),
		eventHandlers{e, h.streaming, heartbeat}.routes(),
		journalHandlers{e, h.streaming}.routes(),
		containerHandlers{e, h.streaming, sessions}.routes(),
		execHandlers{e, sessions}.routes(),
		imageHandlers{e, h.streaming}.routes(),
		networkHandlers{e}.routes(),
		volumeHandlers{e}.routes(),
		checkpointHandlers{e, h.experimental}.routes(),
	)
}

// refusal is a part of Docker's API that engine-lite doesn't have.
type refusal struct {
	method, path, what string
}

// refusals are the routes of Docker's API that engine-lite doesn't have.
var refusals = []refusal{
	{post, "/auth", "registry login"},
	{post, "/session", "build sessions"},
	{post, "/grpc", "BuildKit"},
	{post, "/build", "building images"},
	{post, "/build/prune", "building images"},
	{post, "/build/cancel", "building images"},

	{post, "/containers/{id}/copy", "copying from and to containers"},

	{get, "/images/search", "searching a registry"},
	{post, "/images/{name...}/push", "pushing an image"},
	{get, "/images/{name...}/attestations", "image attestations"},
	{get, "/distribution/{name...}/json", "asking a registry about an image"},

	{put, "/volumes/{name}", "cluster volumes"},

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

// table holds the entries by their first segment. Of the entries that match a path,
// the first one is meant.
type table map[string][]entry

func newTable(routes []route) table {
	t := table{}
	for _, r := range routes {
		t.add(r)
	}
	for _, r := range refusals {
		refuse := func(*response, *request) error { return notSupported(r.what) }
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

// find returns the handler for a request, and the part of the path that the wildcard
// stands for. The error is errPageNotFound where no route has the path. It is errMethod
// where routes have the path, with other methods; allow lists those methods.
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

// pattern is a path with at most one wildcard, at any place. "{id}" stands for one
// segment, "{name...}" for one or more (image names have slashes). A "*" behind the
// wildcard is any one segment.
type pattern struct {
	before, after []string
	wild, multi   bool
}

// newPattern reads "/images/{name...}/json".
func newPattern(s string) pattern {
	var p pattern
	for _, seg := range segments(s) {
		switch {
		case strings.HasPrefix(seg, "{"):
			p.wild, p.multi = true, strings.HasSuffix(seg, "...}")
		case p.wild:
			p.after = append(p.after, seg)
		default:
			p.before = append(p.before, seg)
		}
	}
	return p
}

// segments splits a path and leaves out empty segments: a container that is named
// with its slash ("/containers//name/json") is found without a redirect.
func segments(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// match reports whether the path fits, and returns the part of it that the wildcard
// stands for.
func (p pattern) match(segs []string) (name string, ok bool) {
	covered := len(segs) - len(p.before) - len(p.after) // by the wildcard
	if covered < 0 || !p.wild && covered != 0 || p.wild && (covered == 0 || covered > 1 && !p.multi) {
		return "", false
	}
	middle := len(p.before) + covered
	if !fits(p.before, segs[:len(p.before)]) || !fits(p.after, segs[middle:]) {
		return "", false
	}
	return strings.Join(segs[len(p.before):middle], "/"), true
}

// rank orders the patterns that match one path: the one with the highest rank is
// meant.
func (p pattern) rank() int {
	rank := 2 * (len(p.before) + len(p.after))
	if !p.wild {
		rank++
	}
	return rank
}

func fits(a, b []string) bool {
	for i := range a {
		if a[i] != b[i] && a[i] != "*" {
			return false
		}
	}
	return true
}
