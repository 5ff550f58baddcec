package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// walk has a request for each route, and what the engine has to be asked.
var walk = []struct {
	method, path, body string
	status             int
	call               string
}{
	{get, "/_ping", "", 200, ""},
	{head, "/_ping", "", 200, ""},
	{get, "/version", "", 200, "version[]"},
	{get, "/info", "", 200, "info[]"},
	{get, "/system/df", "", 200, "diskUsage[[container image volume build-cache]]"},
	{get, "/events?since=1&until=2&filters=%7B%22type%22%3A%5B%22image%22%5D%7D", "", 200,
		"events[1 2 map[type:[image]]]"},
	{get, "/containers/json?all=1&limit=3&size=true", "", 200, "list[{All:true Limit:3 Size:true Filters:map[]}]"},
	{post, "/containers/create?name=n&platform=linux/amd64",
		`{"Image":"i","Cmd":["a"],"HostConfig":{"NetworkMode":"none"}}`, 201, "create[n i [a] none  linux/amd64]"},
	{post, "/containers/prune?filters=%7B%22until%22%3A%5B%221h%22%5D%7D", "", 200, "prune[map[until:[1h]]]"},
	{get, "/containers/c/json?size=1", "", 200, "inspect[c true]"},
	{post, "/containers/c/start", "", 204, "start[c]"},
	{post, "/containers/c/stop?t=5&signal=INT", "", 204, "stop[c INT 5]"},
	{post, "/containers/c/restart?t=-1", "", 204, "restart[c  -1]"},
	{post, "/containers/c/kill?signal=9", "", 204, "kill[c 9]"},
	{post, "/containers/c/pause", "", 204, "pause[c]"},
	{post, "/containers/c/unpause", "", 204, "unpause[c]"},
	{post, "/containers/c/rename?name=d", "", 204, "rename[c d]"},
	{post, "/containers/c/resize?h=24&w=80", "", 200, "resize[c 24 80]"},
	{post, "/containers/c/wait?condition=removed", "", 200, "wait[c removed]"},
	{post, "/containers/c/attach?stream=1&stdout=1&detachKeys=a", "", 200, "attach[c false true false false true a]"},
	{get, "/containers/c/attach/ws?stdin=1&logs=1", "", 200, "attach[c true false false true false ]"},
	{get, "/containers/c/logs?stdout=1&tail=5&since=3.5&details=1", "", 200,
		"logs[c true false false false true 5 3 0]"},
	{get, "/containers/c/top?ps_args=aux", "", 200, "top[c aux]"},
	{get, "/containers/c/stats?stream=false", "", 200, "stats[c false]"},
	{head, "/containers/c/archive?path=a%2Fb%0A", "", 200, "stat path[c a/b\n]"},
	{get, "/containers/c/archive?path=/.", "", 200, "pack[c /.]"},
	{put, "/containers/c/archive?path=/a&copyUIDGID=1&noOverwriteDirNonDir=0", "", 200, "unpack[c /a true false]"},
	{del, "/containers/c?force=1&v=1", "", 204, "remove[c {Force:true Volumes:true}]"},
	{post, "/containers/c/update", `{"Memory":5}`, 200, "update[c 5]"},
	{get, "/containers/c/changes", "", 200, "changes[c]"},
	{get, "/containers/c/export", "", 200, "export[c]"},
	{post, "/commit?container=c", `{}`, 201, "commit[c    [] true ]"},
	{post, "/commit?container=c&repo=r&tag=t&author=a&comment=m&pause=0&changes=CMD+a&changes=CMD+b", `{"User":"u"}`, 201,
		"commit[c r:t a m [CMD a CMD b] false u]"},
	{post, "/containers/c/exec", `{"Cmd":["ls"]}`, 201, "execCreate[c [ls]]"},
	{post, "/exec/e/start", `{"Detach":true,"ConsoleSize":[1,2]}`, 200, "execStart[e true true]"},
	{post, "/exec/e/resize?h=1&w=2", "", 200, "execResize[e 1 2]"},
	{get, "/exec/e/json", "", 200, "execInspect[e]"},
	{get, "/images/json?all=1", "", 200, "images[true false map[]]"},
	{post, "/images/create?fromImage=busybox&tag=1", "", 200, "pull[busybox:1  ]"},
	{post, "/images/create?fromSrc=-&repo=r&tag=t&message=m&changes=CMD+a&changes=CMD+b", "", 200,
		"import[ r:t m [CMD a CMD b]]"},
	{post, "/images/load?quiet=1", "", 200, "load[ true]"},
	{post, "/images/prune?filters=%7B%22label%21%22%3A%7B%22a%22%3Atrue%7D%7D", "", 200, "imagePrune[map[label!:[a]]]"},
	{get, "/images/get?names=a&names=b", "", 200, "save[[a b]]"},
	{get, "/images/localhost:5000/a/b:1/get", "", 200, "save[[localhost:5000/a/b:1]]"},
	{get, "/images/localhost:5000/a/json/json", "", 200, "imageInspect[localhost:5000/a/json]"},
	{get, "/images/a/b/history", "", 200, "history[a/b]"},
	{post, "/images/a/b/tag?repo=host/c&tag=2", "", 201, "tag[a/b host/c:2]"},
	{del, "/images/json", "", 200, "imageRemove[json false false]"},
	{get, "/engine-lite/journal/check", "", 200, "check[]"},
	{get, "/engine-lite/journal/dump", "", 200, "dump[false 0 true]"},
	{get, "/engine-lite/journal/dump?cursor=3&limit=5&records=0", "", 200, "dump[true 5 false]"},
	{get, "/engine-lite/journal/dump?cursor=x", "", 400, ""},
	{get, "/engine-lite/journal/dump?limit=-1", "", 400, ""},
	{get, "/networks", "", 200, "networks[map[]]"},
	{get, "/networks/none", "", 200, "network[none]"},
	{post, "/containers/c/start?checkpoint=x&checkpoint-dir=/d", "", 204, "restore[c /d x]"},
	{get, "/containers/c/checkpoints?dir=/d", "", 200, "checkpoints[c /d]"},
	{post, "/containers/c/checkpoints", `{"CheckpointID":"x","CheckpointDir":"/d","Exit":true}`, 201, "checkpointCreate[c x /d true]"},
	{del, "/containers/c/checkpoints/x?dir=/d", "", 204, "checkpointDelete[c /d x]"},
	{get, "/volumes", "", 200, "volumes[map[]]"},
	{get, "/volumes/v", "", 200, "volume[v]"},
	{del, "/volumes/v", "", 204, "volumeRemove[v false]"},
	{del, "/volumes/v?force=1", "", 204, "volumeRemove[v true]"},
	{post, "/volumes/create", `{"Name":"v","Driver":"d","DriverOpts":{"o":"x"},"Labels":{"a":"b"}}`, 201,
		"volumeCreate[v d map[o:x] map[a:b]]"},
	{post, `/volumes/prune?filters={"all":["true"]}`, "", 200, "volumesPrune[map[all:[true]]]"},
}

