package otlpfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/internal/span"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFile writes with two tracers, as engine and runtime daemon do, and reads
// the steps of one trace back.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	engine, daemon := open(t, path, "engine"), open(t, path, "daemon")

	ctx, end := engine.Begin(t.Context(), "request", nil)
	step, s := span.Start(ctx, "step")
	wire := http.Header{}
	propagation.TraceContext{}.Inject(step, propagation.HeaderCarrier(wire))
	_, endRemote := daemon.Begin(t.Context(), "remote", wire)
	endRemote()
	s.End(errors.New("broken"))
	end()
	for _, tracer := range []*Tracer{engine, daemon} {
		if err := tracer.Close(); err != nil {
			t.Fatal(err)
		}
	}

	byName := read(t, path)
	request, inner, remote := byName["request"], byName["step"], byName["remote"]
	if request.Parent != "" || inner.Parent != request.ID || remote.Parent != inner.ID {
		t.Errorf("parents: %+v %+v %+v", request, inner, remote)
	}
	if inner.Trace != request.Trace || remote.Trace != request.Trace || len(request.Trace) != 32 {
		t.Errorf("traces %q, %q and %q", request.Trace, inner.Trace, remote.Trace)
	}
	if inner.Status != (Status{Message: "broken", Code: statusError}) || request.Status != (Status{}) {
		t.Errorf("status %+v of the step that failed, %+v of the request", inner.Status, request.Status)
	}
	for _, order := range [][2]string{
		{request.Start, inner.Start}, {inner.Start, inner.End}, {inner.End, request.End},
	} {
		if number(t, order[0]) > number(t, order[1]) {
			t.Errorf("%s comes after %s", order[0], order[1])
		}
	}
}

func open(t *testing.T, path, service string) *Tracer {
	t.Helper()
	tracer, err := Open(path, service)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

// read returns the spans of a file by name; each line has to be a batch of one
// service.
func read(t *testing.T, path string) map[string]Span {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Span{}
	var services []string
	for line := range bytes.Lines(data) {
		var b Batch
		if err := json.Unmarshal(line, &b); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		services = append(services, b.ResourceSpans[0].Resource.Attributes[0].Value.Text)
		for _, s := range b.ResourceSpans[0].ScopeSpans[0].Spans {
			byName[s.Name] = s
		}
	}
	slices.Sort(services)
	if !slices.Equal(services, []string{"daemon", "engine"}) {
		t.Errorf("services %q", services)
	}
	return byName
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOff: a tracer that is switched off does nothing, and costs nothing.
func TestOff(t *testing.T) {
	tracer := open(t, "", "nobody")
	if tracer != nil {
		t.Fatal("an empty path opened a tracer")
	}
	if n := testing.AllocsPerRun(100, func() {
		_, end := tracer.Begin(t.Context(), "request", nil)
		end()
	}); n != 0 {
		t.Errorf("a request without a tracer allocates %v times", n)
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
}
