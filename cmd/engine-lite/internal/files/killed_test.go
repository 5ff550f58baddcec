package files

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// childVariable has the Config for a process that unpacks its stdin, as this test binary does then.
const childVariable = "ENGINE_LITE_TEST_UNPACK"

func child(config string) error {
	var c Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	r, err := Open(c)
	if err != nil {
		return err
	}
	return errors.Join(r.Unpack(context.Background(), "/tmp", os.Stdin, UnpackOptions{}), r.Close())
}

// TestKilled kills a process in the middle of a copy. What is unpacked stays, and nothing is mounted any more: the box
// could not be unmounted else. The overlay has a mark, which the next copy removes.
func TestKilled(t *testing.T) {
	b := newBox(t)
	config, err := json.Marshal(b.config())
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+string(config))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	w := tar.NewWriter(stdin)
	must(t, w.WriteHeader(&tar.Header{Name: "first", Typeflag: tar.TypeReg, Mode: 0o644}))
	must(t, w.WriteHeader(&tar.Header{Name: "second", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1 << 30}))
	_, err = w.Write([]byte(strings.Repeat("x", 2*copySize)))
	must(t, err)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(b.path("upper/tmp/second")); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Error("the copy does not begin")
			break
		}
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Error("the process was not killed")
	}
	if stderr.Len() > 0 {
		t.Error(stderr.String())
	}
	if b.read("upper/tmp/first") != "" || !strings.HasPrefix(b.read("upper/tmp/second"), "xxx") {
		t.Error("what was unpacked is gone")
	}
	if _, err := os.Lstat(b.path("work/work/incompat")); err != nil {
		t.Errorf("the mount has left no mark: overlays.RemoveMark is not needed any more: %v", err)
	}
	r := b.open()
	must(t, unpack(t, r, "/tmp", UnpackOptions{}, file("second", "whole")))
	if got := pack(t, r, "/tmp/second")["second"].text; got != "whole" {
		t.Errorf("the next copy: %q", got)
	}
}
