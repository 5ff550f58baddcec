package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// guestMark is an environment variable that this test's binary has inside of the virtual
	// machine.
	guestMark = "ENGINE_LITE_VM"
	// guestPrograms is the machine's directory with all programs.
	guestPrograms = "/bin"
	// machineLimit bounds the run of a virtual machine. Its processor is emulated: a run took
	// 5 minutes while 25 others used the host's 2 processors.
	machineLimit = 9 * time.Minute
	// machineFiles is the directory in which hack/setup unpacks the machine's kernel.
	machineFiles = "../.cache/linux-debian"
)

// machines are the virtual machines, each with its part of guestTests.
var machines = []struct {
	name, kernel string
	tests        []string
}{
	{"runc", "", []string{"Runc"}},
	{"crun", "", []string{"Crun", "Engine"}},
	{"without-memory", "cgroup_disable=memory", []string{"WithoutMemory"}},
}

// TestControlGroups2 boots virtual machines whose control groups are of version 2
// only, and runs guestTests in them.
func TestControlGroups2(t *testing.T) {
	began := time.Now()
	initramfs := machineInitramfs(t)
	t.Logf("the machines' files are there after %s", time.Since(began).Round(time.Millisecond))
	asked := 0
	for _, m := range machines {
		asked += len(m.tests)
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			log, err := runMachine(t, initramfs, m.kernel, m.tests)
			t.Logf("the machine ran for %s; its console:\n%s", time.Since(began).Round(time.Millisecond), log)
			if err != nil {
				t.Error(err)
			}
			if !strings.Contains(log, "the guest ended with status 0\n") {
				t.Error("the guest did not end with status 0")
			}
			for _, test := range m.tests {
				if !regexp.MustCompile(`(?m)^--- PASS: ` + test + ` `).MatchString(log) {
					t.Errorf("%s did not pass in the machine", test)
				}
			}
		})
	}
	if asked != len(guestTests) {
		t.Errorf("%d tests are asked for, and there are %d", asked, len(guestTests))
	}
}

// machineInitramfs makes the root filesystem of the machine: busybox, the OCI runtimes
// with their libraries, the programs under test and this package's tests. The programs are
// built without the race detector, which is too slow there.
func machineInitramfs(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "dev", "etc", "lib", "mnt", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install(t, "testdata/vm-init", root+"/init")
	install(t, "/bin/busybox", root+"/bin/busybox")
	install(t, machineFiles+"/overlay.ko", root+"/lib/overlay.ko")
	for _, program := range []string{"runc", "crun"} {
		installLinked(t, program, root)
	}
	const light = "-ldflags=-s -w"
	compile(t, "build", light, "-o", root+guestPrograms+"/", "../cmd/engine-lite", "../cmd/keeper", "../cmd/runtimed")
	compile(t, "test", light, "-c", "-o", root+guestPrograms+"/guest", ".")
	return archive(t, root)
}

// compile runs the go command to build static programs.
func compile(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func install(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("%v (hack/setup gets what is missing)", err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o755)); err != nil {
		t.Fatal(err)
	}
}

// installLinked copies a program and its shared libraries to the same paths in root.
func installLinked(t *testing.T, program, root string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	install(t, path, filepath.Join(root, guestPrograms, program))
	libraries, err := exec.CommandContext(t.Context(), "ldd", path).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", path, err)
	}
	for word := range strings.FieldsSeq(string(libraries)) {
		if filepath.IsAbs(word) {
			install(t, word, filepath.Join(root, word))
		}
	}
}

// archive packs a directory as an initramfs.
func archive(t *testing.T, root string) string {
	t.Helper()
	path := root + ".cpio"
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.CommandContext(t.Context(), "/bin/busybox", "sh", "-c", "busybox find . | busybox cpio -o -H newc")
	var words bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, file, &words
	if err := cmd.Run(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, &words)
	}
	return path
}

// runMachine boots a machine, waits until it is off, and returns the output of its serial
// console. A kernel that panics ends the machine.
func runMachine(t *testing.T, initramfs, kernel string, tests []string) (string, error) {
	// A parent's death is that of the thread (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(t.Context(), machineLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-accel", "tcg", "-smp", "1", "-m", "1024",
		"-kernel", machineFiles+"/vmlinuz", "-initrd", initramfs,
		"-append", "console=ttyS0 panic=-1 loglevel=1 mitigations=off "+kernel+" -- -test.v -test.run=^("+
			strings.Join(tests, "|")+")$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := cmd.CombinedOutput()
	if state := cmd.ProcessState; state != nil {
		t.Logf("the machine took %s of processor time", (state.UserTime() + state.SystemTime()).Round(time.Second))
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("the machine was not off after %s: %w", machineLimit, err)
	}
	return strings.ReplaceAll(string(console), "\r\n", "\n"), err
}