func allRoutes() []route {
	return (&Handler{}).routes(&fake{}, 0)
}

// TestRoutes walks the table, with and without a version.
func TestRoutes(t *testing.T) {
	table := newTable(allRoutes())
	walked := map[string]bool{}
	for _, prefix := range []string{"", "/v1.24", "/v1.41", "/v" + MaxVersion} {
		for _, c := range walk {
			t.Run(prefix+" "+c.method+" "+c.path, func(t *testing.T) {
				d := newDaemonWith(t, &fake{}, Options{Experimental: true})
				a := d.do(c.method, prefix+c.path, c.body)
				if a.status != c.status {
					t.Errorf("status %d, want %d: %s", a.status, c.status, a.body)
				}
				if got := strings.Join(d.engine.noted(), "; "); got != c.call {
					t.Errorf("the engine was asked %q, want %q", got, c.call)
				}
				if v := a.header.Get("Api-Version"); v != MaxVersion {
					t.Errorf("Api-Version %q", v)
				}
			})
		}
	}
	for _, c := range walk {
		path, _, _ := strings.Cut(c.path, "?")
		for _, e := range table[segments(path)[0]] {
			if _, ok := e.pattern.match(segments(path)); ok && e.method == c.method {
				walked[e.method+" "+e.path] = true
				break
			}
		}
	}
	for _, r := range allRoutes() {
		if !walked[r.method+" "+r.path] {
			t.Errorf("no test walks %s %s", r.method, r.path)
		}
	}
}

