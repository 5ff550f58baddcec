package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/engine-lite/engine-lite"

// limit is what a package must not depend on, directly or indirectly.
type limit struct {
	path   string
	never  []string // import path prefixes
	others []string // if not nil: the modules beside the standard library and ours, all and no more
}

// graphLimits keep the dependencies of embedders and of the keeper small. Each module that a package needs beside ours
// is a module that an embedder gets with the package.
var graphLimits = []limit{
	{path: "queue", others: []string{"github.com/containerd/errdefs"}},
	{path: "events", others: []string{"github.com/containerd/errdefs"}},
	{path: "fifo", never: embedder, others: fifoModules},
	{path: "journal", never: []string{"google.golang.org/grpc", "github.com/containerd/containerd", "net/http"},
		others: append([]string{"go.etcd.io/bbolt"}, smallModules...)},
	{path: "keeper", never: []string{"net/http", "os/exec", "os/user"}, others: smallModules},
	{path: "cmd/keeper", never: []string{"net/http", "os/exec", "os/user"}, others: smallModules},
	{path: "libcontainerd", never: embedder, others: clientModules},
	{path: "libcontainerd/libcontainerdtest", never: embedder, others: clientModules},
	{path: "remote", never: noClient, others: remoteModules},
	{path: "runtimed", never: noClient},
	{path: "cmd/runtimed", never: noClient},
	{path: "runtimed/internal/cgroup", never: []string{"google.golang.org/grpc", "go.etcd.io/bbolt"}},
	{path: "runtimed/internal/broker", never: []string{"google.golang.org/grpc", "go.etcd.io/bbolt", "os/exec"}},
	{path: "internal/span", never: embedder,
		others: spanModules},
	{path: "internal/pidfd", never: []string{"net/http", "os/exec"}, others: smallModules},
	{path: "internal/ocilog", never: []string{"net/http", "os/exec"}, others: smallModules},
	{path: "internal/stacks", never: []string{"net/http", "os/exec"}, others: []string{"golang.org/x/sys"}},
	{path: "internal/hostlimits", others: []string{"golang.org/x/sys", "github.com/opencontainers/runtime-spec"}},
	{path: "cmd/engine-lite-oci", never: []string{"net/http"},
		others: append([]string{"github.com/spf13/cobra", "github.com/spf13/pflag"}, smallModules...)},
	{path: "cmd/engine-lite/internal/engine/inspect", never: []string{"net/http", "os/exec"}},
	{path: "cmd/engine-lite/internal/engine/logs", never: []string{"net/http"}},
	{path: "cmd/engine-lite/internal/engine/record",
		never: []string{"github.com/docker", "github.com/moby", "net/http", "os/exec"}},
	{path: "cmd/engine-lite/internal/engine/request", never: []string{"net/http", "os/exec"}},
}

var (
	smallModules  = []string{"golang.org/x/sys", "github.com/containerd/errdefs"}
	fifoModules   = append([]string{"github.com/containerd/fifo"}, smallModules...)
	spanModules   = []string{"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", "github.com/cespare/xxhash/v2"}
	clientModules = slices.Concat(fifoModules, spanModules,
		[]string{"github.com/opencontainers/runtime-spec"})
	// Of containerd, remote has the modules of generated types, and never containerd itself: its go.mod brings a
	// hundred modules.
	remoteModules = slices.Concat(clientModules,
		[]string{"google.golang.org/grpc", "google.golang.org/protobuf", "golang.org/x/sync",
			"github.com/sirupsen/logrus", "github.com/containerd/containerd/api", "github.com/containerd/cgroups/v3",
			"github.com/containerd/typeurl/v2", "github.com/containerd/errdefs/pkg"},
		// What these import in turn.
		[]string{"golang.org/x/net", "golang.org/x/text", "google.golang.org/genproto/googleapis/rpc",
			"github.com/containerd/ttrpc", "github.com/containerd/log",
			"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec"})
	// embedder lists packages that an embedder of the client layer must not get.
	embedder = []string{"google.golang.org/grpc", "github.com/containerd/containerd", "go.etcd.io/bbolt", "net/http"}
	noClient = []string{"go.etcd.io/bbolt", "github.com/containerd/containerd/v2/client"}
)

// TestGraphs checks all dependencies of a package, direct and indirect.
func TestGraphs(t *testing.T) {
	t.Parallel()
	graph := importGraph(t, "-deps", module+"/...")
	for _, l := range graphLimits {
		for _, fault := range l.faults(graph) {
			t.Error(fault)
		}
	}
}

// row is a row of the table of packages in docs/design.md.
type row struct {
	packages []string
	imports  []string // of ours, direct
}

// TestLayers compares the table of packages in docs/design.md with the imports. A package has one row, and imports only
// packages of rows above its own.
func TestLayers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	graph := importGraph(t, module+"/...")
	for _, fault := range compareLayers(layerTable(string(text), graph), graph) {
		t.Error(fault)
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// layerTable reads the rows. A name without a directory is in the same directory as the
// package before it.
func layerTable(text string, graph map[string]*listed) (rows []row) {
	_, text, _ = strings.Cut(text, "| Package | Holds | Imports of ours |\n")
	text, _, _ = strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.HasPrefix(line, "|---") {
			continue
		}
		names := func(cell string) (list []string) {
			for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
				name := m[1]
				if graph[module+"/"+name] == nil && len(list) > 0 {
					name = path.Dir(list[len(list)-1]) + "/" + name
				}
				list = append(list, name)
			}
			return list
		}
		rows = append(rows, row{names(cells[1]), names(cells[3])})
	}
	return rows
}

