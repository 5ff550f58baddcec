package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestOneProgram builds an engine, its keeper and its runtimed as one program, in a module of its own, as an embedder
// does: without the network, and with sums from the module cache alone. The program runs a container and stops its
// keeper.
func TestOneProgram(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "one-") // short: a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, dir) })
	program := buildOutside(t, "testdata/one-program/main.go", filepath.Join(dir, "one"))
	spec, err := json.Marshal(newGroups(t).place(scriptSpec(busyboxRootfs(t), "echo it runs; exit 7")))
	if err != nil {
		t.Fatal(err)
	}
	specFile := filepath.Join(dir, "spec.json")
	if err := os.WriteFile(specFile, spec, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, dir, specFile).CombinedOutput()
	if err != nil || string(out) != "it runs\nexit 7\n" {
		t.Errorf("%v\n%s", err, out)
	}
	// What Stop has ended is on its way out.
	await(t, "keeper and runtimed end", func() bool { return len(processesOf(dir)) == 0 })
}

// buildOutside builds a program, a file or the files of a directory, in a module of its own, which has this repository in
// place of a release.
func buildOutside(t *testing.T, source, program string) string {
	t.Helper()
	dir := t.TempDir()
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{source}
	if info, err := os.Stat(source); err == nil && info.IsDir() {
		files, _ = filepath.Glob(filepath.Join(source, "*.go")) // the pattern is valid
	}
	module := fmt.Sprintf("module example.invalid/outside\n\ngo 1.26\n\n"+
		"require github.com/engine-lite/engine-lite v0.0.0\n\nreplace github.com/engine-lite/engine-lite => %s\n", repository)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(module), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = dir
	build.Env = slices.Concat(os.Environ(), []string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GONOSUMDB=*", "GOSUMDB=off"})
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}
