package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMigrationInPlace checks that the process stays in its control groups, and that the
// group that it writes to is one of these.
func TestMigrationInPlace(t *testing.T) {
	before := read(t, "/proc/self/cgroup")
	if err := MigrateInPlace(); err != nil {
		t.Fatal(err)
	}
	if after := read(t, "/proc/self/cgroup"); after != before {
		t.Errorf("control groups\n%safterwards\n%s", before, after)
	}
	path, err := ownGroup()
	if err != nil {
		t.Fatal(err)
	}
	members := strings.Fields(read(t, filepath.Join(path, "cgroup.procs")))
	if !slices.Contains(members, strconv.Itoa(os.Getpid())) {
		t.Errorf("this process is not in %s", path)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