func compareLayers(rows []row, graph map[string]*listed) (faults []string) {
	above := map[string]bool{}
	for _, r := range rows {
		direct := map[string]bool{}
		for _, name := range r.packages {
			p := graph[module+"/"+name]
			if p == nil {
				faults = append(faults, name+" has a row, but does not exist")
				continue
			}
			for _, dep := range p.Imports {
				if ours, ok := strings.CutPrefix(dep, module+"/"); ok && !slices.Contains(r.packages, ours) {
					direct[ours] = true
				}
			}
		}
		if want := slices.Sorted(maps.Keys(direct)); !slices.Equal(want, slices.Sorted(slices.Values(r.imports))) {
			faults = append(faults,
				fmt.Sprintf("the row of %s should list these imports: `%s`", r.packages[0], strings.Join(want, "`, `")))
		}
		for _, dep := range r.imports {
			if !above[dep] {
				faults = append(faults, fmt.Sprintf("%s imports %s, whose row is not above", r.packages[0], dep))
			}
		}
		for _, name := range r.packages {
			if above[name] {
				faults = append(faults, name+" has two rows")
			}
			above[name] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(graph)) {
		name, ours := strings.CutPrefix(p, module+"/")
		if free := []string{"hack", "tests", "examples"}; ours && !above[name] &&
			!slices.Contains(free, strings.Split(name, "/")[0]) {
			faults = append(faults, name+" has no row in docs/design.md: add it, and a rule to .golangci.yml")
		}
	}
	return faults
}

// TestLayersNotice checks that a violation of each kind of rule is found.
func TestLayersNotice(t *testing.T) {
	t.Parallel()
	graph := map[string]*listed{
		module + "/a": {Imports: []string{module + "/b", "os"},
			Deps: []string{module + "/b", "net/http", "example.com/m/p", "os"}},
		"net/http": {Standard: true}, "os": {Standard: true},
		"example.com/m/p": {Module: &struct{ Path string }{"example.com/m"}},
		module + "/b":     {Module: &struct{ Path string }{module}},
	}
	for _, tt := range []struct {
		rule limit
		want int
	}{
		{limit{path: "a"}, 0},
		{limit{path: "a", never: []string{"net/http"}}, 1},
		{limit{path: "a", others: []string{}}, 1},
		{limit{path: "a", others: []string{"example.com/m"}}, 0},
		{limit{path: "a", others: []string{"example.com/m", "example.com/unused"}}, 1},
		{limit{path: "c"}, 1},
	} {
		if got := tt.rule.faults(graph); len(got) != tt.want {
			t.Errorf("%+v: got %q, want %d", tt.rule, got, tt.want)
		}
	}
	for table, want := range map[string]int{
		"| `b` | | nothing |\n| `a` | | `b` |": 0, "| `a` | | `b` |\n| `b` | | |": 1, "| `b` | | |\n| `a` | | |": 1,
		"| `b` | | |": 1, "| `b` | | |\n| `a` | | `b` |\n| `c` | | |": 1,
		"| `b` | | |\n| `a` | | `b` |\n| `b` | | |": 1,
	} {
		rows := layerTable("| Package | Holds | Imports of ours |\n|---|---|---|\n"+table+"\n\n", graph)
		if got := compareLayers(rows, graph); len(got) != want {
			t.Errorf("%s: got %q, want %d", table, got, want)
		}
	}
}

// faults lists what is wrong with a package's import graph.
func (l limit) faults(graph map[string]*listed) []string {
	p, ok := graph[module+"/"+l.path]
	if !ok {
		return []string{l.path + " has a limit, but does not exist"}
	}
	var faults []string
	needed := map[string]string{} // a module -> a package of the module
	for _, dep := range p.Deps {
		switch below := graph[dep]; {
		case strings.HasPrefix(dep, module+"/"):
		case slices.ContainsFunc(l.never, func(prefix string) bool { return within(dep, prefix) }):
			faults = append(faults, fmt.Sprintf("%s has %s below it, which it must not", l.path, dep))
		case below.Module != nil:
			needed[below.Module.Path] = dep
		}
	}
	if l.others == nil {
		return faults
	}
	for _, m := range slices.Sorted(maps.Keys(needed)) {
		if !slices.Contains(l.others, m) {
			faults = append(faults, fmt.Sprintf("%s needs the module %s, since %s imports %s; it may need these alone: %q",
				l.path, m, l.importer(graph, needed[m]), needed[m], l.others))
		}
	}
	for _, m := range l.others {
		if needed[m] == "" {
			faults = append(faults, fmt.Sprintf("%s doesn't need the module %s: take it off the list", l.path, m))
		}
	}
	return faults
}

// importer returns a package that imports dep: the limited package, or one below it.
func (l limit) importer(graph map[string]*listed, dep string) string {
	p := graph[module+"/"+l.path]
	for _, name := range append([]string{module + "/" + l.path}, p.Deps...) {
		if below := graph[name]; below != nil && slices.Contains(below.Imports, dep) {
			return name
		}
	}
	return "nothing"
}

// within is true if an import path is the prefix, or below it.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// listed is a part of the output of "go list -json".
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
	cmd := exec.CommandContext(t.Context(), "go",
		append([]string{"list", "-json=ImportPath,Dir,Name,Standard,Module,Imports,Deps,GoFiles"}, args...)...)
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