// TestRoutesFail walks the table with an engine that fails.
func TestRoutesFail(t *testing.T) {
	d := newDaemonWith(t, &fake{calls: calls{err: fmt.Errorf("no such thing: %w", errdefs.ErrNotFound)}}, Options{Experimental: true})
	for _, c := range walk {
		if c.call == "" || strings.HasPrefix(c.call, "events") {
			continue
		}
		a := d.do(c.method, c.path, c.body)
		if strings.HasPrefix(c.path, "/images/load") { // the error is in the stream
			if a.status != 200 || !strings.Contains(a.body, `"error":"no such thing`) {
				t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
			}
			continue
		}
		if a.status != 404 || c.method != head && !strings.Contains(a.body, `{"message":"no such thing`) {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
}

// TestVersionedParameters has parameters that came with a version: earlier ones pass over them.
func TestVersionedParameters(t *testing.T) {
	all := "[container image volume build-cache]"
	for path, call := range map[string]string{
		"/v1.41/system/df?type=image":                        "diskUsage[" + all + "]",
		"/v1.42/system/df?type=image&type=build-cache":       "diskUsage[[image build-cache]]",
		"/system/df?type=volume&verbose=1":                   "diskUsage[[volume]]",
		"/v1.41/images/json?shared-size=1":                   "images[false false map[]]",
		"/v1.42/images/json?shared-size=1":                   "images[false true map[]]",
		"/v" + MaxVersion + "/images/json?shared-size=false": "images[false false map[]]",
	} {
		d := newDaemon(t, &fake{})
		d.do(get, path, "")
		if got := strings.Join(d.engine.noted(), "; "); got != call {
			t.Errorf("%s: the engine was asked %q, not %q", path, got, call)
		}
	}
}

func TestRefusals(t *testing.T) {
	d := newDaemon(t, &fake{})
	for _, r := range refusals {
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{name...}", "a/b", "*", "x").Replace(r.path)
		a := d.do(r.method, path, "")
		if a.status != http.StatusNotImplemented {
			t.Errorf("%s %s: status %d", r.method, path, a.status)
		}
		if r.method != head && !strings.Contains(a.body, r.what+": not supported") {
			t.Errorf("%s %s: %s", r.method, path, a.body)
		}
	}
	if calls := d.engine.noted(); calls != nil {
		t.Errorf("the engine was asked: %v", calls)
	}
}

func TestUnknown(t *testing.T) {
	d := newDaemon(t, &fake{})
	for _, c := range []struct {
		method, path string
		status       int
		message      string
		allow        string
	}{
		{get, "/", 404, "page not found", ""},
		{get, "/v1.41", 404, "page not found", ""},
		{get, "/nothing", 404, "page not found", ""},
		{get, "/containers", 404, "page not found", ""},
		{get, "/containers/a/b/json", 404, "page not found", ""},
		{get, "/images//json", 200, "", ""},
		{post, "/containers/json", 405, "method not allowed", "GET, DELETE"},
		{get, "/containers/c/start", 405, "method not allowed", "POST"},
		{put, "/_ping", 405, "method not allowed", "GET, HEAD"},
		{get, "/v1.23/info", 400, "client version 1.23 is too old. Minimum supported API version is 1.24", ""},
		{get, "/v1.99/info", 400, "client version 1.99 is too new. Maximum supported API version is " + MaxVersion, ""},
		{get, "/v2/info", 400, "client version 2.0 is too new", ""},
		{get, "/v1.4.1/info", 400, "is not an API version", ""},
		{get, "/v99999999999999999999/info", 400, "is not an API version", ""},
		{get, "/containers/json?a=%zz", 400, "the query is malformed", ""},
		{get, "/containers//c/json", 200, "", ""},
	} {
		a := d.do(c.method, c.path, "")
		if a.status != c.status || !strings.Contains(a.body, c.message) || a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %q allow %q", c.method, c.path, a.status, a.body, a.header.Get("Allow"))
		}
	}
}

func TestBadRequests(t *testing.T) {
	d := newDaemon(t, &fake{})
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{post, "/containers/create", "", 400, "invalid JSON: EOF"},
		{post, "/containers/create", "{", 400, "unexpected EOF"},
		{post, "/containers/create", "{}", 400, "config cannot be empty"},
		{post, "/containers/create", "null", 400, "config cannot be empty"},
		{post, "/containers/create", " ", 400, "invalid JSON: EOF"},
		{post, "/containers/create", `{"Image":"a"} x`, 400, "unexpected content after JSON"},
		{post, "/containers/create", `{"Image":1}`, 400, "field Image can't be a number"},
		{post, "/containers/create", `{"Image":"` + strings.Repeat("x", maxBody) + `"}`, 400, "larger than"},
		{post, "/v1.41/containers/create", `{"Image":"a","MacAddress":"zz"}`, 400, "no MAC address"},
		{get, "/containers/c/checkpoints", "", 501, "experimental feature is disabled"},
		{del, "/containers/c/checkpoints/x", "", 501, "experimental feature is disabled"},
		{post, "/containers/c/stop?t=soon", "", 400, "invalid syntax"},
		{post, "/containers/c/resize?h=1", "", 400, "invalid resize width"},
		{post, "/containers/c/wait?condition=never", "", 400, "invalid condition"},
		{get, "/containers/c/logs", "", 400, "must specify at least one of"},
		{get, "/containers/c/logs?stdout=1&since=x", "", 400, `invalid value for \"since\"`},
		{get, "/containers/c/stats?one-shot=1", "", 400, "one-shot"},
		{get, "/containers/json?limit=x", "", 400, "invalid syntax"},
		{get, "/containers/json?filters=x", "", 400, "invalid filter"},
		{get, "/containers/json?filters=%7B%22a%22%3A1%7D", "", 400, "invalid filter"},
		{del, "/containers/c?link=1", "", 501, "parameter link"},
		{get, "/events?since=2&until=1", "", 400, "cannot be after"},
		{post, "/images/create", "", 400, "fromImage or fromSrc"},
		{post, "/images/create?fromImage=UPPER", "", 400, "invalid reference format"},
		{post, "/images/create?fromImage=busybox", "", 501, "all tags"},
		{post, "/images/create?fromSrc=http://127.0.0.1/", "", 501, "URL"},
		{post, "/images/a/tag", "", 400, "parameter repo"},
		{get, "/images/get", "", 400, "parameter names"},
		{get, "/images/a/json?platform=%7B%7D", "", 501, "parameter platform"},
		{get, "/images/json?identity=1", "", 400, "identity requires manifests=1"},
		{get, "/system/df?type=image&type=x", "", 400, "unknown object type: x"},
		{post, "/containers/prune?filters=x", "", 400, "invalid filter"},
		{post, "/images/prune?filters=x", "", 400, "invalid filter"},
		{get, "/containers/c/logs?stdout=1&format=json", "", 501, "logs in the format json"},
		{get, "/containers/c/logs?stdout=1&format=x", "", 400, "unsupported log format"},
	} {
		a := d.do(c.method, c.path, c.body)
		if a.status != c.status || !strings.Contains(a.body, c.message) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, a.status, a.body, c.status, c.message)
		}
	}
	if calls := d.engine.noted(); slices.ContainsFunc(calls, func(s string) bool { return s != "" }) {
		t.Errorf("the engine was asked: %v", calls)
	}
}
