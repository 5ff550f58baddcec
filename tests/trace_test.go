package tests

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/engine-lite/engine-lite/internal/span/otlpfile"
)

// TestTrace traces one start: what engine and runtimed did for it, during the
// request and after it, is one tree below the caller's span.
func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans")
	r := startRig(t, &rig{args: []string{"--trace", path}})
	var made struct{ ID string }
	r.do(t, http.MethodPost, "/containers/create", map[string]any{
		"Image": "busybox", "Cmd": []string{"true"}, "HostConfig": map[string]any{"NetworkMode": "none"},
	}, &made)
	const trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://engine/containers/"+made.ID+"/start", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("traceparent", "00-"+trace+"-"+caller+"-01")
	answer, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()

	want := map[string]string{ // the service of each step
		"POST /containers/" + made.ID + "/start": "engine-lite",
		"spec":                                   "engine-lite", "streams": "engine-lite", "journal": "engine-lite",
		"start":           "engine-lite",
		"runtimed Create": "runtimed", "bundle": "runtimed", "OCI runtime create": "runtimed", "release": "runtimed",
		"exit": "engine-lite", "clean-up": "engine-lite", "OCI runtime delete": "runtimed", // after the request
	}
	var spans map[string]otlpfile.Span
	await(t, "all steps are in the trace, and what each is below", func() bool {
		var by map[string]string
		spans, by = readTrace(t, path, trace)
		for name, service := range want {
			if by[name] != service {
				return false
			}
		}
		for _, s := range spans {
			if _, ok := spans[s.Parent]; !ok && s.Parent != caller {
				return false
			}
		}
		return true
	})
	for _, s := range spans {
		if s.Status != (otlpfile.Status{}) {
			t.Errorf("step %q failed: %s", s.Name, s.Status.Message)
		}
	}
}

// readTrace returns the spans of a trace by their id, and the service of each span's name.
func readTrace(t *testing.T, path, trace string) (map[string]otlpfile.Span, map[string]string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spans, by := map[string]otlpfile.Span{}, map[string]string{}
	for line := range bytes.Lines(data) {
		var b otlpfile.Batch
		if err := json.Unmarshal(line, &b); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, s := range b.Spans() {
			if s.Trace == trace {
				spans[s.ID], by[s.Name] = s, b.ResourceSpans[0].Resource.Attributes[0].Value.Text
			}
		}
	}
	return spans, by
}
