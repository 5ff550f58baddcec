package namespaces

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/containerd/errdefs"
)

// TestProcess takes a namespace of a process. When the process is gone nothing comes of its pid, and the namespace that
// was taken is still the same.
func TestProcess(t *testing.T) {
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	}
	t.Cleanup(end)
	p, err := Open(sleep.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	pid, err := p.Namespace("pid")
	if err != nil {
		t.Fatal(err)
	}
	defer pid.Close()
	want, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	same := func(when string) {
		t.Helper()
		if got, err := os.Stat(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), pid.Fd())); err != nil || !os.SameFile(got, want) {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	same("a namespace that was taken")
	if in, err := p.In("no-such-group"); in || err != nil {
		t.Errorf("in a strange group: %t, %v", in, err)
	}
	end()
	same("a namespace of a process that has ended")
	if f, err := p.Namespace("pid"); !errdefs.IsNotFound(err) {
		t.Errorf("a namespace of a process that is gone: %v, %v", f, err)
	}
	if in, err := p.In(""); in || err != nil {
		t.Errorf("the group of a process that is gone: %t, %v", in, err)
	}
	if _, err := Open(sleep.Process.Pid); !errdefs.IsNotFound(err) {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestWithin(t *testing.T) {
	for text, want := range map[string]bool{
		"12:memory:/engine-lite/abc\n1:name=systemd:/\n0::/": true, "0::/engine-lite/abc/init.scope\n": true,
		"3:cpu,cpuacct:/../engine-lite/abc\n": true, "0::/a:b/abc\n": true,
		"0::/engine-lite/abcd\n": false, "0::/engine-lite\n1:abc:/x\n": false, "abc\n/abc\n": false, "": false,
	} {
		if within(text, "abc") != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}
