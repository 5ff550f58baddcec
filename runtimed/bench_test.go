package runtimed_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
)

// BenchmarkTask creates, starts and deletes a container over gRPC. BenchmarkBareRuntime
// does the same with runc alone.
func BenchmarkTask(b *testing.B) {
	d := startDaemon(b, "runc")
	ctx := d.ctx()
	spec := d.spec("c", "exit 0")
	for b.Loop() {
		d.record("c", spec)
		_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: "c"})
		check(b, err)
		d.start("c", "")
		d.wait("c", "")
		d.delete("c")
		_, err = d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: "c"})
		check(b, err)
	}
}

func BenchmarkBareRuntime(b *testing.B) {
	check(b, prepared())
	dir := b.TempDir()
	d := &daemon{t: b, dir: dir}
	data, err := json.Marshal(d.spec("c", "exit 0"))
	check(b, err)
	check(b, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
	n := 0
	for b.Loop() {
		id := "bench" + strconv.Itoa(n)
		n++
		for _, args := range [][]string{{"create", "--bundle", dir, id}, {"start", id}, {"delete", "--force", id}} {
			cmd := exec.Command("runc", append([]string{"--root", filepath.Join(dir, "root")}, args...)...)
			check(b, cmd.Run())
		}
	}
}
