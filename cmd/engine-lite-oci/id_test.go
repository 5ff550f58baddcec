package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "0", "_x", "a.b-c+d_e", "..a", ".hidden", strings.Repeat("x", 255)} {
		if err := checkID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	invalid := []string{
		"", ".", "..", "-a", "../x", "a/b", "/", "a b", "a\x00b", "a\n", "naïve", "容器",
		strings.Repeat("x", 256), strings.Repeat("x", 4096),
	}
	for _, id := range invalid {
		if err := checkID(id); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%.20q: %v", id, err)
		}
	}
}

// TestExecFlags looks for the container's id behind all kinds of flags.
func TestExecFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		id   string
	}{
		{[]string{"c1"}, "c1"},
		{[]string{"c1", "sh", "-c", "x"}, "c1"},
		{[]string{"--cwd", "/tmp", "-e", "A=b", "-t", "c1", "--cwd"}, "c1"},
		{[]string{"--pid-file", "/p", "--process", "/q", "--detach", "c1"}, "c1"},
		{[]string{"--process=/q", "-d", "--console-socket", "/s", "c1"}, "c1"},
		{[]string{"-u", "1:2", "-g", "3", "-c", "CAP_X", "--no-new-privs", "--ignore-paused", "c1", "-u"}, "c1"},
	} {
		o := options{run: t.TempDir(), runtime: os.Args[0]}
		if _, id, err := o.runtimeIn("exec", tt.args, execFlags()); err != nil || id != tt.id {
			t.Errorf("%q: id %q, %v", tt.args, id, err)
		}
	}
	for _, args := range [][]string{nil, {"--cwd", "/tmp"}, {"--nosuch", "c1"}, {"../x"}} {
		o := options{run: t.TempDir(), runtime: os.Args[0]}
		if _, _, err := o.runtimeIn("exec", args, execFlags()); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestChooseRuntime looks for runtimes where callers have no PATH.
func TestChooseRuntime(t *testing.T) {
	t.Setenv("PATH", "")
	o := options{run: "/r", runtime: "runc", log: "/l", systemdCgroup: true}
	r, err := o.chooseRuntime()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--root", "/r/oci/state/runc", "--log", "/l", "--systemd-cgroup"}
	if filepath.Base(r.path) != "runc" || !filepath.IsAbs(r.path) || !slices.Equal(r.globals, want) {
		t.Errorf("runtime: %+v", r)
	}
	o.runtime = "no-such-runtime"
	if _, err := o.chooseRuntime(); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a runtime that isn't there: %v", err)
	}
}
