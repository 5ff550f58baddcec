package tests

import (
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// taken is a function of each package that an embedder takes. A program that refers to it has the package.
var taken = map[string]string{
	"libcontainerd": "New", "remote": "New", "keeper": "Start", "runtimed": "New", "journal": "Open", "events": "Consume",
}

// sizeTolerance is how far a program's size may be from the documented one, as a fraction. Another patch level of Go
// makes a difference of some percent.
const sizeTolerance = 0.1

var (
	costRow   = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| (\\d+) \\| (\\d+) \\| ([\\d.]+) MB \\|$")
	goVersion = regexp.MustCompile(`(?m)^go (\S+)$`)
)

// TestEmbeddingCost measures each row of the table in docs/embedding.md, in a module outside of this one.
func TestEmbeddingCost(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := costRow.FindAllStringSubmatch(string(text), -1)
	documented := map[string]bool{}
	for _, row := range rows {
		var packages []string
		for _, m := range quoted.FindAllStringSubmatch(row[1], -1) {
			packages = append(packages, m[1])
			documented[m[1]] = true
		}
		size, err := strconv.ParseFloat(row[4], 64)
		if err != nil {
			t.Fatal(err)
		}
		e := newEmbedderModule(t, packages)
		got := e.modules(t, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
		if strconv.Itoa(len(got)) != row[2] {
			t.Errorf("%s: the docs say %s modules in the program, there are %d: %q", row[1], row[2], len(got), got)
		}
		if got = e.modules(t, "mod", "graph"); strconv.Itoa(len(got)) != row[3] {
			t.Errorf("%s: the docs say %s modules in the graph, there are %d: %q", row[1], row[3], len(got), got)
		}
		if got := e.size(t); math.Abs(got-size) > sizeTolerance*size {
			t.Errorf("%s: the docs say %.1f MB, the program has %.1f MB", row[1], size, got)
		}
	}
	if want := slices.Sorted(maps.Keys(taken)); !slices.Equal(slices.Sorted(maps.Keys(documented)), want) {
		t.Errorf("the table in docs/embedding.md has rows of %v, want %q", documented, want)
	}
}

// embedderModule is the module of an embedding engine, in a directory of its own.
type embedderModule struct{ dir string }

func newEmbedderModule(t *testing.T, packages []string) embedderModule {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	var imports, uses strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&imports, "import %q\n", module+"/"+p)
		fmt.Fprintf(&uses, "%s.%s, ", p, taken[p])
	}
	e := embedderModule{t.TempDir()}
	for name, content := range map[string]string{
		"go.mod": fmt.Sprintf("module example.com/engine\n%s\nrequire %s v0.0.0\nreplace %[2]s => %s\n",
			goVersion.FindString(string(mod)), module, root),
		"go.sum": string(sums),
		// The linker can't know which methods such a program calls, and keeps all exported ones.
		"main.go": fmt.Sprintf("package main\nimport \"reflect\"\n%sfunc main() { reflect.ValueOf([]any{%s}).Method(0) }\n",
			imports.String(), uses.String()),
	} {
		if err := os.WriteFile(filepath.Join(e.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// go mod tidy would write these requirements too, but asks for the modules of other modules' tests.
	for _, system := range []string{"linux", "windows"} {
		e.run(t, system, "list", "-e", "-deps", ".")
	}
	return e
}

// run runs the go command in the module, for a system. The command takes all modules from Go's cache, and needs none
// that this repository doesn't need.
func (e embedderModule) run(t *testing.T, system string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// modules returns the modules that the output of a go command names, without the embedder's own and without Go itself.
func (e embedderModule) modules(t *testing.T, args ...string) []string {
	t.Helper()
	found := map[string]bool{}
	for _, word := range strings.Fields(e.run(t, "linux", args...)) {
		path, _, _ := strings.Cut(word, "@")
		found[path] = true
	}
	for _, path := range []string{"example.com/engine", "go", "toolchain"} {
		delete(found, path)
	}
	return slices.Sorted(maps.Keys(found))
}

// size returns the size of the stripped program, in MB.
func (e embedderModule) size(t *testing.T) float64 {
	t.Helper()
	e.run(t, "linux", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "engine", ".")
	info, err := os.Stat(filepath.Join(e.dir, "engine"))
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}
