package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/engine-lite/engine-lite"

// layer is what a package may have below it, at any depth.
type layer struct {
	path   string
	ours   []string // all of ours
	never  []string // import path prefixes of others
	others []string // if not nil: all modules beside the standard library
}

// smallPackages is what every package may have below it: a job each, and next to no dependencies. It has rows in layers.
var smallPackages = []string{"internal/atomicfile", "internal/classed", "internal/fdpass", "internal/flock", "internal/procfs", "internal/retry", "internal/unixsocket"}

// layers is the table of docs/design.md, "Packages". The linter checks the same,
// import by import.
var layers = []layer{
	{path: "internal/atomicfile", others: []string{}},
	{path: "internal/classed", others: []string{}},
	{path: "internal/fdpass", others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "internal/flock", others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "internal/procfs", others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "internal/retry", others: []string{}},
	{path: "internal/unixsocket", never: []string{"net/http", "os/exec"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "queue", others: []string{"github.com/containerd/errdefs"}},
	{path: "events", others: []string{"github.com/containerd/errdefs"}},
	{path: "fifo", never: embedder},
	{path: "journal", never: []string{"google.golang.org/grpc", "github.com/containerd/containerd", "net/http"}},
	{path: "keeper/internal/wire", never: []string{"net/http", "os/exec", "os/user"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "keeper/internal/ledger", ours: []string{"keeper/internal/wire"}, never: []string{"net/http", "os/exec", "os/user"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "keeper/internal/streams", ours: []string{"keeper/internal/wire"}, never: []string{"net/http", "os/exec", "os/user"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "keeper/internal/server", ours: []string{"keeper/internal/ledger", "keeper/internal/streams", "keeper/internal/wire"}, never: []string{"net/http", "os/exec", "os/user"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "keeper", never: []string{"net/http", "os/exec", "os/user"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "cmd/keeper", ours: []string{"internal/stacks", "keeper"}, never: []string{"net/http", "os/exec", "os/user"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "libcontainerd", ours: []string{"internal/span", "queue", "fifo"}, never: embedder},
	{path: "libcontainerd/libcontainerdtest", ours: []string{"internal/span", "libcontainerd", "queue", "fifo"}, never: embedder},
	{path: "remote", ours: []string{"internal/span", "libcontainerd", "queue", "fifo"}, never: []string{"go.etcd.io/bbolt", "github.com/containerd/containerd/v2/client"}},
	{path: "runtimed", ours: []string{"fifo", "internal/pidfd", "internal/span", "internal/hostlimits", "keeper"}, never: []string{"go.etcd.io/bbolt", "github.com/containerd/containerd/v2/client"}},
	{path: "cmd/runtimed/command", ours: []string{"runtimed", "fifo", "internal/heap", "internal/pidfd", "internal/span", "internal/span/otlpfile", "internal/stacks", "internal/hostlimits", "keeper"}, never: []string{"go.etcd.io/bbolt", "github.com/containerd/containerd/v2/client"}},
	{path: "cmd/runtimed", ours: []string{"cmd/runtimed/command", "runtimed", "fifo", "internal/heap", "internal/pidfd", "internal/span", "internal/span/otlpfile", "internal/stacks", "internal/hostlimits", "keeper"}, never: []string{"go.etcd.io/bbolt", "github.com/containerd/containerd/v2/client"}},
	{path: "internal/span", never: embedder, others: []string{"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", "github.com/cespare/xxhash/v2"}},
	{path: "internal/pidfd", never: []string{"net/http", "os/exec"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "internal/ocilog", ours: []string{"internal/pidfd"}, never: []string{"net/http", "os/exec"}, others: []string{"golang.org/x/sys", "github.com/containerd/errdefs"}},
	{path: "internal/stacks", never: []string{"net/http", "os/exec"}, others: []string{"golang.org/x/sys"}},
	{path: "internal/hostlimits", others: []string{"golang.org/x/sys", "github.com/opencontainers/runtime-spec"}},
	{path: "cmd/engine-lite-oci", ours: []string{"internal/pidfd", "internal/ocilog", "keeper"}, never: []string{"net/http"}, others: []string{
		"golang.org/x/sys", "github.com/containerd/errdefs", "github.com/spf13/cobra", "github.com/spf13/pflag",
	}},
	{path: "cmd/engine-lite/internal/images"},
	{path: "cmd/engine-lite/internal/engine/logs", ours: []string{"fifo"}, never: []string{"net/http"}},
	{path: "internal/classed", others: []string{"github.com/containerd/errdefs"}},
	{path: "cmd/engine-lite/internal/store", ours: []string{"internal/span", "journal"}},
	{path: "cmd/engine-lite/internal/engine/record", never: []string{"github.com/moby/moby/api", "github.com/docker"}, ours: []string{
		"cmd/engine-lite/internal/store", "internal/classed", "internal/span", "journal",
	}},
	{path: "cmd/engine-lite/internal/engine/request", never: []string{"net/http"}, ours: []string{
		"cmd/engine-lite/internal/store", "cmd/engine-lite/internal/engine/record", "internal/classed", "internal/span", "journal",
	}},
	{path: "cmd/engine-lite/internal/engine/inspect", never: []string{"net/http"}, ours: []string{
		"cmd/engine-lite/internal/store", "cmd/engine-lite/internal/engine/record", "cmd/engine-lite/internal/filters",
		"cmd/engine-lite/internal/networks", "internal/classed", "internal/span", "journal",
	}},
	{path: "cmd/engine-lite/internal/engine", ours: []string{
		"cmd/engine-lite/internal/store", "cmd/engine-lite/internal/engine/record", "internal/classed",
		"cmd/engine-lite/internal/engine/request", "cmd/engine-lite/internal/engine/inspect",
		"cmd/engine-lite/internal/images", "cmd/engine-lite/internal/engine/logs", "fifo", "internal/pidfd", "internal/span", "internal/ocilog", "internal/hostlimits", "journal", "keeper", "libcontainerd", "queue",
	}},
	{path: "cmd/engine-lite/internal/simulation", ours: []string{}}, // tests only
	{path: "cmd/engine-lite/internal/api", ours: []string{
		"cmd/engine-lite/internal/store", "cmd/engine-lite/internal/engine/record", "internal/classed",
		"cmd/engine-lite/internal/engine/request", "cmd/engine-lite/internal/engine/inspect",
		"cmd/engine-lite/internal/images", "cmd/engine-lite/internal/engine", "cmd/engine-lite/internal/engine/logs",
		"fifo", "internal/pidfd", "internal/span", "internal/ocilog", "internal/hostlimits", "journal", "keeper", "libcontainerd", "queue",
	}},
	{path: "cmd/engine-lite", ours: []string{
		"cmd/engine-lite/internal/store", "cmd/engine-lite/internal/engine/record", "internal/classed",
		"cmd/engine-lite/internal/engine/request", "cmd/engine-lite/internal/engine/inspect",
		"cmd/engine-lite/internal/api", "cmd/engine-lite/internal/images", "cmd/engine-lite/internal/engine",
		"cmd/engine-lite/internal/engine/logs", "cmd/runtimed/command", "fifo", "internal/heap", "internal/pidfd", "internal/span", "internal/span/otlpfile", "internal/ocilog", "internal/stacks", "internal/hostlimits", "journal", "keeper", "libcontainerd", "queue", "remote", "runtimed",
	}},
}

// embedder is what nobody gets who embeds the client layer.
var embedder = []string{"google.golang.org/grpc", "github.com/containerd/containerd", "go.etcd.io/bbolt", "net/http"}

// TestLayers checks import graphs whole: what a package must not import, none of
// those that it imports may either.
func TestLayers(t *testing.T) {
	t.Parallel()
	graph := importGraph(t, "-deps", module+"/...")
	known := map[string]bool{}
	for _, l := range layers {
		known[module+"/"+l.path] = true
		for _, fault := range l.faults(graph) {
			t.Error(fault)
		}
	}
	for path := range graph {
		if free := []string{"hack", "tests", "internal", "examples"}; strings.HasPrefix(path, module) && !known[path] &&
			!slices.Contains(free, strings.Split(strings.TrimPrefix(path, module+"/"), "/")[0]) {
			t.Errorf("%s is in no layer: add it to the table, and to .golangci.yml", path)
		}
	}
}

// TestLayersNotice proves that each kind of rule notices.
func TestLayersNotice(t *testing.T) {
	t.Parallel()
	graph := map[string]*listed{
		module + "/a": {Deps: []string{module + "/b", "net/http", "example.com/m/p", "os"}},
		"net/http":    {Standard: true}, "os": {Standard: true},
		"example.com/m/p": {Module: &struct{ Path string }{"example.com/m"}},
		module + "/b":     {Module: &struct{ Path string }{module}},
	}
	for _, tt := range []struct {
		rule layer
		want int
	}{
		{layer{path: "a", ours: []string{"b"}}, 0},
		{layer{path: "a"}, 1},
		{layer{path: "a", ours: []string{"b"}, never: []string{"net/http"}}, 1},
		{layer{path: "a", ours: []string{"b"}, others: []string{}}, 1},
		{layer{path: "a", ours: []string{"b"}, others: []string{"example.com/m"}}, 0},
		{layer{path: "c"}, 1},
	} {
		if got := tt.rule.faults(graph); len(got) != tt.want {
			t.Errorf("%+v: got %q, want %d", tt.rule, got, tt.want)
		}
	}
}

// faults lists what is wrong with a package's import graph.
func (l layer) faults(graph map[string]*listed) []string {
	p, ok := graph[module+"/"+l.path]
	if !ok {
		return []string{l.path + " has a rule, but isn't there"}
	}
	var faults []string
	for _, dep := range p.Deps {
		ours, isOurs := strings.CutPrefix(dep, module+"/")
		switch below := graph[dep]; {
		case isOurs:
			if !l.has(ours) {
				faults = append(faults, fmt.Sprintf("%s has %s below it", l.path, ours))
			}
		case slices.ContainsFunc(l.never, func(prefix string) bool { return within(dep, prefix) }):
			faults = append(faults, fmt.Sprintf("%s has %s below it, which it must not", l.path, dep))
		case l.others != nil && below.Module != nil && !slices.Contains(l.others, below.Module.Path):
			faults = append(faults, fmt.Sprintf("%s has %s below it, of no module that it may have", l.path, dep))
		}
	}
	return faults
}

// has tells whether a package may have one of ours below it. Whoever may have the keeper may have its inner packages.
func (l layer) has(ours string) bool {
	if slices.Contains(l.ours, ours) || slices.Contains(smallPackages, ours) {
		return true
	}
	outer, _, inner := strings.Cut(ours, "keeper/internal/")
	return inner && outer == "" && (l.path == "keeper" || slices.Contains(l.ours, "keeper"))
}

// within tells whether an import path is the prefix, or below it.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// listed is a part of what "go list -json" tells of a package.
type listed struct {
	ImportPath string
	Dir        string
	Name       string
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string
	Deps       []string
	GoFiles    []string
}

// importGraph asks the go command about packages.
func importGraph(t *testing.T, args ...string) map[string]*listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Dir,Name,Standard,Module,Imports,Deps,GoFiles"}, args...)...)
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	graph := map[string]*listed{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := &listed{}
		err := decoder.Decode(p)
		if errors.Is(err, io.EOF) {
			return graph
		}
		if err != nil {
			t.Fatal(err)
		}
		graph[p.ImportPath] = p
	}
}
