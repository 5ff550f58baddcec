package tests

import (
	"go/parser"
	"go/token"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is the maximum length of a file of code. A longer file does several jobs.
const maxLines = 400

// promised are the libraries that the project promises to use.
var promised = []string{
	"github.com/containerd/fifo", "github.com/docker/docker/pkg/ioutils", "github.com/opencontainers/runtime-spec",
	"github.com/sirupsen/logrus", "golang.org/x/sys", "google.golang.org/grpc",
}

// TestPackageDocs checks that one file of each package has the package's doc comment.
func TestPackageDocs(t *testing.T) {
	t.Parallel()
	for path, p := range importGraph(t, module+"/...") {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		var with []string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil,
				parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc == nil {
				continue
			}
			with = append(with, name)
			if want := docStart(p); !strings.HasPrefix(file.Doc.Text(), want) {
				t.Errorf("%s: the doc in %s should begin with %q", path, name, want)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s: want the package's doc in exactly one file, it is in %q", path, with)
		}
	}
}

func docStart(p *listed) string {
	if p.Name == "main" {
		return "Command " + filepath.Base(p.Dir) + " "
	}
	return "Package " + p.Name + " "
}

// TestPromisedDependencies checks that each promised library is a direct dependency, and
// is used by code that isn't a test.
func TestPromisedDependencies(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	graph := importGraph(t, module+"/...")
	for _, want := range promised {
		direct := slices.ContainsFunc(strings.Split(string(raw), "\n"), func(line string) bool {
			path, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " ")
			return path != "" && within(want, path) && !strings.HasSuffix(line, "// indirect")
		})
		if !direct {
			t.Errorf("%s is no direct dependency", want)
		}
		used := false
		for path, p := range graph {
			used = used || !within(path, module+"/internal/depseed") &&
				slices.ContainsFunc(p.Imports, func(i string) bool { return within(i, want) })
		}
		if !used {
			t.Errorf("%s is used by no package", want)
		}
	}
}

// TestGoLine checks that go.mod asks for no newer Go than a module of its graph does: whoever embeds a package here
// needs that Go, too. The go command itself refuses an older one.
func TestGoLine(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "graph")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ours, needed, by := "", "", "no module"
	for line := range strings.Lines(string(out)) {
		from, line, ok := strings.Cut(strings.TrimSpace(line), " go@")
		switch {
		case ok && from == module:
			ours = line
		case ok && version.Compare("go"+line, "go"+needed) > 0:
			needed, by = line, from
		}
	}
	if ours != needed {
		t.Errorf("go.mod asks for Go %s; Go %s is enough, for %s", ours, needed, by)
	}
}

// TestFileSize checks that files of code are short.
func TestFileSize(t *testing.T) {
	t.Parallel()
	eachFile(t, func(path string, data []byte) {
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return
		}
		if n := strings.Count(string(data), "\n"); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it", path, n, maxLines)
		}
	})
}

// maxPackageLines and maxPackageFiles bound a package, without its tests. What is below tests/ is tests, and so is the
// contract suite.
const maxPackageLines, maxPackageFiles = 4500, 35

// TestPackageSize finds packages that have become too large to be one thing.
func TestPackageSize(t *testing.T) {
	t.Parallel()
	lines, files := map[string]int{}, map[string]int{}
	eachFile(t, func(path string, data []byte) {
		dir := filepath.Dir(path)
		isTest := strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "tests/") || strings.HasSuffix(dir, "/libcontainerdtest")
		if filepath.Ext(path) == ".go" && !isTest {
			lines[dir] += strings.Count(string(data), "\n")
			files[dir]++
		}
	})
	if len(files) < 20 {
		t.Fatalf("only %d packages were found", len(files))
	}
	for dir := range files {
		if lines[dir] > maxPackageLines || files[dir] > maxPackageFiles {
			t.Errorf("%s has %d lines in %d files, more than %d or %d: split it", dir, lines[dir], files[dir], maxPackageLines, maxPackageFiles)
		}
	}
}

// TestNoSkips checks that no test skips: such a test is not run by anyone.
func TestNoSkips(t *testing.T) {
	t.Parallel()
	skip := regexp.MustCompile(`\b[a-z]+\.Skip(f|Now)?\(`)
	eachFile(t, func(path string, data []byte) {
		if strings.HasSuffix(path, "_test.go") && skip.Match(data) {
			t.Errorf("%s skips a test", path)
		}
	})
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)

// TestLinks checks that each relative link in the docs leads to a file.
func TestLinks(t *testing.T) {
	t.Parallel()
	eachFile(t, func(path string, data []byte) {
		if filepath.Ext(path) != ".md" {
			return
		}
		for _, m := range link.FindAllSubmatch(data, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(path), target)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", path, target)
			}
		}
	})
}

// TestConflicts finds a merge that was committed half way.
func TestConflicts(t *testing.T) {
	t.Parallel()
	marker := regexp.MustCompile(`(?m)^(<{7}|>{7}) `)
	eachFile(t, func(path string, data []byte) {
		if m := marker.Find(data); m != nil {
			t.Errorf("%s has a conflict marker", path)
		}
	})
}

// TestNamedTests checks that each test, benchmark and fuzzer that the docs name exists.
func TestNamedTests(t *testing.T) {
	t.Parallel()
	defined, named := map[string]bool{}, map[string]string{}
	definition := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)[A-Z]\w*)\(`)
	name := regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w*`)
	eachFile(t, func(path string, data []byte) {
		switch {
		case strings.HasSuffix(path, "_test.go"):
			for _, m := range definition.FindAllSubmatch(data, -1) {
				defined[string(m[1])] = true
			}
		case strings.HasSuffix(path, ".md") && path != "docs/peer-suites.md": // moby's tests
			for _, m := range name.FindAll(data, -1) {
				named[string(m)] = path
			}
		}
	})
	for test, path := range named {
		if !defined[test] {
			t.Errorf("%s names %s, which does not exist", path, test)
		}
	}
}

// changeKinds are the first words of entries of the changelog.
var changeKinds = []string{"Added", "Changed", "Fixed", "Removed", "Security"}

// TestChangelog checks that entries are as changelog/README.md describes them.
func TestChangelog(t *testing.T) {
	t.Parallel()
	entries, err := filepath.Glob("../changelog/*/*.md")
	if err != nil || len(entries) == 0 {
		t.Fatalf("no entries: %v", err)
	}
	for _, path := range entries {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		title, rest, _ := strings.Cut(string(data), "\n")
		kind, summary, ok := strings.Cut(title, ": ")
		if !ok || !slices.Contains(changeKinds, kind) || summary == "" || len(title) > 80 ||
			!strings.HasPrefix(rest, "\n") {
			t.Errorf("%s: want a first line %q of 80 bytes at most, one of %q, then an empty line", path,
				"Kind: what changed", changeKinds)
		}
	}
}

// eachFile calls visit with each file of the repository, without files made by a build.
func eachFile(t *testing.T, visit func(path string, data []byte)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".cache", "bin"}, path) {
				return fs.SkipDir
			}
			return nil
		}
		data, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			return err
		}
		visit(path, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
