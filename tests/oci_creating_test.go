package tests

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hangingCreate is a container whose create hangs in a hook.
type hangingCreate struct {
	id      string
	release func() // lets the hook end
	ended   chan result
}

// beginCreate begins to create a container and returns when the hook hangs.
func (o ociTool) beginCreate(t *testing.T) *hangingCreate {
	t.Helper()
	dir := t.TempDir()
	begun, fifo := filepath.Join(dir, "begun"), filepath.Join(dir, "gate")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.OpenFile(fifo, os.O_RDWR, 0) // so that no open waits for the other end
	if err != nil {
		t.Fatal(err)
	}
	spec := o.groups.place(scriptSpec(o.rootfs, "exec sleep 1000"))
	spec.Annotations = map[string]string{"color": "red"}
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{
		Path: "/bin/sh", Args: []string{"sh", "-c", `cat >/dev/null; : >"$0"; read x <"$1"`, begun, fifo},
	}}}
	bundle := writeBundle(t, spec)
	h := &hangingCreate{id: ociID(), ended: make(chan result, 1)}
	done := make(chan struct{})
	go func() { // ends after release
		defer close(done)
		h.ended <- o.run(t, "create", "--bundle", bundle, h.id)
	}()
	h.release = func() { _, _ = open.WriteString("go\n") } // fails only when it is closed
	t.Cleanup(func() {
		h.release()
		<-done
		open.Close()
	})
	await(t, "the hook hangs", func() bool { return isFile(begun) })
	return h
}

// TestOCICreating tries every operation on a container that is being created. Operations
// that change the container wait until it is created. Queries are refused; so is kill,
// which may be needed to end a command that hangs.
func TestOCICreating(t *testing.T) {
	r := sharedRig(t)
	for _, rt := range ociRuntimes {
		t.Run(rt.name, func(t *testing.T) {
			o := newOCI(t, r, rt.name, rt.wrap)
			for _, op := range ociOperations {
				h := o.beginCreate(t)
				args := slices.Concat(op.args, []string{h.id}, op.after)
				if at := slices.Index(args, "BUNDLE"); at >= 0 {
					args[at] = o.bundle(t, "exec sleep 1000")
				}
				waited, got := o.runDuringCreate(t, h, args...)
				if created := <-h.ended; created.code != 0 {
					t.Errorf("the create, with %s at the same time: %+v", strings.Join(op.args, " "), created)
				}
				changes := slices.Contains([]string{"create", "run", "start", "delete", "pause", "resume"}, op.args[0])
				next, legal := op.legal["created"]
				if !changes || !legal {
					next, legal = "created", false
				}
				if waited != changes || legal != (got.code == 0) || !legal && got.stderr == "" {
					t.Errorf("%s: waited %t, %+v", strings.Join(op.args, " "), waited, got)
				}
				if stands := o.statusOrAbsent(t, h.id); stands != next {
					t.Errorf("%s: it is %s, want %s", strings.Join(op.args, " "), stands, next)
				}
				o.ok(t, "delete", "--force", h.id)
				if events := o.legalEvents(t, h.id); len(events) == 0 {
					t.Errorf("%s: no events", strings.Join(op.args, " "))
				}
			}
			o.clean(t)
		})
	}
}

// runDuringCreate runs a command on a container that is being created. It lets the create
// go on when the command waits or has ended.
func (o ociTool) runDuringCreate(t *testing.T, h *hangingCreate, args ...string) (waited bool, _ result) {
	t.Helper()
	cmd, stdout, stderr := o.cmd(t, o.file("bin/engine-lite-oci"), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the command, which the test's context ends at the latest
		_ = cmd.Wait() // the exit code is in ProcessState
		close(ended)
	}()
	await(t, "the command ends or waits", func() bool {
		select {
		case <-ended:
			return true
		default:
			waited = o.waitsForLock(cmd.Process.Pid)
			return waited
		}
	})
	h.release()
	<-ended
	return waited, result{content(t, stdout), content(t, stderr), cmd.ProcessState.ExitCode()}
}

// waitsForLock is true if a command has come to a container's lock: then it has the log
// open for writing. Queries open the log for reading.
func (o ociTool) waitsForLock(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	line, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // it may have ended
	if !bytes.HasPrefix(line, []byte(o.file("bin/engine-lite-oci"))) {
		return false // still the program that runs the command
	}
	return slices.ContainsFunc(namesIn(filepath.Join(dir, "fd")), func(fd string) bool {
		path, err := os.Readlink(filepath.Join(dir, "fd", fd))
		if err != nil || filepath.Dir(path) != o.file("run/oci") {
			return false
		}
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd))
		_, rest, _ := strings.Cut(string(info), "flags:\t")
		flags, _, _ := strings.Cut(rest, "\n")
		bits, parsed := strconv.ParseUint(flags, 8, 64)
		return err == nil && parsed == nil && bits&syscall.O_ACCMODE == syscall.O_RDWR
	})
}
