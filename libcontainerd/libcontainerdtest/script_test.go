package libcontainerdtest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// FuzzScript has the daemon run random scripts. Each process that was started exits, by
// itself or by SIGKILL, with a possible status.
func FuzzScript(f *testing.F) {
	for _, script := range []string{"exit 3", "exit", "exit 300", "exit x", "echo a b; cat; exit 7", "sleep 1e9",
		"sleep -1; sleep x; sleep", "wait",
		`trap "exit 5" TERM; wait`, `trap "" TERM; trap x`, "kill -9", "kill 9", "kill", "sleep 5 &; nosuch", ";;\n;"} {
		f.Add("sh\x00-c\x00" + script)
	}
	f.Add("/")
	f.Add("")
	f.Add("sh\x00-c")
	f.Fuzz(func(t *testing.T, args string) {
		synctest.Test(t, func(t *testing.T) { runScript(t, strings.Split(args, "\x00")) })
	})
}

func runScript(t *testing.T, args []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour) // by the bubble's clock
	defer cancel()
	d := libcontainerdtest.NewDaemon(&libcontainerdtest.Stdio{})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.CreateContainer(ctx, libcontainerd.Record{ID: "c", Spec: &specs.Spec{Process: &specs.Process{Args: args}}}))
	if _, err := d.CreateTask(ctx, "c", libcontainerd.TaskConfig{}); err != nil {
		if !errdefs.IsUnknown(err) {
			t.Errorf("%q: %v", args, err)
		}
		return
	}
	_, err := d.Start(ctx, "c", libcontainerd.InitProcess)
	must(err)
	kill := time.AfterFunc(time.Hour, func() {
		_ = d.Kill(ctx, "c", libcontainerd.InitProcess, 9, true) // fails if the process has exited
	})
	defer kill.Stop()
	exit, err := d.Wait(ctx, "c", libcontainerd.InitProcess)
	must(err)
	if exit.Unknown != "" || exit.Code < 0 || exit.Code > 255 {
		t.Errorf("%q: %+v", args, exit)
	}
	_, err = d.Delete(ctx, "c", libcontainerd.InitProcess)
	must(err)
}
